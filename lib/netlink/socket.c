/*
 * The socket of synchronous requests.
 *
 * A request goes out with a fresh sequence number; datagrams come in until the answer is
 * complete, or nothing came for the time allowed. Two things can leave the socket with a dump
 * half read, in which state the kernel refuses the next dump (EBUSY): an error of our own while
 * reading, and a timeout. Then the socket is marked broken and opened again by the next request,
 * which is simpler than draining, and bounded.
 */
#include "netlink/netlink_priv.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* The kernel packs a dump into datagrams as large as the reader's buffer, up to 32 KiB. */
#define RECEIVE_SIZE (64 * 1024)

/* Only what waits is charged; a request's own answers never fill it. */
#define SOCKET_BUFFER (1024 * 1024)

struct nl {
	struct mnl_socket *sock; /* NULL: could not be opened again */
	int protocol;
	bool strict;
	bool broken;
	uint32_t seq;
	int64_t timeout;
	uint16_t family;
	char *buffer; /* RECEIVE_SIZE */
};

static bool set_option(struct mnl_socket *sock, int option)
{
	int on = 1;

	return mnl_socket_setsockopt(sock, option, &on, sizeof(on)) == 0;
}

int nl_socket_open(int protocol, struct mnl_socket **ret, struct err *e)
{
	struct mnl_socket *sock = mnl_socket_open2(protocol, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int size = SOCKET_BUFFER, r;

	if (!sock)
		return err_sys(e, -errno, "cannot open netlink socket (protocol %d)", protocol);
	if (mnl_socket_bind(sock, 0, MNL_SOCKET_AUTOPID) < 0) {
		r = -errno;
		mnl_socket_close(sock);
		return err_sys(e, r, "cannot bind netlink socket (protocol %d)", protocol);
	}
	/* Beyond rmem_max with CAP_NET_ADMIN; without it, as much as there is. */
	int fd = mnl_socket_get_fd(sock);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	*ret = sock;
	return 0;
}

/* Kernels that lack an option answer without it: shorter errors, dumps that we filter. */
static int reopen(struct nl *nl, struct err *e)
{
	struct mnl_socket *sock;
	int r = nl_socket_open(nl->protocol, &sock, e);

	if (r < 0)
		return r;
	(void)set_option(sock, NETLINK_EXT_ACK);
	(void)set_option(sock, NETLINK_CAP_ACK);
	nl->strict = set_option(sock, NETLINK_GET_STRICT_CHK);
	if (nl->sock)
		mnl_socket_close(nl->sock);
	nl->sock = sock;
	nl->broken = false;
	return 0;
}

int nl_open(int protocol, struct nl **ret, struct err *e)
{
	_cleanup_nl_ struct nl *nl = calloc(1, sizeof(*nl));
	int r;

	if (!nl || !(nl->buffer = malloc(RECEIVE_SIZE)))
		return err_sys(e, -ENOMEM, "cannot open netlink socket");
	nl->protocol = protocol;
	nl->timeout = NL_TIMEOUT;
	if ((r = reopen(nl, e)) < 0)
		return r;
	*ret = mem_steal(&nl);
	return 0;
}

void nl_close(struct nl *nl)
{
	if (!nl)
		return;
	if (nl->sock)
		mnl_socket_close(nl->sock);
	if (nl->buffer)
		mem_wipe(nl->buffer, RECEIVE_SIZE);
	free(nl->buffer);
	free(nl);
}

void nl_set_timeout(struct nl *nl, int64_t ns)
{
	nl->timeout = ns;
}

uint32_t nl_portid(const struct nl *nl)
{
	return mnl_socket_get_portid(nl->sock);
}

bool nl_strict(const struct nl *nl)
{
	return nl->strict;
}

uint16_t nl_family(const struct nl *nl)
{
	return nl->family;
}

void nl_set_family(struct nl *nl, uint16_t family)
{
	nl->family = family;
}

struct nlmsghdr *nl_request_init(void *buf, uint16_t type, uint16_t flags, size_t size,
				 void *ret_header)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	void *header = mnl_nlmsg_put_extra_header(nlh, size);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = flags;
	memcpy(ret_header, &header, sizeof(header));
	return nlh;
}

static int send_bytes(struct nl *nl, const void *bytes, size_t len, struct err *e)
{
	ssize_t n;

	do
		n = mnl_socket_sendto(nl->sock, bytes, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? err_sys(e, -errno, "cannot send netlink request") : 0;
}

/* Waits until the socket is readable; -ETIMEDOUT at the deadline. */
static int wait_readable(const struct nl *nl, struct mono deadline, struct err *e)
{
	struct pollfd p = {.fd = mnl_socket_get_fd(nl->sock), .events = POLLIN};

	for (;;) {
		int64_t left = mono_since(deadline, mono_now());

		if (left <= 0)
			return err_set(e, -ETIMEDOUT, "no answer by netlink within %.1f s",
				       (double)nl->timeout / NS_PER_SEC);
		struct timespec ts = {left / NS_PER_SEC, left % NS_PER_SEC};
		int r = ppoll(&p, 1, &ts, NULL);

		if (r > 0)
			return 0;
		if (r < 0 && errno != EINTR)
			return err_sys(e, -errno, "cannot wait for netlink answer");
	}
}

ssize_t nl_socket_receive(struct mnl_socket *sock, void *buffer, size_t size)
{
	struct sockaddr_nl from = {0};
	struct iovec iov = {buffer, size};
	struct msghdr msg = {
		.msg_name = &from,
		.msg_namelen = sizeof(from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
	};
	ssize_t n;

	do
		n = recvmsg(mnl_socket_get_fd(sock), &msg, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	/* A process with CAP_NET_ADMIN could write to us; only the kernel has port 0. */
	if (msg.msg_namelen != sizeof(from) || from.nl_pid != 0)
		return 0;
	return msg.msg_flags & MSG_TRUNC ? -EMSGSIZE : n;
}

static int receive_answer(struct nl *nl, struct nl_exchange *x, struct err *e)
{
	struct mono deadline = mono_add(mono_now(), nl->timeout);
	int r;

	while (!x->done) {
		ssize_t n = nl_socket_receive(nl->sock, nl->buffer, RECEIVE_SIZE);

		if (n == -EAGAIN) {
			if ((r = wait_readable(nl, deadline, e)) < 0)
				return r;
			continue;
		}
		if (n < 0) {
			if (x->answer.secret) /* one that was cut is in there too */
				mem_wipe(nl->buffer, RECEIVE_SIZE);
			return err_sys(e, (int)n, "cannot receive netlink answer");
		}
		r = nl_answer_read(x, nl->buffer, (size_t)n, e);
		if (x->answer.secret)
			mem_wipe(nl->buffer, (size_t)n);
		if (r < 0)
			return r;
		if (x->seen)
			deadline = mono_add(mono_now(), nl->timeout);
	}
	return 0;
}

/* One try. */
static int exchange(struct nl *nl, struct nlmsghdr *request, struct nl_exchange *x, struct err *e)
{
	int r;

	if ((nl->broken || !nl->sock) && (r = reopen(nl, e)) < 0)
		return r;
	request->nlmsg_seq = x->seq = ++nl->seq;
	x->portid = nl_portid(nl);
	if ((r = send_bytes(nl, request, request->nlmsg_len, e)) < 0)
		return r;
	r = receive_answer(nl, x, e);
	if (!x->done)
		nl->broken = true;
	return r;
}

int nl_request(struct nl *nl, struct nlmsghdr *request, const struct nl_answer *answer,
	       struct err *e)
{
	bool dump = (request->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	struct err local;

	request->nlmsg_flags |= NLM_F_REQUEST | (dump ? 0 : NLM_F_ACK);
	for (int tries = 0; tries < NL_TRIES; tries++) {
		struct nl_exchange x = {.dump = dump};

		if (answer)
			x.answer = *answer;
		if (tries && x.answer.restart)
			x.answer.restart(x.answer.arg);
		int r = exchange(nl, request, &x, &local);

		if (r == 0 && !x.interrupted)
			return 0;
		/* Early kernels with strict checking refuse attributes that later ones take. */
		if (r == -EINVAL && dump && x.done && nl->strict) {
			int off = 0;

			(void)mnl_socket_setsockopt(nl->sock, NETLINK_GET_STRICT_CHK, &off,
						    sizeof(off));
			nl->strict = false;
		} else if (r < 0 && !(dump && r == -ENOBUFS)) {
			return err_set(e, r, "%s", local.msg);
		}
	}
	return err_set(e, -EAGAIN, "the tables changed while being read, %d times in a row",
		       NL_TRIES);
}

/* Room for one datagram of `len` bytes to be sent. */
static void grow_send_buffer(struct nl *nl, size_t len)
{
	int fd = mnl_socket_get_fd(nl->sock), have = 0, want = (int)len + 4096;
	socklen_t size = sizeof(have);

	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &have, &size) == 0 && have >= want)
		return;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &want, sizeof(want)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &want, sizeof(want));
}

int nl_transaction(struct nl *nl, void *batch, size_t len, struct err *e)
{
	struct nlmsghdr *nlh = batch;
	struct nl_exchange x = {0};
	struct err local;
	int r, left = (int)len;

	if ((nl->broken || !nl->sock) && (r = reopen(nl, e)) < 0)
		return r;
	x.seq = ++nl->seq;
	x.portid = nl_portid(nl);
	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
		nlh->nlmsg_seq = x.seq;
	grow_send_buffer(nl, len);
	if ((r = send_bytes(nl, batch, len, e)) < 0)
		return r;
	r = receive_answer(nl, &x, &local);
	if (!x.done)
		nl->broken = true;
	return r < 0 ? err_set(e, r, "%s", local.msg) : 0;
}

/* Tells of the answers in one datagram that belong to the questions; how many they were. */
static unsigned tell_answers(const struct nl *nl, uint32_t first, unsigned n, size_t len,
			     nl_answered_fn *told, void *arg)
{
	const void *at = nl->buffer;
	const struct nlmsghdr *nlh;
	unsigned answered = 0;

	while ((nlh = nl_message_next(&at, &len))) {
		if (nlh->nlmsg_seq - first >= n || nlh->nlmsg_pid != nl_portid(nl))
			continue;
		told(nlh->nlmsg_seq - first, nlh, arg);
		answered++;
	}
	return answered;
}

int nl_ask(struct nl *nl, void *batch, size_t len, nl_answered_fn *told, void *arg, struct err *e)
{
	struct nlmsghdr *nlh = batch;
	unsigned n = 0, answered = 0;
	int r, left = (int)len;

	if ((nl->broken || !nl->sock) && (r = reopen(nl, e)) < 0)
		return r;
	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left), n++) {
		nlh->nlmsg_flags |= NLM_F_REQUEST;
		nlh->nlmsg_seq = ++nl->seq;
	}
	uint32_t first = nl->seq - n + 1;

	if ((r = send_bytes(nl, batch, len, e)) < 0)
		return r;
	nl->broken = true; /* until all is read */
	while (answered < n) {
		ssize_t got = nl_socket_receive(nl->sock, nl->buffer, RECEIVE_SIZE);

		if (got == -EAGAIN) {
			struct mono deadline = mono_add(mono_now(), nl->timeout);

			if ((r = wait_readable(nl, deadline, e)) < 0)
				return r;
		} else if (got < 0) {
			return err_sys(e, (int)got, "cannot receive netlink answers");
		} else {
			answered += tell_answers(nl, first, n, (size_t)got, told, arg);
		}
	}
	nl->broken = false;
	return 0;
}
