/*
 * The command line is that of wireguard-go and boringtun-cli, with more switches; their
 * environment variables mean here what they mean there. A variable that does not make sense is
 * an error, as an option would be.
 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "udp.h"

#define QUEUES_DEFAULT_MAX 8

const char options_usage[] =
	"usage: harmony-wg [OPTIONS] INTERFACE\n"
	"\n"
	"A WireGuard device in user space, driven by wg(8) and wg-quick(8).\n"
	"\n"
	"  -f, --foreground      do not go to the background\n"
	"      --user NAME       run as this user once everything is open\n"
	"      --state-dir DIR   where endpoints and handshake stamps are kept\n"
	"                        (default /var/lib/harmony-wg; \"\" for nowhere)\n"
	"      --aead NAME       ChaCha20-Poly1305 by this backend, not the fastest\n"
	"      --queues N        this many queues of the interface and sockets, with two threads\n"
	"                        each (1 to 16; default one for each two processors, at most 8)\n"
	"      --no-gso          no segmentation offload on the UDP sockets\n"
	"      --no-gro          no receive offload on the UDP sockets, no joining of packets\n"
	"      --no-tun-offload  no offloads on the interface\n"
	"      --no-sandbox      keep all privileges and system calls (for debugging)\n"
	"      --log-format F    text or json\n"
	"  -h, --help            this text\n"
	"  -V, --version         the version\n"
	"\n"
	"Environment: LOG_LEVEL (verbose, debug, info, warn, error, silent; default error),\n"
	"WG_TUN_FD, WG_UAPI_FD, WG_PROCESS_FOREGROUND. See harmony-wg(8).\n";

enum { USER = 256, STATE_DIR, AEAD, QUEUES, NO_GSO, NO_GRO, NO_TUN, NO_SANDBOX, LOG_FORMAT };

static const struct option longopts[] = {
	{"foreground", no_argument, NULL, 'f'},
	{"user", required_argument, NULL, USER},
	{"state-dir", required_argument, NULL, STATE_DIR},
	{"aead", required_argument, NULL, AEAD},
	{"queues", required_argument, NULL, QUEUES},
	{"no-gso", no_argument, NULL, NO_GSO},
	{"no-gro", no_argument, NULL, NO_GRO},
	{"no-tun-offload", no_argument, NULL, NO_TUN},
	{"no-sandbox", no_argument, NULL, NO_SANDBOX},
	{"log-format", required_argument, NULL, LOG_FORMAT},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{0},
};

static int fd_from_env(const char *name, int *ret, struct err *e)
{
	const char *s = getenv(name);
	uint64_t n;

	if (!s || !*s)
		return 0;
	if (str_to_u64(s, strlen(s), 0, INT_MAX, &n) < 0)
		return err_set(e, -EINVAL, "%s is \"%.32s\", not a file descriptor", name, s);
	*ret = (int)n;
	return 0;
}

/* wireguard-go knows verbose, error and silent, and takes all else for error. */
static int level_from_env(struct options *o, struct err *e)
{
	const char *s = getenv("LOG_LEVEL");

	if (!s || !*s)
		return 0;
	o->keep_output = true;
	if (str_eq(s, "verbose"))
		o->level = LOG_LEVEL_DEBUG;
	else if (str_eq(s, "silent"))
		o->silent = true, o->keep_output = false;
	else if (log_level_parse(s, &o->level) < 0)
		return err_set(e, -EINVAL,
			       "LOG_LEVEL is \"%.32s\"; accepted: verbose, debug, info, warn, "
			       "error, silent",
			       s);
	return 0;
}

static int from_env(struct options *o, struct err *e)
{
	const char *s = getenv("WG_PROCESS_FOREGROUND");
	int r = level_from_env(o, e);

	o->foreground |= s && str_eq(s, "1");
	if (r == 0)
		r = fd_from_env("WG_TUN_FD", &o->tun_fd, e);
	if (r == 0)
		r = fd_from_env("WG_UAPI_FD", &o->uapi_fd, e);
	return r;
}

/* A queue costs two threads, so that no work ever waits for another's end. */
static unsigned default_queues(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) / 2 : 1;

	return n < 1 ? 1 : n > QUEUES_DEFAULT_MAX ? QUEUES_DEFAULT_MAX : (unsigned)n;
}

static int take(struct options *o, int c, const char *arg, struct err *e)
{
	uint64_t n;

	switch (c) {
	case 'f': o->foreground = true; return 0;
	case USER: o->user = optarg; return 0;
	case STATE_DIR: o->state_dir = optarg; return 0;
	case AEAD: o->aead = optarg; return 0;
	case QUEUES:
		if (str_to_u64(optarg, strlen(optarg), 1, QUEUES_MAX, &n) < 0)
			return err_set(e, -EINVAL, "--queues is 1 to %d, not \"%.32s\"", QUEUES_MAX,
				       optarg);
		o->queues = (unsigned)n;
		return 0;
	case NO_GSO: o->gso = false; return 0;
	case NO_GRO: o->gro = false; return 0;
	case NO_TUN: o->tun_offload = false; return 0;
	case NO_SANDBOX: o->sandbox = false; return 0;
	case LOG_FORMAT:
		if (log_format_parse(optarg, &o->format) == 0)
			return 0;
		return err_set(e, -EINVAL, "--log-format is text or json, not \"%.32s\"", optarg);
	case ':': return err_set(e, -EINVAL, "%.64s needs a value", arg);
	default: return err_set(e, -EINVAL, "no such option: %.64s; see harmony-wg --help", arg);
	}
}

enum options_result options_parse(int argc, char **argv, struct options *ret, struct err *e)
{
	struct options o = {
		.state_dir = "/var/lib/harmony-wg",
		.queues = default_queues(),
		.gso = true,
		.gro = true,
		.tun_offload = true,
		.sandbox = true,
		.tun_fd = -1,
		.uapi_fd = -1,
		.level = LOG_LEVEL_ERROR,
		.format = LOG_FORMAT_TEXT,
	};
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":fhV", longopts, NULL)) != -1) {
		if (c == 'h')
			return OPTIONS_HELP;
		if (c == 'V')
			return OPTIONS_VERSION;
		if (take(&o, c, argv[optind - 1], e) < 0)
			return OPTIONS_BAD;
	}
	if (optind + 1 != argc) {
		err_set(e, -EINVAL, "one interface name is needed; see harmony-wg --help");
		return OPTIONS_BAD;
	}
	o.ifname = argv[optind];
	if (!str_is_ifname(o.ifname)) {
		err_set(e, -EINVAL,
			"\"%.32s\" is no interface name: 1 to 15 bytes without / and :", o.ifname);
		return OPTIONS_BAD;
	}
	if (from_env(&o, e) < 0)
		return OPTIONS_BAD;
	*ret = o;
	return OPTIONS_RUN;
}
