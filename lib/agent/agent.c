/*
 * Theory of operation. This file is the agent's life: what it opens, in which order, and how a
 * configuration comes in. What happens to the machine is reconcile.c.
 *
 *     sources (files, Kubernetes) ── changed ──> agent_load ── good ──> wanted, generation + 1
 *                                                    │                  endpoints, health
 *                                                    └─ wrong ──> config_error, an Event;
 *                                                                 the last good one stays
 *
 * A notice only says that something may have changed, so what is read is compared with what is in
 * force: the documents and the keys, which may change without them (a mounted Secret whose
 * private.key alone is new). A directory whose other file was touched leads to nothing, and a
 * configuration that goes bad and comes back as it was ends the error and is no new generation.
 * Where a few peers are all that is new, no more than that is read: amend.c.
 */
#include "agent/agent_priv.h"
#include "base/str.h"
#include "log/log.h"
#include "netlink/netlink.h"
#include "sandbox/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct agent_net *agent_net_by_ifname(struct agent *a, const char *ifname)
{
	for (size_t i = 0; i < a->n_nets; i++)
		if (str_eq(a->nets[i].ifname, ifname))
			return &a->nets[i];
	return NULL;
}

struct agent_net *agent_net_by_name(struct agent *a, const char *name)
{
	for (size_t i = 0; i < a->n_nets; i++)
		if (str_eq(a->nets[i].name, name))
			return &a->nets[i];
	return NULL;
}

static void nets_free(struct agent_net *nets, size_t n)
{
	for (size_t i = 0; nets && i < n; i++) {
		free(nets[i].name);
		health_free(nets[i].health);
	}
	free(nets);
}

struct health_policy agent_health_policy(const struct config_network *n,
					 const struct config_peer *p)
{
	return (struct health_policy){
		.public_key = p->public_key,
		.name = p->name,
		.required = config_peer_required(p),
		.stale_after_secs = p->stale_after_secs ? p->stale_after_secs : n->stale_after_secs,
		.keepalive = p->keepalive,
		.probe = p->probe,
		.probe_secs = p->probe_secs ? p->probe_secs : n->probe_secs,
	};
}

static int set_peers(struct health *h, const struct config_network *c)
{
	_cleanup_free_ struct health_policy *policies =
		calloc(c->n_peers ? c->n_peers : 1, sizeof(*policies));

	if (!policies)
		return -ENOMEM;
	for (size_t i = 0; i < c->n_peers; i++)
		policies[i] = agent_health_policy(c, &c->peers[i]);
	return health_set_peers(h, policies, c->n_peers,
				(struct health_now){mono_now(), wall_now()}, NULL);
}

/* Puts a network's health back where it was taken from. */
static void give_back(struct agent *a, struct agent_net *nets, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct agent_net *old = nets[i].name ? agent_net_by_name(a, nets[i].name) : NULL;

		if (old && !old->health)
			old->health = mem_steal(&nets[i].health);
	}
	nets_free(nets, n);
}

/* The networks of a new configuration; one that was there keeps its health. */
static int nets_update(struct agent *a, const struct agent_wanted *w)
{
	struct agent_net *nets = calloc(w->config->n_networks + 1, sizeof(*nets));
	size_t n = 0;

	if (!nets)
		return -ENOMEM;
	a->peers_version++;
	for (size_t i = 0; i < w->config->n_networks; i++) {
		const struct config_network *c = &w->config->networks[i];
		struct agent_net *net = &nets[n], *old;

		if (!c->enabled)
			continue;
		n++;
		net->name = strdup(c->name);
		if (!net->name)
			goto nomem;
		memcpy(net->ifname, c->interface, sizeof(net->ifname));
		old = agent_net_by_name(a, c->name);
		net->wish = c->backend;
		/* Why it was chosen is told of the device that was, as long as it is meant. */
		if (old && str_eq(old->ifname, net->ifname) && old->wish == net->wish)
			memcpy(net->backend_why, old->backend_why, sizeof(net->backend_why));
		net->health = old ? mem_steal(&old->health) : health_new();
		if (!net->health || set_peers(net->health, c) < 0)
			goto nomem;
	}
	nets_free(a->nets, a->n_nets);
	a->nets = nets;
	a->n_nets = n;
	return 0;
nomem:
	give_back(a, nets, n);
	return -ENOMEM;
}

/* --- configuration --- */

static int gather(struct agent *a, struct agent_docs *docs, struct err *e)
{
	int r = 0;

	if (a->opts->n_configs)
		r = agent_files_read(a->opts->configs, a->opts->n_configs, docs, e);
	if (r == 0 && a->kube)
		r = agent_source_kube_docs(a->kube, docs, e);
	/* The objects may be there for the keys alone. */
	if ((r == -EAGAIN || r == -ENODATA) && docs->n)
		r = 0;
	return r;
}

#define PUBLISHED 32 /* networks */
#define HOST_PORT 264

/* "HOST:PORT" as it was configured; NULL: it was not. */
static const char *endpoint_text(const struct config_endpoint *e, char out[static HOST_PORT])
{
	char addr[IP_ENDPOINT_LEN];

	if (!e->set)
		return NULL;
	if (e->host)
		snprintf(out, HOST_PORT, "%s:%u", e->host, e->port);
	else
		snprintf(out, HOST_PORT, "%s", ip_endpoint_str(&e->addr, addr));
	return out;
}

void agent_publish(struct agent *a)
{
	struct kube_node_key keys[PUBLISHED];
	char text[PUBLISHED][KEY_BASE64], endpoints[PUBLISHED][HOST_PORT], generation[24];
	struct kube_node_state state = {.keys = keys, .generation = generation};

	if (!a->kube)
		return;
	for (size_t i = 0; a->wanted && i < a->wanted->config->n_networks; i++) {
		const struct agent_wanted_network *w = &a->wanted->networks[i];

		if (!w->conf->enabled || state.n_keys == ARRAY_LEN(keys))
			continue;
		keys[state.n_keys] = (struct kube_node_key){
			.network = w->conf->name,
			.public_key = key_to_base64(&w->public_key, text[state.n_keys]),
			.endpoint = endpoint_text(&w->conf->endpoint, endpoints[state.n_keys])};
		state.n_keys++;
	}
	snprintf(generation, sizeof(generation), "%llu", (unsigned long long)a->applied_generation);
	state.error = a->config_error ? a->config_error : a->error;
	agent_source_kube_publish(a->kube, &state);
}

static void rejected(struct agent *a, const char *why, bool force)
{
	if (!force && a->config_error && str_eq(a->config_error, why))
		return; /* told already */
	a->counts.config_rejected++;
	free(a->config_error);
	a->config_error = strdup(why);
	log_error(a->wanted ? "configuration rejected, the last good one stays"
			    : "configuration rejected, there is none in force",
		  LOG_STR("error", why));
	if (a->kube)
		agent_source_kube_event(a->kube, true, "ConfigRejected", why);
	agent_publish(a);
}

static void log_warnings(const struct config_diags *diags)
{
	for (size_t i = 0; i < diags->n; i++)
		if (diags->items[i].warning)
			log_warn("configuration", LOG_STR("warning", diags->items[i].text));
}

void agent_in_force(struct agent *a, struct agent_docs *docs)
{
	agent_docs_clear(&a->docs);
	a->docs = *docs;
	*docs = (struct agent_docs){0};
	a->generation++;
	a->in_force_at = mono_now();
	a->loaded_at = wall_now();
	a->dirty = true;
	a->failures = 0; /* what was wrong may be mended: try at once */
	free(mem_steal(&a->config_error));
	a->counts.config_accepted++;
	log_info("configuration accepted", LOG_INT("generation", (int64_t)a->generation),
		 LOG_INT("networks", (int64_t)a->n_nets));
	if (a->kube)
		agent_source_kube_accepted(a->kube);
}

/* Takes both over. Endpoints first: those of a configuration that is not in force do no harm. */
static void accepted(struct agent *a, struct agent_wanted *w, struct agent_docs *docs)
{
	if (agent_endpoints_update(a->endpoints, w->config, mono_now()) < 0 ||
	    nets_update(a, w) < 0) {
		agent_wanted_free(w);
		rejected(a, "out of memory", true);
		return;
	}
	agent_forget_desired(a);
	agent_wanted_free(a->wanted);
	a->wanted = w;
	agent_in_force(a, docs);
	for (size_t i = 0; i < w->config->n_networks; i++) {
		char k[KEY_BASE64];

		if (w->networks[i].generated)
			log_info("public key", LOG_STR("network", w->config->networks[i].name),
				 LOG_STR("public_key",
					 key_to_base64(&w->networks[i].public_key, k)));
	}
	agent_publish(a);
	agent_wake(a);
}

void agent_stands_again(struct agent *a)
{
	if (!a->config_error)
		return;
	free(mem_steal(&a->config_error));
	log_info("the configuration in force stands in the sources again");
	agent_publish(a);
}

static struct agent_wanted_env wanted_env(const struct agent *a)
{
	struct agent_wanted_env env = {
		.node = a->opts->node, .only = a->opts->network, .state_dir = a->opts->state_dir};

	if (a->kube)
		env.secrets = agent_source_kube_secrets(a->kube);
	return env;
}

/* What gathered documents say, as a whole; or an error, with all that is wrong in *why. */
static int read_whole(struct agent *a, const struct agent_docs *docs, struct agent_wanted **ret,
		      struct config_diags *diags, struct buf *why)
{
	struct agent_wanted_env env = wanted_env(a);
	_cleanup_agent_wanted_ struct agent_wanted *w = NULL;
	struct agent_desired_env machine = agent_desired_env_of(a);
	int r = agent_wanted_read(docs->items, docs->n, &env, false, &w, diags);

	if (r == 0)
		r = agent_desired_check(w->config, &machine, diags);
	if (r == 0 && diags->n_errors)
		r = -EINVAL;
	if (r < 0)
		config_diags_write(diags, why);
	else
		*ret = mem_steal(&w);
	return r;
}

/* Nothing is in force, and what the API server has is no configuration: so the node that was
 * restarted meanwhile comes up with its last good one all the same, from disk. */
static void fall_back(struct agent *a)
{
	_cleanup_agent_docs_ struct agent_docs docs = {0};
	_cleanup_agent_wanted_ struct agent_wanted *w = NULL;
	_cleanup_config_diags_ struct config_diags diags = {0};
	_cleanup_buf_ struct buf why = BUF_INIT(16384);
	struct err e = {0};

	if (a->wanted || !a->kube || !agent_source_kube_use_kept(a->kube, true))
		return;
	if (gather(a, &docs, &e) == 0 && read_whole(a, &docs, &w, &diags, &why) == 0) {
		char *error = mem_steal(&a->config_error);

		log_warn("the last good configuration is taken from disk");
		accepted(a, mem_steal(&w), &docs);
		free(a->config_error);
		a->config_error = error;
		agent_publish(a);
	}
	agent_source_kube_use_kept(a->kube, false);
}

void agent_load(struct agent *a, bool force)
{
	_cleanup_agent_docs_ struct agent_docs docs = {0};
	_cleanup_agent_wanted_ struct agent_wanted *w = NULL;
	_cleanup_config_diags_ struct config_diags diags = {0};
	_cleanup_buf_ struct buf why = BUF_INIT(16384);

	struct agent_wanted_env env = wanted_env(a);
	struct err e = {0};

	a->last_read = mono_now();
	if (a->wanted && agent_wanted_restore_keys(a->wanted, &env))
		log_warn("a generated key's file was gone, and is written again; to change a key, "
			 "remove its file while no agent runs");
	if (a->files)
		agent_source_file_rewatch(a->files);
	if (a->kube && !agent_source_kube_synced(a->kube))
		return; /* part of the truth is not at hand yet */
	int r = gather(a, &docs, &e);
	if (r == -EAGAIN)
		return; /* objects that are not there yet, or no more */
	if (r < 0)
		buf_adds(&why, e.msg);
	else if (!force && agent_amend(a, &env, &docs))
		return;
	else
		r = read_whole(a, &docs, &w, &diags, &why);
	if (r < 0) {
		rejected(a, why.len ? buf_str(&why) : "out of memory", force);
		fall_back(a);
		return;
	}
	log_warnings(&diags);
	accepted(a, mem_steal(&w), &docs);
}

void agent_reload(struct agent *a)
{
	agent_load(a, true);
	agent_wake(a);
}

static void on_files_changed(void *arg)
{
	agent_load(arg, false);
}

/* Which networks of deleted objects stay, in words; NULL: all go. Those that go are off from now
 * on, since their documents are marked. */
static const char *left_behind(const struct agent *a, struct buf *names)
{
	const char *sep = "";

	for (size_t i = 0; a->wanted && i < a->wanted->config->n_networks; i++) {
		const struct config_network *n = &a->wanted->config->networks[i];

		if (!n->enabled || n->remove_on_delete ||
		    !agent_source_kube_is_gone(a->kube, n->source))
			continue;
		buf_addf(names, "%s%s", sep, n->name);
		sep = ", ";
	}
	return names->len ? buf_str(names) : NULL;
}

static void on_kube_changed(void *arg)
{
	_cleanup_buf_ struct buf names = BUF_INIT(512), note = BUF_INIT(768);
	struct agent *a = arg;
	const char *stay;

	if (!a->kube)
		return;
	if ((stay = left_behind(a, &names))) {
		log_warn("the configuration's objects were deleted; the tunnels stay",
			 LOG_STR("networks", stay));
		buf_addf(&note, "the tunnels stay as they are (on_delete = \"keep\"): %s", stay);
		agent_source_kube_event(a->kube, true, "ConfigDeleted", buf_str(&note));
	}
	agent_load(a, false);
}

static void on_resolved(void *arg, const char *host, const struct ip_addr *addrs, size_t n,
			uint32_t ttl, const char *error)
{
	struct agent *a = arg;

	if (n == 0)
		log_debug("name not resolved", LOG_STR("host", host), LOG_STR("error", error));
	if (agent_endpoints_resolved(a->endpoints, host, addrs, n, ttl, error, mono_now()))
		agent_wake(a);
}

/* --- life --- */

static int open_sources(struct agent *a, struct err *e)
{
	int r = 0;

	if (a->opts->n_configs)
		r = agent_source_file_new(a->base, a->opts->configs, a->opts->n_configs,
					  on_files_changed, a, &a->files, e);
	if (r == 0 && (a->opts->kube_secret || a->opts->kube_configmap))
		r = agent_source_kube_new(a->base, a->opts, on_kube_changed, a, &a->kube, e);
	return r;
}

/* Before privileges are dropped: afterwards nobody else's sockets can be seen. */
static void note_ports(struct agent *a)
{
	for (size_t i = 0; a->wanted && i < a->wanted->config->n_networks; i++) {
		const struct config_network *n = &a->wanted->config->networks[i];

		if (n->enabled && n->listen_port)
			agent_sys_note_port(a->sys, n->listen_port);
	}
}

static bool is_empty(DIR *dir)
{
	struct dirent *d;

	while ((d = readdir(dir)))
		if (!str_eq(d->d_name, ".") && !str_eq(d->d_name, ".."))
			return false;
	return true;
}

/* A directory that we make is 0700, but the kubelet makes a volume's, 0755. One that is empty and
 * our own is closed before anything is put there; any other stays as its owner wants it. */
static void close_state_dir(const char *path)
{
	int fd = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct stat st;

	if (!dir) {
		mem_close_p(&fd);
		return;
	}
	if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 077) && is_empty(dir) &&
	    fchmod(fd, 0700) < 0)
		log_warn("the state directory stays open to others", LOG_STR("path", path),
			 LOG_STR("error", strerror(errno)));
	closedir(dir);
}

/* Files are read with the rights of all later reads, and not with those that the start has besides:
 * what could be read only now would be refused at the first change. */
static void first_load(struct agent *a)
{
	sandbox_lower_cap(CAP_DAC_OVERRIDE);
	sandbox_lower_cap(CAP_DAC_READ_SEARCH);
	agent_load(a, false);
	(void)sandbox_raise_cap(CAP_DAC_OVERRIDE);
	(void)sandbox_raise_cap(CAP_DAC_READ_SEARCH);
}

int agent_new(struct event_base *base, const struct agent_options *opts, struct agent **ret,
	      struct err *e)
{
	_cleanup_(agent_free_p) struct agent *a = calloc(1, sizeof(*a));
	int r;

	if (!a || !(a->endpoints = agent_endpoints_new()) || !(a->prober = agent_prober_new()))
		return err_set(e, -ENOMEM, "out of memory");
	a->base = base;
	a->opts = opts;
	if ((r = agent_exporter_new(a, &a->exporter, e)) < 0)
		return r;
	if (!opts->observe_only && !sandbox_has_cap(CAP_NET_ADMIN))
		return err_set(e, -EPERM,
			       "the capability CAP_NET_ADMIN is missing: without it no interface, "
			       "address or route can be set (--observe-only does without)");
	/* A second agent on the node ends here, before it has touched anything: mostly at the
	 * first of these, which knows at once. */
	if ((r = agent_serve_new(a, &a->serve, e)) < 0 ||
	    (!opts->observe_only && (r = agent_only_new(base, &a->only, e)) < 0))
		return r;
	close_state_dir(opts->state_dir);
	if ((r = agent_sys_open(opts->no_nft, &a->sys, e)) < 0 ||
	    (r = device_probe(opts->userspace, &a->probe, e)) < 0)
		return r;
	if ((r = agent_resolver_new(base, NULL, NULL, on_resolved, a, &a->resolver, e)) < 0)
		return r;
	if ((r = open_sources(a, e)) < 0 || (r = agent_loop_start(a, e)) < 0)
		return r;
	first_load(a);
	note_ports(a);
	*ret = mem_steal(&a);
	return 0;
}

void agent_free(struct agent *a)
{
	if (!a)
		return;
	agent_loop_stop(a);
	if (a->sys && a->wanted && a->opts->on_exit == AGENT_EXIT_REMOVE && !a->opts->observe_only)
		agent_teardown(a);
	agent_serve_free(a->serve);
	agent_only_free(a->only);
	agent_source_file_free(a->files);
	agent_source_kube_free(a->kube);
	agent_resolver_free(a->resolver);
	agent_endpoints_free(a->endpoints);
	agent_prober_free(a->prober);
	nets_free(a->nets, a->n_nets);
	agent_forget_desired(a);
	agent_wanted_free(a->wanted);
	agent_docs_clear(&a->docs);
	agent_sys_close(a->sys);
	agent_exporter_free(a->exporter);
	free(a->config_error);
	free(a);
}
