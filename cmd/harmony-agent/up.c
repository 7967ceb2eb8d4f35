/*
 * harmony-agent up: the daemon.
 *
 * Boot order: arguments; log; signals and loop; the agent (control socket and HTTP first, so that
 * a second agent ends before it has touched anything; then the network sockets, the sources);
 * what is not needed any more is given up but for CAP_NET_ADMIN; the loop. Supervision is
 * systemd's, the kubelet's or the shell's, but for --respawn (respawn.c).
 */
#include "commands.h"

#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/limit.h"
#include "base/secret.h"
#include "base/str.h"
#include "control/control.h"
#include "log/log.h"
#include "sandbox/sandbox.h"

#define HTTP_DEFAULT "127.0.0.1:9586"

static const char help[] =
	"usage: harmony-agent up --config PATH [OPTION…]\n"
	"\n"
	"Brings the configured networks up and keeps them as configured until it is ended.\n"
	"\n"
	"what is wanted:\n"
	"  -c, --config PATH          file (.toml, .yaml, .json) or directory of such; repeatable\n"
	"      --kube-secret NS/NAME  documents and keys from a Secret\n"
	"      --kube-configmap NS/NAME   documents from a ConfigMap\n"
	"      --kubeconfig FILE      how to reach the API server (default: in-cluster)\n"
	"      --kube-publish NS/NAME ConfigMap in which each node's public key and state stand\n"
	"      --kube-gate            sets the condition harmony-agent/tunnel-ready of the node's "
	"pods\n"
	"                             that carry the label harmony-agent/tunnel-gate=true\n"
	"      --kube-taint KEY       removes the taint KEY (harmony-agent/not-ready, say) from "
	"its\n"
	"                             node when the tunnels are up\n"
	"      --node-name NAME       selects [network.X.nodes.\"NAME\"]\n"
	"                             (default: NODE_NAME, else the host name)\n"
	"      --network NAME         brings this network up and no other\n"
	"how:\n"
	"      --on-exit keep|remove  what becomes of the tunnels at the end (default keep)\n"
	"      --observe-only         report differences, change nothing\n"
	"      --no-nft               leave nftables alone\n"
	"      --guard                every network has a guard: what its tunnel leads to is\n"
	"                             reached by the tunnel or not at all (see guard in\n"
	"                             harmony-agent.toml(5))\n"
	"      --userspace PATH       program for userspace devices (default: harmony-wg,\n"
	"                             wireguard-go, boringtun-cli, whichever is found first), or\n"
	"                             the socket of 'harmony-agent devices'\n"
	"      --poll SECONDS         longest time between two looks at the machine (default 5)\n"
	"      --respawn              in a process of its own, which is started again when it "
	"crashes,\n"
	"                             so that its end is not that of a container and its devices\n"
	"      --state-dir DIR        generated keys, last good configuration\n"
	"                             (default " STATE_DIR_DEFAULT ")\n"
	"what it tells:\n"
	"      --http ADDRESS:PORT    /livez /readyz /healthz /metrics; repeatable; 'off' for "
	"none\n"
	"                             (default " HTTP_DEFAULT ")\n"
	"      --control PATH         control socket; 'off' for none\n"
	"                             (default " CONTROL_PATH ")\n"
	"      --log-format text|json (default: text on a terminal, else json)\n"
	"      --log-level LEVEL      debug, info, warn, error (default info)\n"
	"\n"
	"SIGHUP reads the configuration again, SIGTERM and SIGINT end the agent.\n"
	"Exit status: 0 ended as told; 2 wrong command line; 3 something that it needs is "
	"missing.\n";

enum {
	OPT_KUBE_SECRET = 256,
	OPT_KUBE_CONFIGMAP,
	OPT_KUBECONFIG,
	OPT_KUBE_PUBLISH,
	OPT_KUBE_GATE,
	OPT_KUBE_TAINT,
	OPT_NODE_NAME,
	OPT_NETWORK,
	OPT_ON_EXIT,
	OPT_OBSERVE_ONLY,
	OPT_NO_NFT,
	OPT_GUARD,
	OPT_USERSPACE,
	OPT_POLL,
	OPT_RESPAWN,
	OPT_STATE_DIR,
	OPT_HTTP,
	OPT_CONTROL,
	OPT_LOG_FORMAT,
	OPT_LOG_LEVEL,
};

static const struct option options[] = {
	{"config", required_argument, NULL, 'c'},
	{"kube-secret", required_argument, NULL, OPT_KUBE_SECRET},
	{"kube-configmap", required_argument, NULL, OPT_KUBE_CONFIGMAP},
	{"kubeconfig", required_argument, NULL, OPT_KUBECONFIG},
	{"kube-publish", required_argument, NULL, OPT_KUBE_PUBLISH},
	{"kube-gate", no_argument, NULL, OPT_KUBE_GATE},
	{"kube-taint", required_argument, NULL, OPT_KUBE_TAINT},
	{"node-name", required_argument, NULL, OPT_NODE_NAME},
	{"network", required_argument, NULL, OPT_NETWORK},
	{"on-exit", required_argument, NULL, OPT_ON_EXIT},
	{"observe-only", no_argument, NULL, OPT_OBSERVE_ONLY},
	{"no-nft", no_argument, NULL, OPT_NO_NFT},
	{"guard", no_argument, NULL, OPT_GUARD},
	{"userspace", required_argument, NULL, OPT_USERSPACE},
	{"poll", required_argument, NULL, OPT_POLL},
	{"respawn", no_argument, NULL, OPT_RESPAWN},
	{"state-dir", required_argument, NULL, OPT_STATE_DIR},
	{"http", required_argument, NULL, OPT_HTTP},
	{"control", required_argument, NULL, OPT_CONTROL},
	{"log-format", required_argument, NULL, OPT_LOG_FORMAT},
	{"log-level", required_argument, NULL, OPT_LOG_LEVEL},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

struct settings {
	struct agent_options agent;
	struct arg_list configs, http;
	enum log_format log_format;
	enum log_level log_level;
	bool respawn, help;
};

static int bad_value(const char *option, const char *found, const char *accepted)
{
	return cmd_fail("up", EXIT_USAGE, "--%s: found '%s', accepted: %s", option, found,
			accepted);
}

static int take_option(struct settings *s, int c)
{
	struct agent_options *o = &s->agent;
	uint64_t n;

	switch (c) {
	case 'h': s->help = true; return 0;
	case 'c': return arg_list_add(&s->configs, "up", "config", optarg);
	case OPT_KUBE_SECRET: o->kube_secret = optarg; return 0;
	case OPT_KUBE_CONFIGMAP: o->kube_configmap = optarg; return 0;
	case OPT_KUBECONFIG: o->kubeconfig = optarg; return 0;
	case OPT_KUBE_PUBLISH: o->kube_publish = optarg; return 0;
	case OPT_KUBE_GATE: o->kube_gate = true; return 0;
	case OPT_KUBE_TAINT: o->kube_taint = optarg; return 0;
	case OPT_NODE_NAME: o->node = optarg; return 0;
	case OPT_NETWORK: o->network = optarg; return 0;
	case OPT_ON_EXIT:
		if (!str_eq(optarg, "keep") && !str_eq(optarg, "remove"))
			return bad_value("on-exit", optarg, "keep, remove");
		o->on_exit = str_eq(optarg, "keep") ? AGENT_EXIT_KEEP : AGENT_EXIT_REMOVE;
		return 0;
	case OPT_OBSERVE_ONLY: o->observe_only = true; return 0;
	case OPT_NO_NFT: o->no_nft = true; return 0;
	case OPT_GUARD: o->guard = true; return 0;
	case OPT_USERSPACE: o->userspace = optarg; return 0;
	case OPT_POLL:
		if (str_to_u64(optarg, strlen(optarg), 1, 3600, &n) < 0)
			return bad_value("poll", optarg, "1 to 3600 seconds");
		o->poll_secs = (unsigned)n;
		return 0;
	case OPT_RESPAWN: s->respawn = true; return 0;
	case OPT_STATE_DIR: o->state_dir = optarg; return 0;
	case OPT_HTTP: return arg_list_add(&s->http, "up", "http", optarg);
	case OPT_CONTROL: o->control = str_eq(optarg, "off") ? NULL : optarg; return 0;
	case OPT_LOG_FORMAT:
		return log_format_parse(optarg, &s->log_format) < 0
			       ? bad_value("log-format", optarg, "text, json")
			       : 0;
	case OPT_LOG_LEVEL:
		return log_level_parse(optarg, &s->log_level) < 0
			       ? bad_value("log-level", optarg, "debug, info, warn, error")
			       : 0;
	default: return cmd_fail("up", EXIT_USAGE, "'harmony-agent up --help' lists the options");
	}
}

static int parse(int argc, char **argv, struct settings *s)
{
	int c, r;

	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1)
		if ((r = take_option(s, c)) != 0)
			return r;
	if (s->help)
		return 0;
	if (optind < argc)
		return cmd_fail("up", EXIT_USAGE, "found '%s', accepted are only options",
				argv[optind]);
	if (!s->configs.n && !s->agent.kube_secret && !s->agent.kube_configmap)
		return cmd_fail(
			"up", EXIT_USAGE,
			"nothing says what is wanted: accepted are --config, --kube-secret, "
			"--kube-configmap");
	if (s->agent.guard && s->agent.no_nft)
		return cmd_fail("up", EXIT_USAGE,
				"--guard needs nftables, which --no-nft leaves alone: accepted is "
				"one of them");
	if (s->agent.kube_gate && !s->agent.kube_secret && !s->agent.kube_configmap)
		return cmd_fail("up", EXIT_USAGE,
				"--kube-gate needs --kube-secret or --kube-configmap");
	if (s->agent.kube_taint && !s->agent.kube_secret && !s->agent.kube_configmap)
		return cmd_fail("up", EXIT_USAGE,
				"--kube-taint needs --kube-secret or --kube-configmap");
	if (s->http.n == 0)
		s->http.items[s->http.n++] = HTTP_DEFAULT;
	if (s->http.n == 1 && str_eq(s->http.items[0], "off"))
		s->http.n = 0;
	s->agent.configs = s->configs.items;
	s->agent.n_configs = s->configs.n;
	s->agent.http = s->http.items;
	s->agent.n_http = s->http.n;
	s->agent.node = node_name(s->agent.node);
	return 0;
}

static void on_end(evutil_socket_t sig, short what, void *arg)
{
	log_info("ending", LOG_STR("signal", strsignal((int)sig)));
	event_base_loopbreak(arg);
}

static void on_hup(evutil_socket_t sig, short what, void *arg)
{
	struct agent **a = arg;

	if (*a)
		agent_reload(*a);
}

/* What is left: the network, and reading what is the user's own. A userspace device that is
 * started later needs CAP_NET_ADMIN too, and gets no more. */
static void drop_privileges(void)
{
	const uint64_t keep = SANDBOX_CAP(CAP_NET_ADMIN);
	struct err e = {0};

	if (sandbox_drop_caps(keep, keep, &e) < 0)
		log_warn("privileges not dropped", LOG_STR("error", e.msg));
	if (sandbox_no_new_privs(&e) < 0)
		log_warn("programs started from here may gain privileges", LOG_STR("error", e.msg));
}

/* As the first process of a container the agent inherits what others leave behind: userspace
 * devices, which are detached from it on purpose, and end some day. */
static void on_child(evutil_socket_t sig, short what, void *arg)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static int start(struct event_base *base, struct settings *s, struct agent **ret)
{
	struct err e = {0};

	/* For the life of this process: no key is removed beside it. A directory that cannot be
	 * made, or is not ours, is the agent's to tell. */
	if (state_dir_lock(s->agent.state_dir, false) == -EWOULDBLOCK) {
		log_error("cannot start: 'harmony-agent forget' empties the state directory",
			  LOG_STR("directory", s->agent.state_dir));
		return EXIT_SYSTEM;
	}
	/* Where it comes by a file capability; agent_new tells where it is missing. */
	(void)sandbox_raise_cap(CAP_NET_ADMIN);
	if (agent_new(base, &s->agent, ret, &e) < 0) {
		log_error("cannot start", LOG_STR("error", e.msg));
		return EXIT_SYSTEM;
	}
	drop_privileges();
	if (!secret_is_locked())
		log_warn("keys may be swapped out: locked memory is not permitted "
			 "(RLIMIT_MEMLOCK, CAP_IPC_LOCK)");
	return EXIT_OK;
}

static int run(struct event_base *base, struct settings *s)
{
	_cleanup_(agent_free_p) struct agent *a = NULL;
	const struct {
		int signal;
		event_callback_fn fn;
		void *arg;
	} signals[] = {
		{SIGTERM, on_end, base},
		{SIGINT, on_end, base},
		{SIGHUP, on_hup, &a},
		{SIGCHLD, on_child, NULL}, /* process 1 only */
	};
	struct event *events[ARRAY_LEN(signals)] = {NULL};
	size_t n = ARRAY_LEN(signals) - (getpid() != 1);
	int status = EXIT_OK;

	for (size_t i = 0; i < n; i++) {
		events[i] = evsignal_new(base, signals[i].signal, signals[i].fn, signals[i].arg);
		if (!events[i] || event_add(events[i], NULL) < 0)
			status = EXIT_SYSTEM;
	}
	if (status == EXIT_OK)
		status = start(base, s, &a);
	if (status == EXIT_OK)
		event_base_dispatch(base);
	for (size_t i = 0; i < n; i++)
		if (events[i])
			event_free(events[i]);
	return status;
}

/* libevent would print these itself, between the lines of the log. What they are about (a name
 * server that does not answer) is told by who asked. */
static void on_libevent(int severity, const char *msg)
{
	log_debug("libevent", LOG_STR("message", msg));
}

int cmd_up(int argc, char **argv)
{
	struct settings s = {
		.agent = {.state_dir = STATE_DIR_DEFAULT, .control = CONTROL_PATH},
		.log_format = isatty(STDERR_FILENO) ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON,
		.log_level = LOG_LEVEL_INFO,
	};
	int r = parse(argc, argv, &s);

	if (r)
		return r;
	if (s.help) {
		fputs(help, stdout);
		return EXIT_OK;
	}
	log_setup(s.log_format, s.log_level, STDERR_FILENO);
	if (s.respawn && (r = up_respawn()) >= 0)
		return r;
	struct err e = {0};
	if (sandbox_not_dumpable(&e) < 0)
		return cmd_fail("up", EXIT_SYSTEM, "%s", e.msg);
	if (limit_raise_files(&e) < 0) /* of probes and scrapes, beside what each network needs */
		log_warn("fewer connections are possible", LOG_STR("error", e.msg));
	signal(SIGPIPE, SIG_IGN);
	event_set_log_callback(on_libevent);

	struct event_base *base = event_base_new();
	if (!base)
		return cmd_fail("up", EXIT_SYSTEM, "out of memory");
	r = run(base, &s);
	event_base_free(base);
	return r;
}
