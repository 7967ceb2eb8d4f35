/*
 * Theory of operation. What two agents would fight for (links, routes, rules, the table) belongs to
 * the network namespace, and so do abstract Unix sockets, whatever is mounted where and whichever
 * process ids can be seen. So the one that has bound the name is the agent here; the kernel gives
 * it back however the process ends.
 *
 * Any user of the namespace may bind a name. One whose holder runs neither as root nor as we do is
 * no agent, and keeps none from its work. To know that, the holder is connected to; an agent takes
 * such connections and closes them, so that its queue is never full.
 */
#include "agent/only.h"
#include "base/port.h"
#include "base/time.h"
#include "log/log.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NAME     "harmony-agent" /* behind a NUL */
#define WAIT_NS  (3 * NS_PER_SEC)
#define RETRY_MS 50

struct agent_only {
	int fd;
	struct event *event;
};

static socklen_t address(struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(ret->sun_path + 1, NAME, sizeof(NAME) - 1);
	return offsetof(struct sockaddr_un, sun_path) + sizeof(NAME);
}

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static int take(void)
{
	_cleanup_close_ int fd = new_socket();
	struct sockaddr_un sun;
	socklen_t len = address(&sun);

	if (fd < 0)
		return fd;
	if (bind(fd, (struct sockaddr *)&sun, len) < 0 || listen(fd, 16) < 0)
		return -errno;
	return mem_steal_fd(&fd);
}

/* Whether it may be an agent, with what it is called. */
static bool who_has_it(char *name, size_t size)
{
	_cleanup_close_ int fd = new_socket();
	struct sockaddr_un sun;
	socklen_t len = address(&sun);
	struct ucred cred;

	snprintf(name, size, "a process that does not answer");
	if (fd < 0 || connect(fd, (struct sockaddr *)&sun, len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &(socklen_t){sizeof(cred)}) < 0)
		return true;
	if (cred.pid > 0)
		port_name_process(cred.pid, name, size);
	else
		snprintf(name, size, "a process of another container");
	return cred.uid == 0 || cred.uid == geteuid();
}

/* Who asks looks at our credentials only. */
static void on_asked(evutil_socket_t fd, short what, void *arg)
{
	int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	if (client >= 0)
		close(client);
}

static int taken(struct err *e)
{
	char name[64];

	if (who_has_it(name, sizeof(name)))
		return err_set(
			e, -EADDRINUSE,
			"an agent is at work in this network namespace already: %s; accepted: "
			"one, and others with --observe-only",
			name);
	log_warn("a user's program has the name of the agent's socket: a second agent would not be "
		 "noticed",
		 LOG_STR("program", name));
	return 0;
}

int agent_only_new(struct event_base *base, struct agent_only **ret, struct err *e)
{
	struct mono end = mono_add(mono_now(), WAIT_NS);
	struct agent_only *o;
	int fd;

	while ((fd = take()) == -EADDRINUSE && mono_before(mono_now(), end))
		poll(NULL, 0, RETRY_MS);
	if (fd == -EADDRINUSE) {
		*ret = NULL;
		return taken(e);
	}
	if (fd < 0)
		return err_sys(e, fd, "the agent's own socket");
	o = calloc(1, sizeof(*o));
	if (!o) {
		close(fd);
		return err_set(e, -ENOMEM, "out of memory");
	}
	o->fd = fd;
	o->event = event_new(base, fd, EV_READ | EV_PERSIST, on_asked, o);
	if (!o->event || event_add(o->event, NULL) < 0) {
		agent_only_free(o);
		return err_set(e, -ENOMEM, "out of memory");
	}
	*ret = o;
	return 0;
}

void agent_only_free(struct agent_only *o)
{
	if (!o)
		return;
	if (o->event)
		event_free(o->event);
	close(o->fd);
	free(o);
}
