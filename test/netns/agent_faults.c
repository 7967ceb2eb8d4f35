/*
 * The agent of lib/agent in this process, against the real machine of its network namespace, and
 * driven by hand: a cycle is one run of its loop. For test/netns/agent-faults.test:
 *
 *     agent_faults cycles N DIR DEVICE
 *
 * N cycles over everything that happens to an agent; what it holds (memory, files) is the same
 * afterwards.
 *
 *     agent_faults edit|create DIR DEVICE
 *
 * The same edit (creation of an interface) again and again, the 1st, 2nd, … system call of it
 * failing.
 *
 *     agent_faults memory DIR DEVICE
 *
 * The edit, then the creation, the 1st, 2nd, … allocation of it failing.
 *
 *     agent_faults metrics DIR DEVICE
 *
 * The same of edits of one of two networks, c.toml to d.toml (the network) and to e.toml (its peers
 * alone), and of all allocations from there on; what /metrics says of peers is true after each.
 *
 * DIR has a.toml, b.toml and bad.toml, the configurations; DEVICE is the userspace device's
 * program. STRIDE=N tries only each N-th failure.
 *
 * The functions below stand before those of the C library for the whole process, libmnl's calls
 * included, and pass on to the real ones, or fail as the kernel would. After each failure: the
 * machine is as wanted, or the agent says what is wrong; and some cycles later the machine is as
 * wanted (looked at by other eyes than the agent's), and no file is open that was not before.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../unit/fault.h"
#include "agent/agent_priv.h"
#include "base/port.h"
#include "base/str.h"
#include "log/log.h"
#include "netlink/addr.h"
#include "netlink/link.h"

#define IFNAME "wg0"
#define PORT   51999 /* b.toml's */

/* --- failing calls --- */

static struct {
	bool armed, interrupt, fired;
	unsigned long left; /* calls until the failing one */
	const char *call;   /* which it was */
	int code;
} fault;
static pid_t owner; /* a child's calls are not counted: nobody would know of them */

/* `code` is what the call fails with; a call that waits can be interrupted instead. */
static bool fails(const char *call, int code, bool waits)
{
	if (!fault.armed || getpid() != owner || (fault.interrupt && !waits))
		return false;
	if (fault.left--)
		return false;
	fault.armed = false;
	fault.fired = true;
	fault.call = call;
	fault.code = fault.interrupt ? EINTR : code;
	errno = fault.code;
	return true;
}

#define CALL(type, name, code, waits, params, ...)                                                 \
	type name params;                                                                          \
	type name params                                                                           \
	{                                                                                          \
		static type(*real) params;                                                         \
                                                                                                   \
		if (!real)                                                                         \
			real = (type(*) params)dlsym(RTLD_NEXT, #name);                            \
		return fails(#name, code, waits) ? -1 : real(__VA_ARGS__);                         \
	}

CALL(int, socket, EMFILE, false, (int d, int t, int p), d, t, p)
CALL(int, connect, ECONNREFUSED, true, (int fd, const struct sockaddr *a, socklen_t n), fd, a, n)
CALL(int, bind, EADDRINUSE, false, (int fd, const struct sockaddr *a, socklen_t n), fd, a, n)
CALL(int, setsockopt, ENOBUFS, false, (int fd, int l, int o, const void *v, socklen_t n), fd, l, o,
     v, n)
CALL(ssize_t, sendto, ENOBUFS, true,
     (int fd, const void *b, size_t n, int f, const struct sockaddr *a, socklen_t l), fd, b, n, f,
     a, l)
CALL(ssize_t, sendmsg, ENOBUFS, true, (int fd, const struct msghdr *m, int f), fd, m, f)
CALL(ssize_t, send, EPIPE, true, (int fd, const void *b, size_t n, int f), fd, b, n, f)
CALL(ssize_t, recvmsg, ENOBUFS, true, (int fd, struct msghdr *m, int f), fd, m, f)
CALL(ssize_t, recv, ECONNRESET, true, (int fd, void *b, size_t n, int f), fd, b, n, f)
CALL(int, poll, ENOMEM, true, (struct pollfd * f, nfds_t n, int ms), f, n, ms)
CALL(int, ppoll, ENOMEM, true,
     (struct pollfd * f, nfds_t n, const struct timespec *t, const sigset_t *s), f, n, t, s)
CALL(int, fsync, EIO, true, (int fd), fd)
CALL(int, rename, ENOSPC, false, (const char *a, const char *b), a, b)
CALL(int, renameat, ENOSPC, false, (int d, const char *a, int e, const char *b), d, a, e, b)
CALL(int, unlink, EROFS, false, (const char *a), a)
CALL(int, pipe2, EMFILE, false, (int fds[2], int f), fds, f)
CALL(pid_t, fork, EAGAIN, false, (void))
CALL(ssize_t, read, EIO, true, (int fd, void *b, size_t n), fd, b, n)

/* The log's own writes go through. */
ssize_t write(int fd, const void *b, size_t n)
{
	static ssize_t (*real)(int, const void *, size_t);

	if (!real)
		real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
	return fd > STDERR_FILENO && fails("write", ENOSPC, true) ? -1 : real(fd, b, n);
}

static mode_t mode_of(int flags, va_list ap)
{
	return flags & O_CREAT ? (mode_t)va_arg(ap, int) : 0;
}

int open(const char *path, int flags, ...)
{
	static int (*real)(const char *, int, ...);
	va_list ap;

	va_start(ap, flags);
	mode_t mode = mode_of(flags, ap);
	va_end(ap);
	if (!real)
		real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
	return fails("open", EMFILE, false) ? -1 : real(path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
	static int (*real)(int, const char *, int, ...);
	va_list ap;

	va_start(ap, flags);
	mode_t mode = mode_of(flags, ap);
	va_end(ap);
	if (!real)
		real = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat");
	return fails("openat", EMFILE, false) ? -1 : real(dir, path, flags, mode);
}

/* --- the agent --- */

static struct agent *agent;
static struct event_base *base;
static const char *dir;
static bool failed_case;

__attribute__((format(printf, 2, 3))) static void not_ok(const char *name, const char *fmt, ...)
{
	va_list ap;

	printf("not ok %s: ", name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	failed_case = true;
}

static const char *installed;

/* The configuration is DIR/NAME from now on; nobody has read it yet. */
static void install(const char *name)
{
	char from[512], to[512], tmp[512], text[65536];
	FILE *f;
	size_t n;

	installed = name;
	snprintf(from, sizeof(from), "%s/%s", dir, name);
	snprintf(tmp, sizeof(tmp), "%s/live/.new", dir);
	snprintf(to, sizeof(to), "%s/live/net.toml", dir);
	if (!(f = fopen(from, "r")))
		exit(2);
	n = fread(text, 1, sizeof(text), f);
	fclose(f);
	if (!(f = fopen(tmp, "w")) || fwrite(text, 1, n, f) != n || fclose(f) != 0 ||
	    rename(tmp, to) < 0)
		exit(2);
}

/* One run of the loop, now: neither settling nor backing off is what this is about, nor that a
 * device which ends at once is not made again at once. */
static void cycle(void)
{
	agent->next_attempt = (struct mono){0};
	for (size_t i = 0; i < agent->n_nets; i++) {
		agent->nets[i].made = agent->nets[i].not_before = (struct mono){0};
		agent->nets[i].short_lives = 0;
	}
	event_active(agent->wake, EV_TIMEOUT, 0);
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static struct buf left = BUF_INIT(400); /* what the last look found still to be done */

/* Whether nothing is left to be done for what is in force, by a look of its own. */
static bool is_applied(void)
{
	_cleanup_agent_sys_ struct agent_sys *s = NULL;
	_cleanup_agent_state_ struct agent_state observed;
	_cleanup_agent_plan_ struct agent_plan plan = {0};
	struct err e = {0};

	agent_state_init(&observed);
	buf_reset(&left);
	if (!agent->desired.n_tunnels || agent_sys_open(false, &s, &e) < 0 ||
	    agent_observe(s, &agent->desired, &observed, &e) < 0 ||
	    agent_plan(&agent->desired, &observed, &plan) < 0) {
		buf_addf(&left, "the look failed: %s", e.msg);
		return false;
	}
	for (size_t i = 0; i < plan.n; i++) {
		buf_adds(&left, i ? "; " : "");
		agent_op_text(&plan.ops[i], &left);
	}
	return plan.n == 0;
}

static bool says_error(void)
{
	return agent->config_error || agent->error[0];
}

/* The agent says so, and so it is. */
static bool as_wanted(void)
{
	return !says_error() && agent->applied_generation == agent->generation && is_applied();
}

/* A device that was started and could not be waited for needs a moment. */
static bool settles(unsigned most)
{
	for (unsigned i = 0; i < most; i++) {
		if (i > 1)
			usleep(20000);
		agent_load(agent, false);
		cycle();
		if (as_wanted())
			return true;
	}
	return false;
}

static unsigned open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static void link_delete(void)
{
	_cleanup_nl_ struct nl *nl = NULL;
	struct nl_link link;

	if (nl_open(NETLINK_ROUTE, &nl, NULL) == 0 && nl_link_get(nl, IFNAME, &link, NULL) == 0)
		nl_link_del(nl, link.index, NULL);
}

/* The former device's end, which its interface's is some time before on a busy machine: as long as
 * it has the port, the next one has none, and only the look after the next tells of that. */
static void device_wait_end(void)
{
	struct port_holder h;

	for (unsigned i = 0; i < 200 && port_holder(PORT_UDP, PORT, &h); i++)
		usleep(10000);
}

static void address_delete(void)
{
	_cleanup_nl_ struct nl *nl = NULL;
	_cleanup_free_ struct nl_addr *addrs = NULL;
	struct nl_link link;
	size_t n;

	if (nl_open(NETLINK_ROUTE, &nl, NULL) == 0 && nl_link_get(nl, IFNAME, &link, NULL) == 0 &&
	    nl_addr_dump(nl, link.index, &addrs, &n, NULL) == 0 && n)
		nl_addr_del(nl, &addrs[0], NULL);
}

/* --- a failure at each place --- */

enum what { EDIT, CREATE };

/* One more round of the same: what is to be done, in force and looked at once. An edit is always to
 * the other of the two configurations, also where the last round was one of another case. */
static void round_begin(enum what what)
{
	if (what == CREATE) {
		link_delete();
		device_wait_end();
	} else {
		install(str_eq(installed, "a.toml") ? "b.toml" : "a.toml");
	}
}

static void round_run(enum what what)
{
	if (what == EDIT)
		agent_load(agent, false);
	cycle();
}

static unsigned long step(void)
{
	const char *s = getenv("STRIDE");
	unsigned long n = s ? strtoul(s, NULL, 10) : 1;

	return n ? n : 1;
}

/* After the failure; whether to go on. `before` is the generation that was in force. */
static bool round_judge(const char *name, enum what what, unsigned long n, const char *call,
			uint64_t before, unsigned files)
{
	bool taken = what == CREATE || agent->generation > before;

	if (!says_error() && !(taken && is_applied())) {
		not_ok(name, "%s (call %lu): %s%s, and nothing is said", call, n,
		       taken ? "not applied: " : "the edit was not taken",
		       taken ? buf_str(&left) : "");
		return false;
	}
	if (!settles(6)) {
		not_ok(name, "%s (call %lu): not as wanted six cycles later: %s %s", call, n,
		       agent->error, agent->config_error ? agent->config_error : "");
		return false;
	}
	if (open_files() > files) {
		not_ok(name, "%s (call %lu): %u files open, %u before", call, n, open_files(),
		       files);
		return false;
	}
	return true;
}

/* Of a case in which `tried` calls or allocations failed, one a round. */
static void report(const char *name, unsigned long tried, unsigned long told)
{
	if (tried == 0)
		not_ok(name, "nothing was made to fail");
	else if (!settles(6))
		not_ok(name, "not as wanted in the end");
	else
		printf("ok %s\n# %lu failures, %lu told\n", name, tried, told);
}

static void failing_calls(const char *name, enum what what, bool interrupt)
{
	unsigned long n = 0, told = 0, tried = 0;
	unsigned files = settles(6) ? open_files() : 0;

	for (;; n += step()) {
		uint64_t before = agent->generation;

		round_begin(what);
		fault.fired = false;
		fault.interrupt = interrupt;
		fault.left = n;
		fault.armed = true;
		round_run(what);
		fault.armed = false;
		if (!fault.fired)
			break;
		tried++;
		told += says_error();
		if (!round_judge(name, what, n, fault.call, before, files))
			return;
	}
	report(name, tried, told);
}

static void failing_memory(const char *name, enum what what)
{
	unsigned long n = 0, told = 0, tried = 0;
	unsigned files = settles(6) ? open_files() : 0;

	for (;; n += step()) {
		uint64_t before = agent->generation;

		round_begin(what);
		fault_after(n);
		round_run(what);
		if (!fault_off())
			break;
		tried++;
		told += says_error();
		if (!round_judge(name, what, n, "allocation", before, files))
			return;
	}
	report(name, tried, told);
}

/* --- metrics --- */

/* Each peer of the device has its own key in its series, and there are no others. */
static bool metrics_are_true(const char *name, unsigned long n)
{
	static const char family[] = "\nharmony_agent_peer_up{";
	_cleanup_buf_ struct buf text = BUF_INIT(0);
	size_t present = 0, series = 0;
	char line[160], k[KEY_BASE64];

	agent_exporter_write(agent->exporter, METRICS_TEXT, &text);
	for (const char *p = buf_str(&text); (p = strstr(p, family)); p++)
		series++;
	for (size_t i = 0; i < agent->n_nets; i++) {
		const struct agent_net *net = &agent->nets[i];

		for (size_t j = 0; j < health_count(net->health); j++) {
			const struct health_peer *p = health_peer(net->health, j);

			if (!p->present)
				continue;
			present++;
			snprintf(line, sizeof(line), "%sdevice=\"%s\",public_key=\"%s\"} ", family,
				 net->ifname, key_to_base64(&p->public_key, k));
			if (strstr(buf_str(&text), line))
				continue;
			not_ok(name, "allocation %lu: no series of the peer %s", n, k);
			return false;
		}
	}
	if (present && series == present)
		return true;
	not_ok(name, "allocation %lu: %zu series, %zu peers", n, series, present);
	return false;
}

/* The edit of c.toml to `to`, and back without a failure. */
static void failing_metrics(const char *name, const char *to, void (*arm)(size_t))
{
	unsigned long tried = 0;
	bool fired = true;

	for (unsigned long n = 0; fired; n += step(), tried += fired) {
		install("c.toml");
		if (!settles(6) || !metrics_are_true(name, n)) {
			not_ok(name, "allocation %lu: not as wanted afterwards", n);
			return;
		}
		install(to);
		arm(n);
		agent_load(agent, false);
		fired = fault_off();
		if (!metrics_are_true(name, n))
			return;
	}
	report(name, tried, 0);
}

static void metrics(void)
{
	failing_metrics("metrics after an edit of a network, an allocation failing", "d.toml",
			fault_after);
	failing_metrics("metrics after an edit of peers, an allocation failing", "e.toml",
			fault_after);
	failing_metrics("metrics after an edit of a network, all allocations failing", "d.toml",
			fault_all_after);
	failing_metrics("metrics after an edit of peers, all allocations failing", "e.toml",
			fault_all_after);
}

/* --- many cycles --- */

struct held {
	unsigned files;
	long blocks; /* of memory; 0 under a sanitizer, which looks for leaks itself */
	long rss_kb;
};

static struct held held(void)
{
	struct held h = {.files = open_files()};
	FILE *f = fopen("/proc/self/statm", "r");
	long pages = 0;

	if (f && fscanf(f, "%*d %ld", &pages) == 1)
		h.rss_kb = pages * (sysconf(_SC_PAGESIZE) / 1024);
	if (f)
		fclose(f);
	h.blocks = fault_live();
	return h;
}

/* What happens to an agent: edits, errors in them, drift of both kinds, a lost interface. */
static void something_happens(unsigned i)
{
	switch (i % 10) {
	case 0: install("b.toml"); break;
	case 2: install("bad.toml"); break;
	case 3: install("b.toml"); break;
	case 4: address_delete(); break;
	case 5: install("a.toml"); break;
	case 6: agent_reload(agent); break;
	case 7:
		if (i % 50 == 7)
			link_delete();
		break;
	default: break;
	}
	agent_load(agent, false);
}

static void cycles(unsigned n)
{
	const char *name = "what is held is the same after many cycles";
	struct held h, first = {0};

	for (unsigned i = 0; i <= n; i++) {
		something_happens(i);
		cycle();
		if (i % 10 != 9)
			continue;
		if (!settles(6)) {
			not_ok(name, "cycle %u: not as wanted: %s %s", i, agent->error,
			       agent->config_error ? agent->config_error : "");
			return;
		}
		h = held();
		if (i == 99)
			first = h;
		if (i % 100 == 99)
			printf("# cycle %u (%llu runs): %u files, %ld blocks, resident %ld "
			       "kB\n",
			       i + 1, (unsigned long long)agent->counts.reconciles, h.files,
			       h.blocks, h.rss_kb);
	}
	if (h.files != first.files)
		not_ok(name, "%u files, %u before", h.files, first.files);
	else if (h.blocks > first.blocks + 10)
		not_ok(name, "%ld blocks of memory, %ld before", h.blocks, first.blocks);
	else
		printf("ok %s\n", name);
}

static int start(const char *device, struct agent_options *opts)
{
	static char live[512], state[512], control[512];
	static const char *configs[] = {live};
	struct err e = {0};

	snprintf(live, sizeof(live), "%s/live", dir);
	snprintf(state, sizeof(state), "%s/state", dir);
	snprintf(control, sizeof(control), "%s/control.sock", dir);
	*opts = (struct agent_options){
		.configs = configs,
		.n_configs = 1,
		.node = "node",
		.state_dir = state,
		.control = control,
		.userspace = device,
		.on_exit = AGENT_EXIT_REMOVE,
		.poll_secs = 3600,
	};
	install("a.toml");
	if (agent_new(base, opts, &agent, &e) < 0) {
		printf("not ok start: %s\n", e.msg);
		return 1;
	}
	if (settles(6))
		return 0;
	printf("not ok start: %s\n", agent->error);
	return 1;
}

int main(int argc, char **argv)
{
	struct agent_options opts;
	unsigned n = 0;

	if (argc < 4)
		return 2;
	owner = getpid();
	if (str_eq(argv[1], "cycles")) {
		n = (unsigned)atoi(argv[2]);
		argv++;
	}
	dir = argv[2];
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	log_setup(LOG_FORMAT_JSON, LOG_LEVEL_INFO, STDERR_FILENO);
	base = event_base_new();
	if (!base || start(argv[3], &opts))
		return 1;
	/* Sockets that are opened when they are first needed are there before files are counted. */
	install("b.toml");
	settles(6);
	if (n) {
		cycles(n);
	} else if (str_eq(argv[1], "metrics")) {
		metrics();
	} else if (str_eq(argv[1], "memory")) {
		failing_memory("each allocation of an edit fails", EDIT);
		failing_memory("each allocation of a creation fails", CREATE);
	} else {
		enum what what = str_eq(argv[1], "create") ? CREATE : EDIT;
		const char *noun = what == CREATE ? "creation" : "edit";
		char name[96];

		snprintf(name, sizeof(name), "each system call of %s %s fails",
			 what == CREATE ? "a" : "an", noun);
		failing_calls(name, what, false);
		snprintf(name, sizeof(name), "each system call of %s %s is interrupted",
			 what == CREATE ? "a" : "an", noun);
		failing_calls(name, what, true);
	}
	agent_free(agent);
	event_base_free(base);
	buf_free(&left);
	return failed_case;
}
