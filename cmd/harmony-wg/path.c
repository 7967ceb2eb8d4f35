/* Waking threads by eventfd. */
#include "path.h"

#include <unistd.h>

void path_wake(int eventfd)
{
	uint64_t one = 1;

	(void)!write(eventfd, &one, sizeof(one));
}

void path_drained(int eventfd)
{
	uint64_t n;

	(void)!read(eventfd, &n, sizeof(n));
}

void path_tun_gone(struct path *p, int error)
{
	atomic_store(&p->tun_gone, error);
	path_wake(p->control_wake);
}
