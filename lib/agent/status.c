/*
 * What is told about the agent, in JSON and in words. Read-only; everything comes from memory
 * that the last run of the loop has filled, so an answer never waits for the machine.
 */
#include "agent/agent_priv.h"
#include "base/str.h"
#include "json/json.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define EDIT_NS (5 * NS_PER_SEC) /* what an edit may take before it is told as not applied */

const char *agent_phase_name(enum agent_phase p)
{
	return p == AGENT_ACTIVE ? "active" : p == AGENT_ERROR ? "error" : "starting";
}

enum agent_phase agent_net_phase(const struct agent *a, const struct agent_net *n)
{
	if (n->error[0])
		return AGENT_ERROR;
	/* Without a device, whatever was so before, it is about to be. */
	return a->applied_generation == 0 || !n->backend[0] ? AGENT_STARTING : AGENT_ACTIVE;
}

static const struct config_network *conf_of(const struct agent *a, const char *name)
{
	for (size_t i = 0; a->wanted && i < a->wanted->config->n_networks; i++)
		if (str_eq(a->wanted->config->networks[i].name, name))
			return &a->wanted->config->networks[i];
	return NULL;
}

static struct health_readiness readiness_of(const struct agent *a, const struct agent_net *n)
{
	const struct config_network *c = conf_of(a, n->name);
	struct health_readiness r = {.policy = HEALTH_ALL};

	if (c && c->readiness == CONFIG_READY_ANY)
		r.policy = HEALTH_ANY;
	if (c && c->readiness == CONFIG_READY_QUORUM)
		r.policy = HEALTH_QUORUM, r.quorum = c->quorum;
	return r;
}

/* Each line of `lines` with the network before it. */
static void add_lines(struct buf *out, const char *network, const char *lines)
{
	while (*lines) {
		size_t n = strcspn(lines, "\n");

		buf_addf(out, "network %s: %.*s\n", network, (int)n, lines);
		lines += n + (lines[n] == '\n');
	}
}

bool agent_write_startup(struct agent *a, struct buf *reasons)
{
	bool guarded = a->opts->guard;

	if (!a->wanted) {
		buf_addf(reasons, "no configuration: %s\n",
			 a->config_error ? a->config_error : "none was read yet");
		return false;
	}
	for (size_t i = 0; i < a->wanted->config->n_networks; i++)
		guarded |= a->wanted->config->networks[i].enabled &&
			   a->wanted->config->networks[i].guard;
	if (!guarded || (a->desired_known && a->nft_in_place))
		return true;
	buf_addf(reasons, "the guard is not in place: %s\n",
		 a->error[0] ? a->error : "it is being made");
	return false;
}

/*
 * For the moment that an edit takes, what the machine has is what was wanted until then: a probe
 * that asks just then learns of the tunnels, and no pod is NotReady for an edit.
 */
static bool is_behind(const struct agent *a)
{
	if (a->applied_generation == a->generation)
		return false;
	return !a->applied_generation || a->opts->observe_only ||
	       mono_since(mono_now(), a->in_force_at) >= EDIT_NS;
}

bool agent_write_readiness(struct agent *a, struct buf *reasons)
{
	bool ready = true;

	if (!a->wanted) {
		if (!a->kube || !agent_source_kube_missing(a->kube, reasons) || a->config_error)
			buf_addf(reasons, "no configuration: %s\n",
				 a->config_error ? a->config_error : "none was read yet");
		return false;
	}
	if (a->error[0]) {
		buf_addf(reasons, "not applied: %s\n", a->error);
		ready = false;
	} else if (a->opts->observe_only && a->pending) {
		buf_addf(reasons, "observe only: %zu change%s would be needed%s: %s\n", a->pending,
			 a->pending == 1 ? "" : "s", a->pending == 1 ? "" : ", the first",
			 a->differs);
		ready = false;
	} else if (is_behind(a)) {
		buf_addf(reasons, "generation %" PRIu64 " is being applied\n", a->generation);
		ready = false;
	}
	for (size_t i = 0; i < a->n_nets; i++) {
		struct agent_net *n = &a->nets[i];
		_cleanup_buf_ struct buf lines = BUF_INIT(8192);
		struct health_verdict v =
			health_ready(n->health, readiness_of(a, n), mono_now(), &lines);

		ready = ready && v.ready;
		add_lines(reasons, n->name, buf_str(&lines));
	}
	return ready;
}

void agent_write_networks(struct agent *a, struct buf *out)
{
	for (size_t i = 0; i < a->n_nets; i++) {
		const struct agent_net *n = &a->nets[i];
		struct health_verdict v =
			health_ready(n->health, readiness_of(a, n), mono_now(), NULL);

		buf_addf(out,
			 "[%c] network %s: %s, interface %s (%s), %zu of %zu required peers up\n",
			 v.ready ? '+' : '-', n->name, agent_phase_name(agent_net_phase(a, n)),
			 n->ifname, n->backend[0] ? n->backend : "no device", v.up, v.required);
	}
}

bool agent_is_ready(struct agent *a)
{
	_cleanup_buf_ struct buf reasons = BUF_INIT(16384);

	return agent_write_readiness(a, &reasons);
}

static void write_time(struct buf *b, const char *name, struct wall t)
{
	char text[TIME_RFC3339_LEN];

	if (wall_is_never(t))
		buf_addf(b, "\"%s\":null", name);
	else
		buf_addf(b, "\"%s\":\"%s\"", name, time_rfc3339(t, text));
}

static void write_peer(struct agent *a, const struct agent_net *n, const struct health_peer *p,
		       struct buf *b)
{
	struct mono now = mono_now();
	int64_t age = health_age_ns(p, now);
	char k[KEY_BASE64], ep[IP_ENDPOINT_LEN];
	const char *unresolved = agent_endpoints_error(a->endpoints, n->name, &p->public_key);
	_cleanup_buf_ struct buf reason = BUF_INIT(1024);

	buf_adds(b, "{\"name\":");
	json_quote(b, p->name);
	buf_addf(b, ",\"public_key\":\"%s\",\"state\":\"%s\",\"required\":%s,\"endpoint\":",
		 key_to_base64(&p->public_key, k), health_state_name(p->state),
		 p->required ? "true" : "false");
	if (p->endpoint.addr.family == AF_UNSPEC)
		buf_adds(b, "null");
	else
		json_quote(b, ip_endpoint_str(&p->endpoint, ep));
	if (age < 0)
		buf_adds(b, ",\"handshake_age_seconds\":null,");
	else
		buf_addf(b, ",\"handshake_age_seconds\":%.3f,", (double)age / (double)NS_PER_SEC);
	write_time(b, "last_handshake", p->last_handshake);
	buf_addf(b, ",\"rx_bytes\":%" PRIu64 ",\"tx_bytes\":%" PRIu64 ",\"reconnections\":%" PRIu64,
		 p->rx_bytes, p->tx_bytes, p->reconnections);
	if (p->state != HEALTH_UP) {
		health_reason(n->health, p, now, &reason);
		if (unresolved)
			buf_addf(&reason, "; %s", unresolved);
		buf_adds(b, ",\"reason\":");
		json_quote(b, buf_str(&reason));
	}
	buf_addc(b, '}');
}

static size_t count_state(const struct agent_net *n, bool (*is)(const struct health_peer *))
{
	size_t count = 0;

	for (size_t i = 0; i < health_count(n->health); i++)
		count += is(health_peer(n->health, i));
	return count;
}

static bool is_active(const struct health_peer *p)
{
	return p->state != HEALTH_NEVER;
}

static bool is_healthy(const struct health_peer *p)
{
	return p->state == HEALTH_UP;
}

/* The status data of the control protocol, and what is added to it. */
static void write_net(struct agent *a, const struct agent_net *n, bool peers, struct buf *b)
{
	struct health_verdict v = health_ready(n->health, readiness_of(a, n), mono_now(), NULL);
	size_t total = health_count(n->health);

	buf_adds(b, "{\"network\":");
	json_quote(b, n->name);
	buf_addf(b, ",\"state\":\"%s\",\"interface\":", agent_phase_name(agent_net_phase(a, n)));
	json_quote(b, n->ifname);
	buf_addf(b, ",\"peers\":{\"total\":%zu,\"active\":%zu,\"healthy\":%zu,\"names\":[", total,
		 count_state(n, is_active), count_state(n, is_healthy));
	for (size_t i = 0; i < total; i++) {
		if (i)
			buf_addc(b, ',');
		json_quote(b, health_peer(n->health, i)->name);
	}
	buf_addf(b, "]},\"traffic\":{\"tx_bytes\":%" PRIu64 ",\"rx_bytes\":%" PRIu64 "}",
		 n->tx_bytes, n->rx_bytes);
	buf_addf(b, ",\"ready\":%s,\"backend\":", v.ready ? "true" : "false");
	json_quote(b, n->backend);
	buf_adds(b, ",\"backend_reason\":");
	json_quote(b, n->backend_why);
	if (n->error[0]) {
		buf_adds(b, ",\"error\":");
		json_quote(b, n->error);
	}
	if (peers) {
		buf_adds(b, ",\"peer_details\":[");
		for (size_t i = 0; i < total; i++) {
			if (i)
				buf_addc(b, ',');
			write_peer(a, n, health_peer(n->health, i), b);
		}
		buf_addc(b, ']');
	}
	buf_addc(b, '}');
}

static void write_nets(struct agent *a, struct buf *b)
{
	buf_adds(b, "\"networks\":[");
	for (size_t i = 0; i < a->n_nets; i++) {
		if (i)
			buf_addc(b, ',');
		write_net(a, &a->nets[i], true, b);
	}
	buf_addc(b, ']');
}

static void write_watch(struct buf *b, const char *name, const struct kube_watch_state *w)
{
	buf_addf(b,
		 "\"%s\":{\"synced\":%s,\"connected\":%s,\"exists\":%s,\"relists\":%" PRIu64
		 ",\"last_sync_seconds\":%.3f,\"error\":",
		 name, w->synced ? "true" : "false", w->connected ? "true" : "false",
		 w->exists ? "true" : "false", w->relists,
		 w->last_sync.ns ? (double)mono_since(mono_now(), w->last_sync) / (double)NS_PER_SEC
				 : -1.0);
	json_quote(b, w->error);
	buf_addc(b, '}');
}

static void write_kube(struct agent *a, struct buf *b)
{
	struct agent_kube_status s;

	agent_source_kube_status(a->kube, &s);
	buf_addf(b, ",\"kubernetes\":{\"from_cache\":%s", s.from_cache ? "true" : "false");
	if (s.has_secret) {
		buf_addc(b, ',');
		write_watch(b, "secret", &s.secret);
	}
	if (s.has_configmap) {
		buf_addc(b, ',');
		write_watch(b, "configmap", &s.configmap);
	}
	buf_addc(b, '}');
}

/* "ok": all well. "degraded": the tunnels that are wanted are up, but the newest configuration
 * is not in force. "error": something required is not up, or not applied. */
static const char *overall(struct agent *a, bool ready)
{
	return !ready ? "error" : a->config_error ? "degraded" : "ok";
}

void agent_write_health(struct agent *a, struct buf *b)
{
	_cleanup_buf_ struct buf reasons = BUF_INIT(65536);
	bool ready = agent_write_readiness(a, &reasons);

	buf_addf(b,
		 "{\"status\":\"%s\",\"ready\":%s,\"version\":\"%s\",\"generation\":%" PRIu64
		 ",\"applied_generation\":%" PRIu64 ",",
		 overall(a, ready), ready ? "true" : "false", HARMONY_VERSION, a->generation,
		 a->applied_generation);
	write_time(b, "loaded_at", a->loaded_at);
	buf_addc(b, ',');
	write_time(b, "applied_at", a->applied_at);
	buf_addf(b, ",\"observe_only\":%s,\"pending_operations\":%zu",
		 a->opts->observe_only ? "true" : "false", a->pending);
	if (reasons.len) {
		buf_adds(b, ",\"reason\":");
		reasons.data[--reasons.len] = '\0'; /* the last newline */
		json_quote(b, buf_str(&reasons));
	}
	if (a->config_error) {
		buf_adds(b, ",\"config_error\":");
		json_quote(b, a->config_error);
	}
	if (a->kube)
		write_kube(a, b);
	buf_addc(b, ',');
	write_nets(a, b);
	buf_adds(b, "}\n");
}

int agent_write_status(struct agent *a, const char *network, struct buf *b)
{
	struct agent_net *n;

	if (!network) {
		agent_write_health(a, b);
		return buf_error(b);
	}
	n = agent_net_by_name(a, network);
	if (!n)
		return -ENOENT;
	write_net(a, n, true, b);
	return buf_error(b);
}
