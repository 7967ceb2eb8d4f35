/*
 * The command line is that of wireguard-go and boringtun-cli, with more switches: every option and
 * variable of theirs is accepted, and means what it means there, as far as there is anything here
 * for it to mean; of one that means nothing here the log tells. An option goes before a variable.
 *
 * A variable that does not make sense is an error, as an option would be. Only a level that is not
 * known is none: wireguard-go takes it for "error", and who starts it with one expects it to run.
 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
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
	"As boringtun-cli has them:\n"
	"  -v, --verbosity LEVEL  of the log: trace, debug, info, warn, error, silent\n"
	"  -l, --log FILE         append the log to this file, in the background\n"
	"  -t, --threads N        no more threads than these for packets, but two at least\n"
	"      --tun-fd N         a TUN device that is open\n"
	"      --uapi-fd N        a UNIX socket, listening or connected\n"
	"      --disable-multi-queue\n"
	"                         one queue\n"
	"      --disable-drop-privileges, --disable-connected-udp\n"
	"                         without effect\n"
	"\n"
	"Environment: LOG_LEVEL (verbose or one of the levels above; default error), WG_TUN_FD,\n"
	"WG_UAPI_FD, WG_PROCESS_FOREGROUND, WG_LOG_LEVEL, WG_LOG_FILE, WG_THREADS, WG_SUDO.\n"
	"See harmony-wg(8).\n";

enum {
	USER = 256,
	STATE_DIR,
	AEAD,
	QUEUES,
	NO_GSO,
	NO_GRO,
	NO_TUN,
	NO_SANDBOX,
	LOG_FORMAT,
	TUN_FD,
	UAPI_FD,
	ONE_QUEUE,
	NO_EFFECT,
};

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
	{"verbosity", required_argument, NULL, 'v'},
	{"log", required_argument, NULL, 'l'},
	{"threads", required_argument, NULL, 't'},
	{"tun-fd", required_argument, NULL, TUN_FD},
	{"uapi-fd", required_argument, NULL, UAPI_FD},
	{"disable-multi-queue", no_argument, NULL, ONE_QUEUE},
	{"disable-drop-privileges", no_argument, NULL, NO_EFFECT},
	{"disable-connected-udp", no_argument, NULL, NO_EFFECT},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{0},
};

/* -1 is none, as with boringtun-cli. */
static int parse_fd(const char *name, const char *s, int *ret, struct err *e)
{
	uint64_t n = 0;

	if (!str_eq(s, "-1") && str_to_u64(s, strlen(s), 0, INT_MAX, &n) < 0)
		return err_set(e, -EINVAL, "%s is \"%.32s\", not a file descriptor", name, s);
	*ret = str_eq(s, "-1") ? -1 : (int)n;
	return 0;
}

static int parse_threads(const char *name, const char *s, unsigned *ret, struct err *e)
{
	uint64_t n;

	if (str_to_u64(s, strlen(s), 1, INT_MAX, &n) < 0)
		return err_set(e, -EINVAL, "%s is \"%.32s\", not a number of threads", name, s);
	*ret = (unsigned)n;
	return 0;
}

/* All names that the tools and this one have for a level, in any case. */
static bool parse_level(const char *s, struct options *o)
{
	static const struct {
		const char *name;
		enum log_level level;
	} names[] = {
		{"verbose", LOG_LEVEL_DEBUG}, {"trace", LOG_LEVEL_DEBUG},
		{"debug", LOG_LEVEL_DEBUG},   {"info", LOG_LEVEL_INFO},
		{"warn", LOG_LEVEL_WARN},     {"warning", LOG_LEVEL_WARN},
		{"error", LOG_LEVEL_ERROR},
	};

	o->silent = strcasecmp(s, "silent") == 0;
	if (o->silent)
		return true;
	for (unsigned i = 0; i < ARRAY_LEN(names); i++)
		if (strcasecmp(s, names[i].name) == 0) {
			o->level = names[i].level;
			return true;
		}
	return false;
}

static const char *from(const char *name)
{
	const char *s = getenv(name);

	return s && *s ? s : NULL;
}

/* wireguard-go's goes before boringtun's; both write to standard output in the foreground, and only
 * wireguard-go in the background. */
static void levels_from_env(struct options *o)
{
	const char *ours = from("LOG_LEVEL"), *s = ours ? ours : from("WG_LOG_LEVEL");

	if (s && !parse_level(s, o))
		o->unknown_level = s;
	o->keep_output = ours && !o->silent;
}

static int from_env(struct options *o, struct err *e)
{
	const char *s = getenv("WG_PROCESS_FOREGROUND");
	int r = 0;

	o->foreground |= s && str_eq(s, "1");
	levels_from_env(o);
	o->log_file = from("WG_LOG_FILE");
	if (from("WG_SUDO"))
		o->no_effect[o->n_no_effect++] = "WG_SUDO";
	if ((s = from("WG_THREADS")))
		r = parse_threads("WG_THREADS", s, &o->threads, e);
	if (r == 0 && (s = from("WG_TUN_FD")))
		r = parse_fd("WG_TUN_FD", s, &o->tun_fd, e);
	if (r == 0 && (s = from("WG_UAPI_FD")))
		r = parse_fd("WG_UAPI_FD", s, &o->uapi_fd, e);
	return r;
}

/* A queue costs two threads, so that no work ever waits for another's end. */
static unsigned default_queues(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) / 2 : 1;

	return n < 1 ? 1 : n > QUEUES_DEFAULT_MAX ? QUEUES_DEFAULT_MAX : (unsigned)n;
}

static unsigned queues_of(const struct options *o)
{
	unsigned most = default_queues();

	if (o->one_queue || (o->threads > 0 && o->threads < 4))
		return 1;
	return o->threads > 0 && o->threads / 2 < most ? o->threads / 2 : most;
}

/* Those of boringtun-cli. */
static int take_boringtun(struct options *o, int c, const char *arg, struct err *e)
{
	switch (c) {
	case 'v':
		o->unknown_level = NULL;
		if (parse_level(optarg, o))
			return 0;
		return err_set(e, -EINVAL,
			       "--verbosity is trace, debug, info, warn, error or silent, not "
			       "\"%.32s\"",
			       optarg);
	case 'l': o->log_file = optarg; return 0;
	case 't': return parse_threads("--threads", optarg, &o->threads, e);
	case TUN_FD: return parse_fd("--tun-fd", optarg, &o->tun_fd, e);
	case UAPI_FD: return parse_fd("--uapi-fd", optarg, &o->uapi_fd, e);
	case ONE_QUEUE: o->one_queue = true; return 0;
	case NO_EFFECT:
		if (o->n_no_effect < ARRAY_LEN(o->no_effect))
			o->no_effect[o->n_no_effect++] = arg;
		return 0;
	case ':': return err_set(e, -EINVAL, "%.64s needs a value", arg);
	default: return err_set(e, -EINVAL, "no such option: %.64s; see harmony-wg --help", arg);
	}
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
	default: return take_boringtun(o, c, arg, e);
	}
}

enum options_result options_parse(int argc, char **argv, struct options *ret, struct err *e)
{
	struct options o = {
		.state_dir = "/var/lib/harmony-wg",
		.gso = true,
		.gro = true,
		.tun_offload = true,
		.sandbox = true,
		.tun_fd = -1,
		.uapi_fd = -1,
		.level = LOG_LEVEL_ERROR,
		.format = LOG_FORMAT_TEXT,
	};
	struct err env = {0};
	int c, env_ok = from_env(&o, &env);

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":fhVv:l:t:", longopts, NULL)) != -1) {
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
	if (env_ok < 0) {
		err_set(e, env_ok, "%s", env.msg);
		return OPTIONS_BAD;
	}
	if (!o.queues)
		o.queues = queues_of(&o);
	if (o.foreground)
		o.log_file = NULL;
	*ret = o;
	return OPTIONS_RUN;
}

void options_tell(const struct options *o)
{
	if (o->unknown_level)
		log_error("the log's level is not known, and taken for error",
			  LOG_STR("level", o->unknown_level));
	for (unsigned i = 0; i < o->n_no_effect; i++)
		log_info("accepted for boringtun-cli's sake, and without effect",
			 LOG_STR("option", o->no_effect[i]));
}
