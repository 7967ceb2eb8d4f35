/* The client for the command line: one message, one answer, one deadline over all of it. */
#include "control/control_priv.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/str.h"
#include "base/time.h"
#include "json/json.h"

static int dial(const char *path, int *ret_fd, struct err *e)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;

	if (str_copy(sun.sun_path, sizeof(sun.sun_path), path) < 0)
		return err_set(e, -ENAMETOOLONG, "%s: too long for a socket", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, -errno, "socket");
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
		if (errno == ENOENT || errno == ECONNREFUSED)
			return err_set(e, -ENOTCONN,
				       "no agent answers at %s (is harmony-agent running?)", path);
		if (errno == EACCES)
			return err_set(
				e, -EACCES,
				"%s: permission denied: root and the agent's own user may ask",
				path);
		return err_sys(e, -errno, "%s", path);
	}
	*ret_fd = mem_steal_fd(&fd);
	return 0;
}

static int wait_for(int fd, short events, struct mono deadline, struct err *e)
{
	for (;;) {
		int64_t left = mono_since(deadline, mono_now());
		struct pollfd p = {.fd = fd, .events = events};
		int n = left > 0 ? poll(&p, 1, (int)(left / NS_PER_MSEC) + 1) : 0;

		if (n > 0)
			return 0;
		if (n == 0)
			return err_set(e, -ETIMEDOUT, "the agent did not answer in time");
		if (errno != EINTR)
			return err_sys(e, -errno, "poll");
	}
}

static int send_all(int fd, const struct buf *msg, struct mono deadline, struct err *e)
{
	for (size_t at = 0; at < msg->len;) {
		ssize_t n = send(fd, msg->data + at, msg->len - at, MSG_NOSIGNAL);
		int r;

		if (n >= 0)
			at += (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			return err_sys(e, -errno, "send to the agent");
		else if ((r = wait_for(fd, POLLOUT, deadline, e)) < 0)
			return r;
	}
	return 0;
}

static int receive_line(int fd, struct buf *out, struct mono deadline, struct err *e)
{
	while (out->len == 0 || out->data[out->len - 1] != '\n') {
		char some[16384];
		ssize_t n = recv(fd, some, sizeof(some), 0);
		int r;

		if (n == 0)
			return err_set(e, -EPROTO, "the agent ended the connection without answer");
		if (n > 0)
			buf_add(out, some, (size_t)n);
		else if (errno != EAGAIN && errno != EINTR)
			return err_sys(e, -errno, "receive from the agent");
		else if ((r = wait_for(fd, POLLIN, deadline, e)) < 0)
			return r;
		if (buf_error(out) < 0)
			return err_set(e, buf_error(out), "the agent's answer is too large");
	}
	return 0;
}

static int read_answer(const struct buf *line, struct json_object **ret, struct buf *why,
		       struct err *e)
{
	struct json_limits limits = {CONTROL_ANSWER_MAX, 64};
	_cleanup_json_ struct json_object *answer = NULL;
	struct json_object *error, *data = NULL;
	int r = json_parse(line->data, line->len, limits, &answer, e);

	if (r < 0) {
		err_prefix(e, "the agent's answer");
		return r;
	}
	if (json_get_bool(answer, "success", false) &&
	    json_object_object_get_ex(answer, "data", &data)) {
		*ret = json_object_get(data);
		return 0;
	}
	error = json_get(answer, "error", json_type_object);
	if (!json_get_str(error, "type") || !json_get_str(error, "message"))
		return err_set(e, -EPROTO, "the agent's answer is neither data nor an error");
	if (why)
		buf_adds(why, json_get_str(error, "message"));
	return err_set(e, control_error_code(json_get_str(error, "type")), "%s",
		       json_get_str(error, "message"));
}

int control_request(const char *path, const char *action, const char *network, int timeout_ms,
		    struct json_object **ret, struct buf *why, struct err *e)
{
	struct mono deadline = mono_add(mono_now(), timeout_ms * NS_PER_MSEC);
	_cleanup_buf_ struct buf msg = BUF_INIT(CONTROL_MESSAGE_MAX);
	_cleanup_buf_ struct buf answer = BUF_INIT(CONTROL_ANSWER_MAX);
	_cleanup_close_ int fd = -1;
	int r;

	buf_adds(&msg, "{\"id\":\"1\",\"action\":");
	json_quote(&msg, action);
	if (network) {
		buf_adds(&msg, ",\"network\":");
		json_quote(&msg, network);
	}
	buf_adds(&msg, "}\n");
	if (buf_error(&msg) < 0)
		return err_set(e, buf_error(&msg), "the message cannot be made");
	if ((r = dial(path, &fd, e)) < 0 || (r = send_all(fd, &msg, deadline, e)) < 0 ||
	    (r = receive_line(fd, &answer, deadline, e)) < 0)
		return r;
	return read_answer(&answer, ret, why, e);
}
