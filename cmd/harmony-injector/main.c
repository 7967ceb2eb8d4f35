/*
 * harmony-injector: the webhook that adds the sidecar to pods.
 *
 * Boot order: arguments; log; the certificate and the listeners; privileges and system calls are
 * given up; the loop. A review comes in, an answer goes out, and nobody is asked anything. The only
 * state is the certificate:
 *
 *   --tls-cert  from files, read again when they change (a mounted Secret's swap of ..data, seen by
 *               inotify on the directory) and every minute besides; no right in the cluster
 *   --own-ca    made and renewed here, in a Secret that the replicas share: own_ca.c. Reviews are
 *               listened for once there is one
 *
 * One that cannot be used is told, and the one in use goes on.
 *
 * SIGTERM: not ready any more, and every answer ends its connection, so that callers go elsewhere;
 * the end comes after --drain seconds. The API server waits at most for a request's own time, so
 * that nothing is lost.
 */
#include "own_ca.h"

#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/source_file.h"
#include "base/limit.h"
#include "base/str.h"
#include "http/tls.h"
#include "log/log.h"
#include "pki/pki.h"
#include "sandbox/sandbox.h"

#define LISTEN_DEFAULT "*:8443"
#define HEALTH_DEFAULT "*:8080"
#define RELOAD_SECS    60
#define TLS_NAMES_MAX  16
#define SECS_PER_DAY   86400

static const char help[] =
	"usage: harmony-injector --tls-cert FILE --tls-key FILE --image IMAGE [OPTION…]\n"
	"       harmony-injector --own-ca SECRET --webhook NAME --tls-name NAME --image IMAGE "
	"[OPTION…]\n"
	"\n"
	"Adds the harmony-agent sidecar to pods, as a mutating admission webhook (POST /mutate).\n"
	"\n"
	"how it is reached:\n"
	"      --listen ADDRESS:PORT  TLS; '*:PORT' is every address (default " LISTEN_DEFAULT ")\n"
	"      --tls-cert FILE        PEM, read again when it changes\n"
	"      --tls-key FILE\n"
	"      --own-ca NS/NAME       a CA and certificates of its own, made and renewed in this\n"
	"                             Secret, which the replicas share\n"
	"      --webhook NAME         MutatingWebhookConfiguration that is to trust the own CA\n"
	"      --tls-name NAME        DNS name or IP address of the own certificate; repeatable\n"
	"      --lease NAME           by which replicas agree (default: named as the Secret)\n"
	"      --ca-lifetime DURATION, --cert-lifetime DURATION   such as 365d, 24h, 30m, 60s\n"
	"                             (default 365d and 30d)\n"
	"      --kubeconfig FILE      how to reach the API server (default: in-cluster)\n"
	"      --health ADDRESS:PORT  /livez /readyz /metrics in plain HTTP; 'off' for none\n"
	"                             (default " HEALTH_DEFAULT ")\n"
	"      --agent-namespace NS   never injected into, beside kube-system\n"
	"      --drain SECONDS        from SIGTERM to the end (default 5)\n"
	"what is injected (a pod's annotations harmony-agent/… come before the options of the "
	"same\n"
	"name):\n"
	"      --image IMAGE          of the agent\n"
	"      --pull-policy POLICY   Always, IfNotPresent, Never (default: the cluster's)\n"
	"      --mode sidecar|container   native sidecar (Kubernetes 1.29), or an ordinary "
	"container\n"
	"                             (default sidecar)\n"
	"      --config NAME          ConfigMap for pods that name none (default: they are "
	"refused)\n"
	"      --secret NAME          Secret for pods that name none\n"
	"      --readiness WHEN       tunnel: the application waits for the tunnel, the pod is "
	"Ready\n"
	"                             while it is up; start: it waits; off: neither (default "
	"tunnel)\n"
	"      --port PORT            of the sidecar's probes (default " INJECT_PORT_DEFAULT ")\n"
	"      --tun true|false       mount /dev/net/tun, for nodes without kernel WireGuard\n"
	"                             (default true)\n"
	"      --guard true|false     what a pod's tunnel leads to is reached by it or not at all\n"
	"                             (default false)\n"
	"      --cpu-request, --cpu-limit, --memory-request, --memory-limit QUANTITY\n"
	"      --ipc-lock             CAP_IPC_LOCK beside CAP_NET_ADMIN\n"
	"      --sidecar-log-level LEVEL  (default info)\n"
	"what it tells:\n"
	"      --log-format text|json (default: text on a terminal, else json)\n"
	"      --log-level LEVEL      debug, info, warn, error (default info)\n"
	"\n"
	"Exit status: 0 ended as told; 2 wrong command line; 3 something that it needs is "
	"missing.\n";

enum {
	OPT_LISTEN = 256,
	OPT_TLS_CERT,
	OPT_TLS_KEY,
	OPT_OWN_CA,
	OPT_WEBHOOK,
	OPT_TLS_NAME,
	OPT_LEASE,
	OPT_CA_LIFETIME,
	OPT_CERT_LIFETIME,
	OPT_KUBECONFIG,
	OPT_HEALTH,
	OPT_AGENT_NAMESPACE,
	OPT_DRAIN,
	OPT_PULL_POLICY,
	OPT_MODE,
	OPT_IPC_LOCK,
	OPT_LOG_FORMAT,
	OPT_LOG_LEVEL,
	OPT_CHOICE, /* and following: a member of struct inject_choice */
};

/* Options that are checked as the annotations of the same name are. */
static const struct {
	const char *name;
	size_t offset;
} choices[] = {
	{"image", offsetof(struct inject_choice, image)},
	{"config", offsetof(struct inject_choice, config)},
	{"secret", offsetof(struct inject_choice, secret)},
	{"readiness", offsetof(struct inject_choice, readiness)},
	{"port", offsetof(struct inject_choice, port)},
	{"tun", offsetof(struct inject_choice, tun)},
	{"guard", offsetof(struct inject_choice, guard)},
	{"sidecar-log-level", offsetof(struct inject_choice, log_level)},
	{"cpu-request", offsetof(struct inject_choice, cpu_request)},
	{"cpu-limit", offsetof(struct inject_choice, cpu_limit)},
	{"memory-request", offsetof(struct inject_choice, memory_request)},
	{"memory-limit", offsetof(struct inject_choice, memory_limit)},
};

static const struct option fixed_options[] = {
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"tls-cert", required_argument, NULL, OPT_TLS_CERT},
	{"tls-key", required_argument, NULL, OPT_TLS_KEY},
	{"own-ca", required_argument, NULL, OPT_OWN_CA},
	{"webhook", required_argument, NULL, OPT_WEBHOOK},
	{"tls-name", required_argument, NULL, OPT_TLS_NAME},
	{"lease", required_argument, NULL, OPT_LEASE},
	{"ca-lifetime", required_argument, NULL, OPT_CA_LIFETIME},
	{"cert-lifetime", required_argument, NULL, OPT_CERT_LIFETIME},
	{"kubeconfig", required_argument, NULL, OPT_KUBECONFIG},
	{"health", required_argument, NULL, OPT_HEALTH},
	{"agent-namespace", required_argument, NULL, OPT_AGENT_NAMESPACE},
	{"drain", required_argument, NULL, OPT_DRAIN},
	{"pull-policy", required_argument, NULL, OPT_PULL_POLICY},
	{"mode", required_argument, NULL, OPT_MODE},
	{"ipc-lock", no_argument, NULL, OPT_IPC_LOCK},
	{"log-format", required_argument, NULL, OPT_LOG_FORMAT},
	{"log-level", required_argument, NULL, OPT_LOG_LEVEL},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
};

struct options {
	struct injector_options injector;
	const char *cert, *key;
	struct own_ca_options own; /* own.secret NULL: from files */
	const char *names[TLS_NAMES_MAX];
	unsigned drain_secs;
	enum log_format log_format;
	enum log_level log_level;
	bool help, version;
};

struct program {
	struct event_base *base;
	struct injector *injector;
	const struct options *opts;
	struct agent_source_file *files;
	struct own_ca *own;
	bool listening;
	struct event *reload, *end;
	int status; /* of the end that was not told */
};

__attribute__((format(printf, 2, 3))) static int fail(int status, const char *fmt, ...)
{
	va_list ap;

	fputs("harmony-injector: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

static int bad_value(const char *option, const char *found, const char *accepted)
{
	return fail(EXIT_USAGE, "--%s: found '%s', accepted: %s", option, found, accepted);
}

static int take_mode(struct inject_settings *s)
{
	if (!str_eq(optarg, "sidecar") && !str_eq(optarg, "container"))
		return bad_value("mode", optarg, "sidecar, container");
	s->mode = str_eq(optarg, "sidecar") ? INJECT_MODE_SIDECAR : INJECT_MODE_CONTAINER;
	return 0;
}

static int take_pull_policy(struct inject_settings *s)
{
	if (!str_eq(optarg, "Always") && !str_eq(optarg, "IfNotPresent") &&
	    !str_eq(optarg, "Never"))
		return bad_value("pull-policy", optarg, "Always, IfNotPresent, Never");
	s->pull_policy = optarg;
	return 0;
}

static int take_drain(struct options *o)
{
	uint64_t n;

	if (str_to_u64(optarg, strlen(optarg), 0, 300, &n) < 0)
		return bad_value("drain", optarg, "0 to 300 seconds");
	o->drain_secs = (unsigned)n;
	return 0;
}

/* Seconds: "90d", "24h", "30m", "60s". */
static int take_duration(const char *option, int64_t *ret)
{
	static const struct {
		char suffix;
		int64_t secs;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', SECS_PER_DAY}};
	size_t n = strlen(optarg);
	uint64_t v;

	for (size_t i = 0; n && i < ARRAY_LEN(units); i++)
		if (optarg[n - 1] == units[i].suffix &&
		    str_to_u64(optarg, n - 1, 1, 1000000, &v) == 0 &&
		    (int64_t)v * units[i].secs <= 3650 * SECS_PER_DAY) {
			*ret = (int64_t)v * units[i].secs;
			return 0;
		}
	return bad_value(option, optarg, "up to 3650d, such as 365d, 24h, 30m, 60s");
}

static int take_tls_name(struct options *o)
{
	if (!pki_is_name(optarg))
		return bad_value("tls-name", optarg, "a DNS name in small letters, an IP address");
	if (o->own.n_names == TLS_NAMES_MAX)
		return fail(EXIT_USAGE, "--tls-name: accepted are %d", TLS_NAMES_MAX);
	o->names[o->own.n_names++] = optarg;
	o->own.names = o->names;
	return 0;
}

static int take_option(struct options *o, int c)
{
	struct inject_settings *s = &o->injector.settings;

	if (c >= OPT_CHOICE) {
		size_t offset = choices[c - OPT_CHOICE].offset;

		/* Empty is as good as not given: a chart passes values on as they are. */
		*(const char **)((char *)&s->defaults + offset) = *optarg ? optarg : NULL;
		return 0;
	}
	switch (c) {
	case 'h': o->help = true; return 0;
	case 'V': o->version = true; return 0;
	case OPT_LISTEN: o->injector.listen = optarg; return 0;
	case OPT_TLS_CERT: o->cert = optarg; return 0;
	case OPT_TLS_KEY: o->key = optarg; return 0;
	case OPT_OWN_CA: o->own.secret = optarg; return 0;
	case OPT_WEBHOOK: o->own.webhook = optarg; return 0;
	case OPT_TLS_NAME: return take_tls_name(o);
	case OPT_LEASE: o->own.lease = optarg; return 0;
	case OPT_CA_LIFETIME: return take_duration("ca-lifetime", &o->own.ca_secs);
	case OPT_CERT_LIFETIME: return take_duration("cert-lifetime", &o->own.cert_secs);
	case OPT_KUBECONFIG: o->own.kubeconfig = optarg; return 0;
	case OPT_HEALTH: o->injector.health = str_eq(optarg, "off") ? NULL : optarg; return 0;
	case OPT_AGENT_NAMESPACE: s->own_namespace = optarg; return 0;
	case OPT_DRAIN: return take_drain(o);
	case OPT_PULL_POLICY: return take_pull_policy(s);
	case OPT_MODE: return take_mode(s);
	case OPT_IPC_LOCK: s->ipc_lock = true; return 0;
	case OPT_LOG_FORMAT:
		return log_format_parse(optarg, &o->log_format) < 0
			       ? bad_value("log-format", optarg, "text, json")
			       : 0;
	case OPT_LOG_LEVEL:
		return log_level_parse(optarg, &o->log_level) < 0
			       ? bad_value("log-level", optarg, "debug, info, warn, error")
			       : 0;
	default: return fail(EXIT_USAGE, "'harmony-injector --help' lists the options");
	}
}

static int check_certificate(const struct options *o)
{
	if (!o->own.secret)
		return o->cert && o->key ? 0
					 : fail(EXIT_USAGE, "--tls-cert and --tls-key are needed, "
							    "or --own-ca");
	if (o->cert || o->key)
		return fail(EXIT_USAGE, "found --own-ca beside --tls-cert or --tls-key, accepted: "
					"one of them");
	if (!o->own.webhook || !o->own.n_names)
		return fail(EXIT_USAGE, "--own-ca needs --webhook and --tls-name");
	if (o->own.ca_secs < 2 * o->own.cert_secs)
		return fail(EXIT_USAGE,
			    "--ca-lifetime: accepted is at least twice the --cert-lifetime");
	return 0;
}

/* What every pod needs has to be there, whatever it asks for. */
static int check_options(struct options *o)
{
	struct inject_choice *c = &o->injector.settings.defaults;
	struct err e;
	int r = check_certificate(o);

	if (r)
		return r;
	if (!c->image)
		return fail(EXIT_USAGE, "--image is needed");
	if (!c->readiness)
		c->readiness = "tunnel";
	if (!c->port)
		c->port = INJECT_PORT_DEFAULT;
	if (!c->tun)
		c->tun = "true";
	if (!c->log_level)
		c->log_level = "info";
	if (inject_check_defaults(c, &e) < 0)
		return fail(EXIT_USAGE, "%s", e.msg);
	return 0;
}

static int parse(int argc, char **argv, struct options *o)
{
	struct option all[ARRAY_LEN(fixed_options) + ARRAY_LEN(choices) + 1] = {0};
	int c, r;

	memcpy(all, fixed_options, sizeof(fixed_options));
	for (size_t i = 0; i < ARRAY_LEN(choices); i++)
		all[ARRAY_LEN(fixed_options) + i] = (struct option){
			choices[i].name, required_argument, NULL, OPT_CHOICE + (int)i};
	while ((c = getopt_long(argc, argv, "h", all, NULL)) != -1)
		if ((r = take_option(o, c)) != 0)
			return r;
	if (o->help || o->version)
		return 0;
	if (optind < argc)
		return fail(EXIT_USAGE, "found '%s', accepted are only options", argv[optind]);
	return check_options(o);
}

/* --- the certificate --- */

static int load_certificate(struct program *p, struct err *e)
{
	_cleanup_(http_tls_free_p) SSL_CTX *ctx = NULL;
	int r = http_tls_load(p->opts->cert, p->opts->key, &ctx, e);

	if (r == 0)
		injector_use_certificate(p->injector, ctx);
	return r;
}

static void reload(struct program *p)
{
	struct err e;

	if (load_certificate(p, &e) < 0)
		log_error(injector_certificate_ended(p->injector)
				  ? "certificate not usable, and the old one, which stays, has "
				    "expired"
				  : "certificate not usable, the old one stays",
			  LOG_STR("error", e.msg));
}

static void on_files(void *arg)
{
	struct program *p = arg;

	log_info("certificate files changed", LOG_STR("file", p->opts->cert));
	reload(p);
}

static void on_reload(evutil_socket_t fd, short what, void *arg)
{
	reload(arg);
}

static int watch_certificate(struct program *p, struct err *e)
{
	const char *const paths[] = {p->opts->cert, p->opts->key};
	int r = load_certificate(p, e);

	if (r < 0)
		return r;
	r = agent_source_file_new(p->base, paths, ARRAY_LEN(paths), on_files, p, &p->files, e);
	if (r < 0)
		return r;
	p->reload = event_new(p->base, -1, EV_PERSIST, on_reload, p);
	if (!p->reload || event_add(p->reload, &(struct timeval){RELOAD_SECS, 0}) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	injector_ready(p->injector);
	return injector_listen(p->injector, e);
}

static void on_own_certificate(void *arg, SSL_CTX *ctx)
{
	struct program *p = arg;
	struct err e;

	injector_use_certificate(p->injector, ctx);
	if (p->listening)
		return;
	if (injector_listen(p->injector, &e) < 0) {
		log_error("cannot listen", LOG_STR("error", e.msg));
		p->status = EXIT_SYSTEM;
		event_base_loopbreak(p->base);
	}
	p->listening = true;
}

static void on_own_trusted(void *arg)
{
	struct program *p = arg;

	injector_ready(p->injector);
}

static void on_own_why(void *arg, const char *lines)
{
	struct program *p = arg;

	injector_explain(p->injector, lines);
}

static int own_certificate(struct program *p, struct err *e)
{
	static const struct own_ca_ops ops = {
		.cert = on_own_certificate, .trusted = on_own_trusted, .why = on_own_why};

	return own_ca_new(p->base, &p->opts->own, &ops, p, injector_metrics(p->injector), &p->own,
			  e);
}

/* --- the end --- */

static void on_end(evutil_socket_t fd, short what, void *arg)
{
	struct program *p = arg;

	event_base_loopbreak(p->base);
}

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	struct program *p = arg;

	log_info("ending", LOG_STR("signal", strsignal((int)sig)),
		 LOG_INT("drain_secs", p->opts->drain_secs));
	if (evtimer_pending(p->end, NULL)) { /* told twice: at once */
		event_base_loopbreak(p->base);
		return;
	}
	injector_drain(p->injector);
	if (p->own)
		own_ca_release(p->own);
	event_add(p->end, &(struct timeval){(time_t)p->opts->drain_secs, 0});
}

/* Nothing is kept: no capability, no file to write, no program to start. */
static int give_up_privileges(struct err *e)
{
	const char *const *const calls[] = {sandbox_calls_base, sandbox_calls_files, NULL};
	int r;

	if ((r = sandbox_drop_caps(0, 0, e)) < 0 || (r = sandbox_no_new_privs(e)) < 0)
		return r;
	r = sandbox_seccomp(calls, SANDBOX_DENY_ERROR, e);
	if (r == -EOPNOTSUPP) {
		log_warn("system calls are not limited", LOG_STR("reason", e->msg));
		r = 0;
	}
	return r;
}

static int run(struct program *p)
{
	struct event *signals[2] = {evsignal_new(p->base, SIGTERM, on_signal, p),
				    evsignal_new(p->base, SIGINT, on_signal, p)};
	struct err e = {0};
	int r = -ENOMEM;

	p->end = evtimer_new(p->base, on_end, p);
	err_set(&e, -ENOMEM, "out of memory");
	if (p->end && signals[0] && signals[1] && event_add(signals[0], NULL) == 0 &&
	    event_add(signals[1], NULL) == 0)
		r = injector_new(p->base, &p->opts->injector, &p->injector, &e);
	if (r == 0)
		r = injector_listen_health(p->injector, &e);
	if (r == 0)
		r = p->opts->own.secret ? own_certificate(p, &e) : watch_certificate(p, &e);
	if (r == 0)
		r = give_up_privileges(&e);
	if (r < 0)
		log_error("cannot start", LOG_STR("error", e.msg));
	else
		event_base_dispatch(p->base);
	agent_source_file_free(p->files);
	own_ca_free(p->own);
	injector_free(p->injector);
	struct event *events[] = {p->reload, p->end, signals[0], signals[1]};
	for (size_t i = 0; i < ARRAY_LEN(events); i++)
		if (events[i])
			event_free(events[i]);
	return r < 0 ? EXIT_SYSTEM : p->status;
}

int main(int argc, char **argv)
{
	struct options o = {
		.injector = {.listen = LISTEN_DEFAULT, .health = HEALTH_DEFAULT},
		.own = {.ca_secs = 365 * SECS_PER_DAY, .cert_secs = 30 * SECS_PER_DAY},
		.drain_secs = 5,
		.log_format = isatty(STDERR_FILENO) ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON,
		.log_level = LOG_LEVEL_INFO,
	};
	struct program p = {.opts = &o};
	struct err e;
	int status = parse(argc, argv, &o);

	if (status)
		return status;
	if (o.help || o.version) {
		fputs(o.help ? help : "harmony-injector " HARMONY_VERSION "\n", stdout);
		return EXIT_OK;
	}
	log_setup(o.log_format, o.log_level, STDERR_FILENO);
	signal(SIGPIPE, SIG_IGN);
	/* The connections of reviews alone may be the soft limit's usual 1024. */
	if (limit_raise_files(&e) < 0)
		log_warn("fewer connections are possible", LOG_STR("error", e.msg));
	if (sandbox_not_dumpable(&e) < 0) /* the certificate's key */
		return fail(EXIT_SYSTEM, "%s", e.msg);
	p.base = event_base_new();
	if (!p.base)
		return fail(EXIT_SYSTEM, "out of memory");
	status = run(&p);
	event_base_free(p.base);
	return status;
}
