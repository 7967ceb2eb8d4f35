/*
 * harmony-agent ready: /readyz as a command, for probes that run one. The kubelet shows of a failed
 * HTTP probe its status code alone, and of a failed command what it has printed, so that `kubectl
 * describe pod` says why a pod is not ready.
 *
 * A probe runs it for years, in the container's own limits: it asks by one request over the
 * loopback, without libcurl, TLS or JSON. What costs most is that the container runtime starts it.
 * So it can hold its answer (--hold): as long as it is the one that was given last, it looks on by
 * itself, and answers at once when it changes. The last answer stands in a file beside the control
 * socket, and counts for a moment only, since nobody has asked for a while when the kubelet was
 * restarted, and not when the agent has started meanwhile: both want an answer now.
 */
#include "commands.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/ip.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"
#include "control/control.h"

#define ADDRESS_DEFAULT "127.0.0.1:9586"
#define ASK_SECS        2   /* for one answer */
#define LOOK_MS         200 /* between two looks while it waits */
#define LAST_PATH       "/run/harmony-agent/ready"
#define LAST_SECS       5 /* so long the last answer counts */
#define WAIT_MAX        3600
#define ANSWER_MAX      65536
#define LINE_MAX        900 /* an Event's note has 1,024 bytes, and words of the kubelet's before */

static const char help[] =
	"usage: harmony-agent ready [OPTION…]\n"
	"\n"
	"Whether the running agent is ready, as /readyz has it, with the reasons in one line. For\n"
	"probes that run a command.\n"
	"\n"
	"  --http ADDRESS:PORT  where it answers (default " ADDRESS_DEFAULT ")\n"
	"  --startup            /startupz instead: the guards are in place, tunnel or not\n"
	"  --wait SECONDS       waits so long for it to become ready (default 0, at most 3600)\n"
	"  --hold SECONDS       waits so long for another answer than the last one, if that was\n"
	"                       given a moment ago\n"
	"\n"
	"Exit status: 0 ready; 1 not ready; 2 wrong command line; 3 no answer.\n";

struct settings {
	struct ip_endpoint at;
	const char *path;
	int64_t wait_ns, hold_ns;
	bool help;
};

enum { OPT_HTTP = 256, OPT_STARTUP, OPT_WAIT, OPT_HOLD };

static int take_seconds(const char *option, int64_t *ret)
{
	uint64_t secs;

	if (str_to_u64(optarg, strlen(optarg), 0, WAIT_MAX, &secs) < 0)
		return cmd_fail("ready", EXIT_USAGE, "--%s: found '%s', accepted: 0 to %d seconds",
				option, optarg, WAIT_MAX);
	*ret = (int64_t)secs * NS_PER_SEC;
	return 0;
}

static int parse(int argc, char **argv, struct settings *s)
{
	static const struct option options[] = {
		{"http", required_argument, NULL, OPT_HTTP},
		{"startup", no_argument, NULL, OPT_STARTUP},
		{"wait", required_argument, NULL, OPT_WAIT},
		{"hold", required_argument, NULL, OPT_HOLD},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *address = ADDRESS_DEFAULT;
	int c, r = 0;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case OPT_HTTP: address = optarg; break;
		case OPT_STARTUP: s->path = "/startupz"; break;
		case OPT_WAIT: r = take_seconds("wait", &s->wait_ns); break;
		case OPT_HOLD: r = take_seconds("hold", &s->hold_ns); break;
		case 'h': s->help = true; return 0;
		default:
			return cmd_fail("ready", EXIT_USAGE,
					"'harmony-agent ready --help' lists the options");
		}
		if (r)
			return r;
	}
	if (optind < argc)
		return cmd_fail("ready", EXIT_USAGE, "found '%s', accepted are only options",
				argv[optind]);
	if (ip_endpoint_parse(address, strlen(address), &s->at) < 0)
		return cmd_fail("ready", EXIT_USAGE,
				"--http: found '%s', accepted: an address and a port, such as "
				"127.0.0.1:9586 or [::1]:9586",
				address);
	return 0;
}

/* ---- asking ---- */

/* What the limits of dial make of the system's codes. */
static int socket_error(void)
{
	return errno == EAGAIN || errno == EINPROGRESS ? -ETIMEDOUT : -errno;
}

static int dial(const struct ip_endpoint *at, int *ret, struct err *e)
{
	const struct timeval limit = {.tv_sec = ASK_SECS};
	char text[IP_ENDPOINT_LEN];
	struct sockaddr_storage sa;
	socklen_t len = ip_endpoint_to_sockaddr(at, &sa);
	_cleanup_close_ int fd = socket(at->addr.family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_sys(e, -errno, "socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&sa, len) < 0)
		return err_sys(e, socket_error(), "no agent answers at %s",
			       ip_endpoint_str(at, text));
	*ret = mem_steal_fd(&fd);
	return 0;
}

static int send_all(int fd, const char *text, size_t len, struct err *e)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = send(fd, text + at, len - at, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return err_sys(e, socket_error(), "the agent");
		at += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* The answer whole: the server closes behind it. */
static int receive(int fd, struct buf *ret, struct err *e)
{
	const struct mono end = mono_add(mono_now(), ASK_SECS * NS_PER_SEC);
	char some[4096];
	ssize_t n;

	while ((n = recv(fd, some, sizeof(some), 0)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, socket_error(), "the agent");
		buf_add(ret, some, (size_t)n);
		if (buf_error(ret) < 0)
			return err_set(e, buf_error(ret), "the agent's answer is too large");
		if (!mono_before(mono_now(), end))
			return err_sys(e, -ETIMEDOUT, "the agent");
	}
	return 0;
}

/* 1: ready. 0: not, and the reasons stand in `ret`, one a line. Negative: no answer. */
static int ask(const struct settings *s, struct buf *ret, struct err *e)
{
	_cleanup_buf_ struct buf answer = BUF_INIT(ANSWER_MAX);
	_cleanup_close_ int fd = -1;
	char request[96];
	int r = dial(&s->at, &fd, e);

	if (r < 0)
		return r;
	int len = snprintf(request, sizeof(request),
			   "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
			   s->path);
	if ((r = send_all(fd, request, (size_t)len, e)) < 0 || (r = receive(fd, &answer, e)) < 0)
		return r;
	const char *text = buf_str(&answer), *body = strstr(text, "\r\n\r\n");
	bool ready = str_starts(text, "HTTP/1.1 200 ");

	if (answer.len == 0)
		return err_set(e, -EBUSY,
			       "no answer: the agent has closed the connection, "
			       "which it does where there are too many");
	if (!body || (!ready && !str_starts(text, "HTTP/1.1 503 ")))
		return err_set(e, -EPROTO, "what answers there is no agent");
	buf_reset(ret);
	buf_adds(ret, body + 4);
	return ready;
}

/* 1: ready. 0: not. -1: nobody has asked just now, or another agent has answered. */
static int last_answer(void)
{
	_cleanup_close_ int fd = open(LAST_PATH, O_RDONLY | O_CLOEXEC);
	const int64_t now = wall_now().ns / NS_PER_SEC;
	struct stat st, agent;
	char c;

	if (fd < 0 || fstat(fd, &st) < 0 || read(fd, &c, 1) != 1 || now < st.st_mtim.tv_sec ||
	    now - st.st_mtim.tv_sec > LAST_SECS)
		return -1;
	/* The socket is as old as the agent. */
	if (stat(CONTROL_PATH, &agent) < 0 || agent.st_mtim.tv_sec >= st.st_mtim.tv_sec)
		return -1;
	return c == '1';
}

/* Where it cannot be kept, each answer is given at once. */
static void keep_answer(bool ready)
{
	_cleanup_close_ int fd = open(LAST_PATH, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd >= 0)
		(void)!write(fd, ready ? "1" : "0", 1);
}

/* As `ask`, and again until the answer is the one that is waited for. */
static int ask_for_long(const struct settings *s, struct buf *ret, struct err *e)
{
	const int last = s->hold_ns ? last_answer() : -1;
	const struct mono began = mono_now();
	int r;

	for (;;) {
		r = ask(s, ret, e);
		int64_t wait = r > 0 ? 0 : s->wait_ns;

		if (last == (r > 0) && s->hold_ns > wait)
			wait = s->hold_ns;
		if (mono_since(mono_now(), began) >= wait)
			break;
		poll(NULL, 0, LOOK_MS);
	}
	if (s->hold_ns)
		keep_answer(r > 0);
	return r;
}

/* Lines as one, cut where it is longer than the kubelet shows. */
static void print_line(const char *lines)
{
	_cleanup_buf_ struct buf line = BUF_INIT(0);
	size_t n, cut = LINE_MAX;

	for (; *lines; lines += n + (lines[n] == '\n')) {
		n = strcspn(lines, "\n");
		if (n && line.len)
			buf_adds(&line, "; ");
		buf_add(&line, lines, n);
	}
	if (line.len <= LINE_MAX) {
		puts(buf_str(&line));
		return;
	}
	while (cut > 0 && ((unsigned char)buf_str(&line)[cut] & 0xc0) == 0x80)
		cut--; /* not within a character */
	printf("%.*s…\n", (int)cut, buf_str(&line));
}

int cmd_ready(int argc, char **argv)
{
	struct settings s = {.path = "/readyz"};
	_cleanup_buf_ struct buf reasons = BUF_INIT(ANSWER_MAX);
	struct err e = {0};
	int r = parse(argc, argv, &s);

	if (r)
		return r;
	if (s.help) {
		fputs(help, stdout);
		return EXIT_OK;
	}
	r = ask_for_long(&s, &reasons, &e);
	if (r < 0) {
		/* On standard output: that is what a probe shows. */
		printf("%s\n", e.msg);
		return EXIT_SYSTEM;
	}
	print_line(buf_str(&reasons));
	return r ? EXIT_OK : EXIT_FAILED;
}
