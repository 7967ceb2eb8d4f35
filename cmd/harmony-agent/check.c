/*
 * harmony-agent check and harmony-agent plan: what a configuration says, and what it would change
 * here. Neither changes anything; check does not even look at the machine.
 */
#include "commands.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "agent/backend.h"
#include "agent/desired.h"
#include "agent/plan.h"
#include "agent/source_file.h"
#include "agent/sys.h"
#include "agent/wanted.h"
#include "base/buf.h"
#include "base/str.h"
#include "json/json.h"

static const char check_help[] =
	"usage: harmony-agent check [OPTION…] PATH…\n"
	"\n"
	"Validates configuration files, or directories of such, and touches nothing. All findings\n"
	"are printed, one a line, warnings too. Without --keys the result is the same on every\n"
	"machine.\n"
	"\n"
	"  --node-name NAME  selects [network.X.nodes.\"NAME\"] (default: NODE_NAME, the host "
	"name)\n"
	"  --network NAME    as if up were started with it: this network and no other\n"
	"  --keys            also read the key files that are named, and compare with them\n"
	"  --state-dir DIR   with --keys: where generated keys are (default " STATE_DIR_DEFAULT
	")\n"
	"  --json            {\"ok\", \"keys_read\", \"errors\", \"warnings\", \"networks\"}\n"
	"\n"
	"Exit status: 0 good; 1 errors in the configuration; 2 wrong command line, unreadable "
	"file.\n";

static const char plan_help[] =
	"usage: harmony-agent plan [OPTION…] PATH…\n"
	"\n"
	"Prints what 'up' would change on this machine, and changes nothing.\n"
	"\n"
	"  --node-name NAME  selects [network.X.nodes.\"NAME\"] (default: NODE_NAME, the host "
	"name)\n"
	"  --network NAME    as of up\n"
	"  --state-dir DIR   where generated keys are (default " STATE_DIR_DEFAULT ")\n"
	"  --no-nft          leave nftables out\n"
	"  --guard           as of up\n"
	"  --json            {\"operations\": [{\"op\", \"interface\", \"change\"}]}\n"
	"\n"
	"Exit status: 0 nothing to change; 1 something to change, or errors in the configuration;\n"
	"2 wrong command line, unreadable file; 3 the machine's state could not be read.\n";

enum { OPT_NODE = 256, OPT_NETWORK, OPT_STATE_DIR, OPT_NO_NFT, OPT_GUARD, OPT_JSON, OPT_KEYS };

struct settings {
	const char *node, *network, *state_dir;
	bool json, no_nft, guard, keys, help;
};

static int parse(int argc, char **argv, const struct option *options, struct settings *s)
{
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case OPT_NODE: s->node = optarg; break;
		case OPT_NETWORK: s->network = optarg; break;
		case OPT_STATE_DIR: s->state_dir = optarg; break;
		case OPT_NO_NFT: s->no_nft = true; break;
		case OPT_GUARD: s->guard = true; break;
		case OPT_JSON: s->json = true; break;
		case OPT_KEYS: s->keys = true; break;
		case 'h': s->help = true; return EXIT_OK;
		default:
			return cmd_fail(argv[0], EXIT_USAGE,
					"'harmony-agent %s --help' lists the options", argv[0]);
		}
	}
	if (optind == argc)
		return cmd_fail(argv[0], EXIT_USAGE, "found no path, accepted: one or more");
	s->node = node_name(s->node);
	return EXIT_OK;
}

/* The arguments, and the documents that they name: -1 to go on, else the status to end with. */
static int begin(int argc, char **argv, const struct option *options, const char *help,
		 struct settings *s, struct agent_docs *docs)
{
	struct err e = {0};
	int r = parse(argc, argv, options, s);

	if (r != EXIT_OK)
		return r;
	if (s->help) {
		fputs(help, stdout);
		return EXIT_OK;
	}
	if (agent_files_read((const char *const *)argv + optind, (size_t)(argc - optind), docs,
			     &e) < 0)
		return cmd_fail(argv[0], EXIT_USAGE, "%s", e.msg);
	return -1;
}

static void write_texts(struct buf *b, const char *name, const struct config_diags *d, bool warning)
{
	const char *sep = "";

	buf_addf(b, "\"%s\":[", name);
	for (size_t i = 0; i < d->n; i++) {
		if (d->items[i].warning != warning)
			continue;
		buf_adds(b, sep);
		json_quote(b, d->items[i].text);
		sep = ",";
	}
	buf_addc(b, ']');
}

/* Key files and variables that are named, and have to be there where the agent runs. */
static size_t count_keys(const struct config *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_networks; i++) {
		const struct config_network *w = &c->networks[i];

		if (!w->enabled)
			continue;
		n += w->private_key.path || w->private_key.env;
		for (size_t j = 0; j < w->n_peers; j++)
			n += w->peers[j].preshared.path || w->peers[j].preshared.env;
	}
	return n;
}

static void print_text(const struct settings *s, const struct config_diags *diags,
		       const struct config *c)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	size_t peers = 0, keys = s->keys ? 0 : count_keys(c);

	config_diags_write(diags, &b);
	fputs(buf_str(&b), stderr);
	for (size_t i = 0; i < c->n_networks; i++)
		peers += c->networks[i].n_peers;
	if (!diags->n_errors)
		printf("ok: %zu network%s, %zu peer%s\n", c->n_networks,
		       c->n_networks == 1 ? "" : "s", peers, peers == 1 ? "" : "s");
	if (keys)
		fprintf(stderr,
			"note: %zu key%s named by file or variable %s not looked at "
			"(--keys)\n",
			keys, keys == 1 ? "" : "s", keys == 1 ? "was" : "were");
}

static int print_check(const struct settings *s, const struct config_diags *diags,
		       const struct config *c)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	if (s->json) {
		buf_addf(&b, "{\"ok\":%s,\"keys_read\":%s,", diags->n_errors ? "false" : "true",
			 s->keys ? "true" : "false");
		write_texts(&b, "errors", diags, false);
		buf_addc(&b, ',');
		write_texts(&b, "warnings", diags, true);
		buf_adds(&b, ",\"networks\":[");
		for (size_t i = 0; i < c->n_networks && !diags->n_errors; i++) {
			buf_adds(&b, i ? ",{\"name\":" : "{\"name\":");
			json_quote(&b, c->networks[i].name);
			buf_addf(&b, ",\"peers\":%zu}", c->networks[i].n_peers);
		}
		buf_adds(&b, "]}\n");
		fputs(buf_str(&b), stdout);
	} else {
		print_text(s, diags, c);
	}
	return diags->n_errors ? EXIT_FAILED : EXIT_OK;
}

int cmd_check(int argc, char **argv)
{
	static const struct option options[] = {
		{"node-name", required_argument, NULL, OPT_NODE},
		{"network", required_argument, NULL, OPT_NETWORK},
		{"json", no_argument, NULL, OPT_JSON},
		{"keys", no_argument, NULL, OPT_KEYS},
		{"state-dir", required_argument, NULL, OPT_STATE_DIR},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct settings s = {.state_dir = STATE_DIR_DEFAULT};
	_cleanup_agent_docs_ struct agent_docs docs = {0};
	_cleanup_config_diags_ struct config_diags diags = {0};
	_cleanup_agent_wanted_ struct agent_wanted *w = NULL;
	_cleanup_config_ struct config *alone = NULL;
	int r = begin(argc, argv, options, check_help, &s, &docs);

	if (r >= 0)
		return r;
	struct agent_wanted_env env = {.node = s.node, .only = s.network, .state_dir = s.state_dir};
	if (s.keys)
		r = agent_wanted_read(docs.items, docs.n, &env, true, &w, &diags);
	else
		r = config_read_anyway(docs.items, docs.n, s.node, s.network, &alone, &diags);
	if (alone && s.network && r != -ENOMEM)
		r = agent_wanted_check_only(alone, s.network, &diags);
	const struct config *c = w ? w->config : alone;
	if (c && r != -ENOMEM)
		r = agent_desired_check(c, &(struct agent_desired_env){.nft = true}, &diags);
	if (!c || r == -ENOMEM)
		return cmd_fail("check", EXIT_SYSTEM, "out of memory");
	return print_check(&s, &diags, c);
}

/* --- plan --- */

/* Names are not looked up here: a peer whose endpoint is a name is planned as it stands. */
static bool literal_endpoint(void *arg, const struct config_network *n, const struct config_peer *p,
			     struct ip_endpoint *ret, bool *ret_assert)
{
	if (p->endpoint.host)
		return false;
	*ret = p->endpoint.addr;
	*ret_assert = false;
	return true;
}

static uint32_t path_mtu(void *arg, const struct wgdev *dev)
{
	return agent_sys_path_mtu(arg, dev);
}

static void print_plan(const struct settings *s, const struct agent_plan *p)
{
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	if (s->json)
		buf_adds(&b, "{\"operations\":[");
	for (size_t i = 0; i < p->n; i++) {
		_cleanup_buf_ struct buf text = BUF_INIT(0);
		const char *ifname = agent_op_ifname(&p->ops[i]);

		agent_op_text(&p->ops[i], &text);
		if (!s->json) {
			buf_addf(&b, "%s\n", buf_str(&text));
			continue;
		}
		buf_addf(&b, "%s{\"op\":\"%s\",\"interface\":", i ? "," : "",
			 agent_op_name(p->ops[i].kind));
		if (ifname)
			json_quote(&b, ifname);
		else
			buf_adds(&b, "null");
		buf_adds(&b, ",\"change\":");
		json_quote(&b, buf_str(&text));
		buf_addc(&b, '}');
	}
	if (s->json)
		buf_adds(&b, "]}\n");
	else
		buf_addf(&b, p->n ? "%zu to change\n" : "nothing to change\n", p->n);
	fputs(buf_str(&b), stdout);
}

static int plan_here(const struct settings *s, const struct agent_wanted *w)
{
	_cleanup_agent_sys_ struct agent_sys *sys = NULL;
	_cleanup_agent_state_ struct agent_state desired, observed;
	_cleanup_agent_plan_ struct agent_plan plan = {0};
	struct device_probe probe;
	struct err e = {0};

	agent_state_init(&desired);
	agent_state_init(&observed);
	int r = agent_sys_open(s->no_nft, &sys, &e);
	struct agent_desired_env env = {.endpoint = literal_endpoint,
					.path_mtu = path_mtu,
					.arg = sys,
					.nft = !s->no_nft,
					.guard = s->guard};
	if (r == 0)
		r = agent_desired(w, &env, &desired, &e);
	if (r == 0)
		r = agent_observe(sys, &desired, &observed, &e);
	if (r == 0)
		r = device_probe(NULL, &probe, &e);
	if (r == 0) {
		agent_backend_settle(&desired, &observed, &probe);
		r = agent_plan(&desired, &observed, &plan);
	}
	if (r < 0)
		return cmd_fail("plan", EXIT_SYSTEM, "%s", e.msg[0] ? e.msg : "out of memory");
	for (size_t i = 0; i < observed.n_tunnels; i++)
		if (observed.tunnels[i].unknown)
			return cmd_fail("plan", EXIT_SYSTEM, "%s: %s", observed.tunnels[i].ifname,
					observed.tunnels[i].problem);
	print_plan(s, &plan);
	return plan.n ? EXIT_FAILED : EXIT_OK;
}

int cmd_plan(int argc, char **argv)
{
	static const struct option options[] = {
		{"node-name", required_argument, NULL, OPT_NODE},
		{"network", required_argument, NULL, OPT_NETWORK},
		{"state-dir", required_argument, NULL, OPT_STATE_DIR},
		{"no-nft", no_argument, NULL, OPT_NO_NFT},
		{"guard", no_argument, NULL, OPT_GUARD},
		{"json", no_argument, NULL, OPT_JSON},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct settings s = {.state_dir = STATE_DIR_DEFAULT};
	_cleanup_agent_docs_ struct agent_docs docs = {0};
	_cleanup_config_diags_ struct config_diags diags = {0};
	_cleanup_agent_wanted_ struct agent_wanted *w = NULL;
	int r = begin(argc, argv, options, plan_help, &s, &docs);

	if (r >= 0)
		return r;
	struct agent_wanted_env env = {.node = s.node, .only = s.network, .state_dir = s.state_dir};
	r = agent_wanted_read(docs.items, docs.n, &env, true, &w, &diags);
	if (r == 0) {
		struct agent_desired_env machine = {.nft = !s.no_nft, .guard = s.guard};

		r = agent_desired_check(w->config, &machine, &diags);
		r = r == 0 && diags.n_errors ? -EINVAL : r;
	}
	if (r < 0) {
		_cleanup_buf_ struct buf b = BUF_INIT(0);

		config_diags_write(&diags, &b);
		fputs(buf_str(&b), stderr);
		return r == -EINVAL ? EXIT_FAILED : EXIT_SYSTEM;
	}
	return plan_here(&s, w);
}
