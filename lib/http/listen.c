/*
 * Listening sockets, and who has the port that we wanted.
 *
 * A Unix socket is taken in three steps under a lock on its directory, so that two agents started
 * at once cannot each find the other's socket stale: is it served (connect), remove it if it is
 * not, bind. The mode is set before bind, which the kernel applies (less the umask), so that there
 * is no moment in which others may connect.
 */
#include "http/http_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/port.h"
#include "base/str.h"

#define BACKLOG 128

/* Who takes a socket has the lock for an instant. */
#define LOCK_WAIT_MS  2000
#define LOCK_RETRY_MS 20

int http_listen_tcp(const struct ip_endpoint *where, bool dual, int *ret_fd, struct err *e)
{
	struct port_holder holder;
	char text[IP_ENDPOINT_LEN];
	struct sockaddr_storage ss;
	socklen_t len = ip_endpoint_to_sockaddr(where, &ss);
	_cleanup_close_ int fd =
		socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r;

	ip_endpoint_str(where, text);
	if (fd < 0)
		return err_sys(e, -errno, "socket for %s", text);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	/* So that 0.0.0.0 and [::] can both be listened at, each for its own family. */
	if (ss.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){!dual}, sizeof(int));
	if (bind(fd, (struct sockaddr *)&ss, len) < 0 || listen(fd, BACKLOG) < 0) {
		r = -errno;
		if (r != -EADDRINUSE)
			return err_sys(e, r, "cannot listen at %s", text);
		bool known = port_holder(PORT_TCP, where->port, &holder) && holder.name[0];
		return err_set(e, r, "cannot listen at %s: the port is taken by %s", text,
			       known ? holder.name : "another process");
	}
	*ret_fd = mem_steal_fd(&fd);
	return 0;
}

/* 0 where nothing stands in the way, or what stood there is removed. */
static int clear_path(const struct sockaddr_un *sun, struct err *e)
{
	const char *path = sun->sun_path;
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct ucred cred = {0};
	struct stat st;
	char holder[64];

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(e, -errno, "%s", path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, -EEXIST, "%s exists and is not a socket", path);
	if (fd < 0)
		return err_sys(e, -errno, "socket for %s", path);
	if (connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) < 0 && errno != EAGAIN) {
		if (errno != ECONNREFUSED)
			return err_sys(e, -errno, "cannot tell whether %s is served", path);
		return unlink(path) < 0 && errno != ENOENT ? err_sys(e, -errno, "remove %s", path)
							   : 0;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &(socklen_t){sizeof(cred)}) < 0 ||
	    cred.pid <= 0)
		return err_set(e, -EADDRINUSE, "%s is served by another process", path);
	port_name_process(cred.pid, holder, sizeof(holder));
	return err_set(e, -EADDRINUSE, "%s is served by %s", path, holder);
}

static int wait_for_lock(int fd)
{
	for (unsigned waited = 0;; waited += LOCK_RETRY_MS) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if ((errno != EWOULDBLOCK && errno != EINTR) || waited >= LOCK_WAIT_MS)
			return -errno;
		poll(NULL, 0, LOCK_RETRY_MS);
	}
}

/* Makes the directory, its parents not, and locks it; the lock goes with the descriptor. Others may
 * pass through the directory that is made, and not open it: or they could hold the lock. */
static int lock_dir(const char *path, int *ret_fd, struct err *e)
{
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_close_ int fd = -1;

	if (!copy)
		return err_set(e, -ENOMEM, "%s: out of memory", path);
	const char *dir = dirname(copy);
	if (mkdir(dir, 0711) < 0 && errno != EEXIST)
		return err_sys(e, -errno, "cannot make the directory %s", dir);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, -errno, "%s", dir);
	int r = wait_for_lock(fd);
	if (r == -EWOULDBLOCK)
		return err_set(e, -EBUSY, "cannot listen at %s: another process has locked %s",
			       path, dir);
	if (r < 0)
		return err_sys(e, r, "lock %s", dir);
	*ret_fd = mem_steal_fd(&fd);
	return 0;
}

int http_listen_unix(const char *path, int *ret_fd, struct err *e)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1, lock = -1;
	int r;

	if (str_copy(sun.sun_path, sizeof(sun.sun_path), path) < 0 || !*path)
		return err_set(e, -ENAMETOOLONG, "\"%s\" cannot be a socket: 1 to %zu bytes", path,
			       sizeof(sun.sun_path) - 1);
	if ((r = lock_dir(path, &lock, e)) < 0 || (r = clear_path(&sun, e)) < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, -errno, "socket for %s", path);
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return err_sys(e, -errno, "cannot listen at %s", path);
	*ret_fd = mem_steal_fd(&fd);
	return 0;
}
