/*
 * The agent's metrics. The series of devices and peers are emitted at scrape time straight from
 * what the last run saw, under the names that existing WireGuard dashboards query; hot series
 * carry only the device and the public key, names and endpoints stand in the _info families. A
 * peer that never shook hands has no last_handshake series, instead of one from 1970.
 *
 * Of ten thousand peers' text nearly all is labels. These are rendered at the first scrape and kept
 * as long as health's peers are the same: a row for each, in their order, so that a scrape copies
 * them and writes numbers behind. The configuration's generation would not do: an edit that fails
 * half way for memory leaves health changed and the generation as it was. The labels with a peer's
 * endpoint are rendered again when it has another.
 */
#include "agent/agent_priv.h"
#include "base/str.h"
#include "http/http.h"
#include "log/log.h"
#include "metrics/metrics.h"

#include <errno.h>
#include <string.h>

struct agent_exporter {
	struct agent *a;
	struct metrics *m;
	struct metrics_series *reconcile_seconds, *handshake_seconds;

	struct metrics_family *device_info, *peer_info, *peer_allowed, *peer_rx, *peer_tx,
		*peer_handshake, *peer_latency, *peer_up, *peer_reconnections;
	struct metrics_family *ready, *generation, *loaded_time, *applied, *applied_time,
		*config_total, *config_ok, *reconciles, *reconcile_errors, *ops, *ops_failed,
		*drift, *pending, *log_dropped;
	struct metrics_family *watch_up, *watch_sync, *watch_relists, *watch_errors, *api_requests,
		*api_errors, *events;

	/* Rendered labels, of the agent's peers_version; peers NULL: none. */
	struct {
		uint64_t version;
		struct buf text; /* which the rows and `allowed` point into */
		struct row *peers;
		size_t n_peers;
		struct part *allowed;
		size_t n_allowed, cap_allowed;
	} rows;
	size_t last_size; /* of the whole text, so that it need not grow the next time */
};

/* A piece of rows.text. */
struct part {
	uint32_t at, len;
};

struct row {
	struct part labels;
	struct buf info; /* of peer_info; with what it was made of: */
	struct ip_endpoint endpoint;
	bool required;
};

#define DEVICE_LABELS METRICS_LABELS("device", "public_key")

struct family_row {
	size_t offset; /* of the member in struct agent_exporter */
	struct metrics_desc desc;
};

#define ROW(member, type_, name_, help_, ...)                                                      \
	{                                                                                          \
		offsetof(struct agent_exporter, member),                                           \
		{                                                                                  \
			.type = METRICS_##type_, .name = name_, .help = help_, __VA_ARGS__         \
		}                                                                                  \
	}

static int add_families(struct agent_exporter *x, const struct family_row *rows, size_t n,
			struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = metrics_add_family(x->m, &rows[i].desc,
				       (struct metrics_family **)((char *)x + rows[i].offset), e);
	return r;
}

static int add_wireguard(struct agent_exporter *x, struct err *e)
{
	const struct family_row rows[] = {
		ROW(device_info, INFO, "wireguard_device_info", "Metadata about a device.",
		    .labels = METRICS_LABELS("device", "public_key", "network", "backend")),
		ROW(peer_info, INFO, "wireguard_peer_info",
		    "Metadata about a peer: its name and the endpoint it is reached at.",
		    .labels =
			    METRICS_LABELS("device", "public_key", "name", "endpoint", "required")),
		ROW(peer_allowed, INFO, "wireguard_peer_allowed_ips_info",
		    "The allowed IPs of a peer, one series each.",
		    .labels = METRICS_LABELS("device", "public_key", "allowed_ips")),
		ROW(peer_rx, COUNTER, "wireguard_peer_receive_bytes_total",
		    "Bytes received from a peer.", .labels = DEVICE_LABELS),
		ROW(peer_tx, COUNTER, "wireguard_peer_transmit_bytes_total",
		    "Bytes sent to a peer.", .labels = DEVICE_LABELS),
		ROW(peer_handshake, GAUGE, "wireguard_peer_last_handshake_seconds",
		    "Time of the last handshake with a peer; absent where there was none.",
		    .labels = DEVICE_LABELS),
		ROW(peer_latency, GAUGE, "harmony_agent_peer_handshake_latency_seconds",
		    "From the first unanswered attempt to the peer's last measured handshake; "
		    "absent "
		    "where there was none.",
		    .unit = "seconds", .labels = DEVICE_LABELS),
		ROW(peer_up, GAUGE, "harmony_agent_peer_up",
		    "Whether a peer answers: 1, or 0 with the state in /healthz.",
		    .labels = DEVICE_LABELS),
		ROW(peer_reconnections, COUNTER, "harmony_agent_peer_reconnections_total",
		    "Times that a peer was up again after it had been lost.",
		    .labels = DEVICE_LABELS),
	};

	return add_families(x, rows, ARRAY_LEN(rows), e);
}

static int add_agent(struct agent_exporter *x, struct err *e)
{
	const struct family_row rows[] = {
		ROW(ready, GAUGE, "harmony_agent_ready", "Whether /readyz answers 200."),
		ROW(generation, GAUGE, "harmony_agent_config_generation",
		    "Number of configurations accepted since the start."),
		ROW(loaded_time, GAUGE, "harmony_agent_config_loaded_timestamp_seconds",
		    "When the configuration in force was accepted; absent without one."),
		ROW(applied, GAUGE, "harmony_agent_config_applied_generation",
		    "The generation that the machine was last found to match."),
		ROW(applied_time, GAUGE, "harmony_agent_config_applied_timestamp_seconds",
		    "When that generation was first found applied."),
		ROW(config_total, COUNTER, "harmony_agent_config_loads_total",
		    "Configurations read, by outcome.", .labels = METRICS_LABELS("outcome")),
		ROW(config_ok, GAUGE, "harmony_agent_config_valid",
		    "Whether the newest configuration is the one in force."),
		ROW(reconciles, COUNTER, "harmony_agent_reconciles_total", "Looks at the machine."),
		ROW(reconcile_errors, COUNTER, "harmony_agent_reconcile_errors_total",
		    "Looks that ended with something not in the wanted state."),
		ROW(ops, COUNTER, "harmony_agent_operations_total",
		    "Operations carried out on the machine, by kind.",
		    .labels = METRICS_LABELS("kind")),
		ROW(ops_failed, COUNTER, "harmony_agent_operation_errors_total",
		    "Operations that failed."),
		ROW(drift, COUNTER, "harmony_agent_drift_total",
		    "Differences that somebody else made, by the kind of operation that repairs "
		    "them.",
		    .labels = METRICS_LABELS("kind")),
		ROW(pending, GAUGE, "harmony_agent_pending_operations",
		    "Operations that the last plan has left undone."),
		ROW(log_dropped, COUNTER, "harmony_agent_log_dropped_total",
		    "Log records that could not be written."),
	};

	return add_families(x, rows, ARRAY_LEN(rows), e);
}

static int add_kube(struct agent_exporter *x, struct err *e)
{
	const struct family_row rows[] = {
		ROW(watch_up, GAUGE, "harmony_agent_kube_watch_connected",
		    "Whether the watch stream of an object is open.",
		    .labels = METRICS_LABELS("object")),
		ROW(watch_sync, GAUGE, "harmony_agent_kube_last_sync_age_seconds",
		    "Time since the API server last said anything about an object.",
		    .unit = "seconds", .labels = METRICS_LABELS("object")),
		ROW(watch_relists, COUNTER, "harmony_agent_kube_relists_total",
		    "Lists after the first.", .labels = METRICS_LABELS("object")),
		ROW(watch_errors, COUNTER, "harmony_agent_kube_watch_errors_total",
		    "Lists and watches that failed.", .labels = METRICS_LABELS("object")),
		ROW(api_requests, COUNTER, "harmony_agent_kube_requests_total",
		    "Requests to the API server."),
		ROW(api_errors, COUNTER, "harmony_agent_kube_request_errors_total",
		    "Requests to the API server that failed."),
		ROW(events, COUNTER, "harmony_agent_kube_events_total",
		    "Kubernetes Events, by outcome.", .labels = METRICS_LABELS("outcome")),
	};

	return x->a->opts->kube_secret || x->a->opts->kube_configmap
		       ? add_families(x, rows, ARRAY_LEN(rows), e)
		       : 0;
}

static int add_kept(struct agent_exporter *x, struct err *e)
{
	struct metrics_family *build;
	struct metrics_series *version;
	int r = metrics_add_family(x->m,
				   &(struct metrics_desc){.type = METRICS_INFO,
							  .name = "harmony_agent_build_info",
							  .help = "The program's version.",
							  .labels = METRICS_LABELS("version")},
				   &build, e);

	if (r == 0)
		r = metrics_add_series(build, (const char *[]){HARMONY_VERSION}, &version, e);
	if (r == 0)
		r = metrics_add_single(
			x->m,
			&(struct metrics_desc){
				.type = METRICS_HISTOGRAM,
				.name = "harmony_agent_reconcile_duration_seconds",
				.help = "Duration of one look at the machine with what followed.",
				.unit = "seconds",
				METRICS_BUCKETS(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
						0.1, 0.25, 0.5, 1, 2.5, 5)},
			&x->reconcile_seconds, e);
	if (r == 0)
		r = metrics_add_single(
			x->m,
			&(struct metrics_desc){
				.type = METRICS_HISTOGRAM,
				.name = "harmony_agent_handshake_latency_seconds",
				.help = "From the first unanswered attempt to the handshake, as "
					"fine as "
					"the looks at the device.",
				.unit = "seconds",
				METRICS_BUCKETS(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)},
			&x->handshake_seconds, e);
	return r;
}

/* --- at scrape time --- */

static void drop_rows(struct agent_exporter *x)
{
	for (size_t i = 0; i < x->rows.n_peers; i++)
		buf_free(&x->rows.peers[i].info);
	free(x->rows.peers);
	free(x->rows.allowed);
	buf_free(&x->rows.text);
	memset(&x->rows, 0, sizeof(x->rows));
}

static struct part render(struct agent_exporter *x, const struct metrics_family *f,
			  const char *const *values)
{
	uint32_t at = (uint32_t)x->rows.text.len;

	metrics_labels(&x->rows.text, f, values);
	return (struct part){at, (uint32_t)x->rows.text.len - at};
}

static int render_peers(struct agent_exporter *x)
{
	size_t n = 0, at = 0;
	char k[KEY_BASE64];

	for (size_t i = 0; i < x->a->n_nets; i++)
		n += health_count(x->a->nets[i].health);
	x->rows.peers = calloc(n + 1, sizeof(*x->rows.peers));
	if (!x->rows.peers)
		return -ENOMEM;
	x->rows.n_peers = n;
	for (size_t i = 0; i < x->a->n_nets; i++) {
		const struct agent_net *net = &x->a->nets[i];

		for (size_t j = 0; j < health_count(net->health); j++, at++) {
			key_to_base64(&health_peer(net->health, j)->public_key, k);
			x->rows.peers[at].labels =
				render(x, x->peer_rx, (const char *[]){net->ifname, k});
		}
	}
	return 0;
}

static int render_allowed(struct agent_exporter *x, const char *ifname, const struct config_peer *p)
{
	char k[KEY_BASE64], prefix[IP_PREFIX_LEN];

	key_to_base64(&p->public_key, k);
	for (size_t i = 0; i < p->n_allowed; i++) {
		if (mem_grow(&x->rows.allowed, x->rows.n_allowed, &x->rows.cap_allowed,
			     sizeof(*x->rows.allowed)) < 0)
			return -ENOMEM;
		ip_prefix_str(&p->allowed[i], prefix);
		x->rows.allowed[x->rows.n_allowed++] =
			render(x, x->peer_allowed, (const char *[]){ifname, k, prefix});
	}
	return 0;
}

/* False when memory has run out: then the peers' series are missing from this scrape. */
static bool have_rows(struct agent_exporter *x)
{
	const struct agent *a = x->a;
	int r;

	if (x->rows.peers && x->rows.version == a->peers_version)
		return true;
	drop_rows(x);
	x->rows.text = BUF_INIT(UINT32_MAX);
	r = render_peers(x);
	for (size_t i = 0; r == 0 && a->wanted && i < a->wanted->config->n_networks; i++) {
		const struct config_network *c = &a->wanted->config->networks[i];

		for (size_t j = 0; r == 0 && c->enabled && j < c->n_peers; j++)
			r = render_allowed(x, c->interface, &c->peers[j]);
	}
	if (r < 0 || buf_error(&x->rows.text) < 0) {
		drop_rows(x);
		return false;
	}
	x->rows.version = a->peers_version;
	return true;
}

typedef void (*peer_fn)(struct metrics_writer *w, const struct health_peer *p, const char *labels,
			size_t len);

/* One family over all peers: the formats want a family's samples together. */
static void each_peer(struct agent_exporter *x, struct metrics_writer *w, struct metrics_family *f,
		      peer_fn fn)
{
	const struct row *row = x->rows.peers;

	metrics_begin(w, f);
	for (size_t i = 0; i < x->a->n_nets; i++) {
		const struct health *h = x->a->nets[i].health;

		for (size_t j = 0; j < health_count(h); j++, row++) {
			const struct health_peer *p = health_peer(h, j);

			if (p->present)
				fn(w, p, x->rows.text.data + row->labels.at, row->labels.len);
		}
	}
}

static void peer_rx(struct metrics_writer *w, const struct health_peer *p, const char *l, size_t n)
{
	metrics_rendered(w, l, n, p->rx_bytes);
}

static void peer_tx(struct metrics_writer *w, const struct health_peer *p, const char *l, size_t n)
{
	metrics_rendered(w, l, n, p->tx_bytes);
}

static void peer_handshake(struct metrics_writer *w, const struct health_peer *p, const char *l,
			   size_t n)
{
	if (!wall_is_never(p->last_handshake))
		metrics_rendered_ns(w, l, n, p->last_handshake.ns);
}

static void peer_latency(struct metrics_writer *w, const struct health_peer *p, const char *l,
			 size_t n)
{
	if (p->latency_ns >= 0)
		metrics_rendered_ns(w, l, n, p->latency_ns);
}

static void peer_up(struct metrics_writer *w, const struct health_peer *p, const char *l, size_t n)
{
	metrics_rendered(w, l, n, p->state == HEALTH_UP);
}

static void peer_reconnections(struct metrics_writer *w, const struct health_peer *p, const char *l,
			       size_t n)
{
	metrics_rendered(w, l, n, p->reconnections);
}

static void render_info(struct agent_exporter *x, struct row *row, const char *ifname,
			const struct health_peer *p)
{
	char ep[IP_ENDPOINT_LEN], k[KEY_BASE64];

	row->endpoint = p->endpoint;
	row->required = p->required;
	buf_reset(&row->info);
	metrics_labels(&row->info, x->peer_info,
		       (const char *[]){ifname, key_to_base64(&p->public_key, k), p->name,
					p->endpoint.addr.family == AF_UNSPEC
						? ""
						: ip_endpoint_str(&p->endpoint, ep),
					p->required ? "true" : "false"});
}

static void collect_info(struct agent_exporter *x, struct metrics_writer *w)
{
	struct row *row = x->rows.peers;

	metrics_begin(w, x->peer_info);
	for (size_t i = 0; i < x->a->n_nets; i++) {
		const struct agent_net *n = &x->a->nets[i];

		for (size_t j = 0; j < health_count(n->health); j++, row++) {
			const struct health_peer *p = health_peer(n->health, j);

			if (!p->present)
				continue;
			if (!row->info.len || row->required != p->required ||
			    ip_endpoint_cmp(&row->endpoint, &p->endpoint) != 0)
				render_info(x, row, n->ifname, p);
			if (buf_error(&row->info) == 0)
				metrics_rendered(w, row->info.data, row->info.len, 1);
		}
	}
}

static void collect_peers(struct agent_exporter *x, struct metrics_writer *w)
{
	if (!have_rows(x))
		return;
	metrics_begin(w, x->peer_allowed);
	for (size_t i = 0; i < x->rows.n_allowed; i++)
		metrics_rendered(w, x->rows.text.data + x->rows.allowed[i].at,
				 x->rows.allowed[i].len, 1);
	collect_info(x, w);
	each_peer(x, w, x->peer_rx, peer_rx);
	each_peer(x, w, x->peer_tx, peer_tx);
	each_peer(x, w, x->peer_handshake, peer_handshake);
	each_peer(x, w, x->peer_latency, peer_latency);
	each_peer(x, w, x->peer_up, peer_up);
	each_peer(x, w, x->peer_reconnections, peer_reconnections);
}

static void collect_devices(struct agent_exporter *x, struct metrics_writer *w)
{
	const struct agent *a = x->a;

	metrics_begin(w, x->device_info);
	for (size_t i = 0; a->wanted && i < a->wanted->config->n_networks; i++) {
		const struct agent_wanted_network *wn = &a->wanted->networks[i];
		const struct agent_net *n = agent_net_by_name(x->a, wn->conf->name);
		char k[KEY_BASE64];

		if (n)
			metrics_sample_u64(w,
					   (const char *[]){n->ifname,
							    key_to_base64(&wn->public_key, k),
							    n->name, n->backend},
					   1);
	}
}

static void one(struct metrics_writer *w, struct metrics_family *f, uint64_t v)
{
	metrics_begin(w, f);
	metrics_sample_u64(w, NULL, v);
}

static void when(struct metrics_writer *w, struct metrics_family *f, struct wall t)
{
	metrics_begin(w, f);
	if (!wall_is_never(t))
		metrics_sample(w, NULL, (double)t.ns / (double)NS_PER_SEC);
}

static void by_kind(struct metrics_writer *w, struct metrics_family *f, const uint64_t *values)
{
	metrics_begin(w, f);
	for (unsigned k = 0; k < AGENT_OP_KINDS; k++)
		metrics_sample_u64(w, (const char *[]){agent_op_name(k)}, values[k]);
}

static void collect_agent(struct agent_exporter *x, struct metrics_writer *w)
{
	struct agent *a = x->a;
	const struct agent_counts *c = &a->counts;

	one(w, x->ready, agent_is_ready(a));
	one(w, x->generation, a->generation);
	when(w, x->loaded_time, a->loaded_at);
	one(w, x->applied, a->applied_generation);
	when(w, x->applied_time, a->applied_at);
	metrics_begin(w, x->config_total);
	metrics_sample_u64(w, (const char *[]){"accepted"}, c->config_accepted);
	metrics_sample_u64(w, (const char *[]){"rejected"}, c->config_rejected);
	one(w, x->config_ok, a->wanted && !a->config_error);
	one(w, x->reconciles, c->reconciles);
	one(w, x->reconcile_errors, c->reconcile_errors);
	by_kind(w, x->ops, c->ops);
	one(w, x->ops_failed, c->ops_failed);
	by_kind(w, x->drift, c->drift);
	one(w, x->pending, a->pending);
	one(w, x->log_dropped, log_dropped());
}

struct watch_row {
	const char *object;
	const struct kube_watch_state *state;
};

static void collect_watches(struct agent_exporter *x, struct metrics_writer *w,
			    const struct watch_row *rows, size_t n)
{
	metrics_begin(w, x->watch_up);
	for (size_t i = 0; i < n; i++)
		metrics_sample_u64(w, &rows[i].object, rows[i].state->connected);
	metrics_begin(w, x->watch_sync);
	for (size_t i = 0; i < n; i++)
		if (rows[i].state->last_sync.ns)
			metrics_sample(w, &rows[i].object,
				       (double)mono_since(mono_now(), rows[i].state->last_sync) /
					       (double)NS_PER_SEC);
	metrics_begin(w, x->watch_relists);
	for (size_t i = 0; i < n; i++)
		metrics_sample_u64(w, &rows[i].object, rows[i].state->relists);
	metrics_begin(w, x->watch_errors);
	for (size_t i = 0; i < n; i++)
		metrics_sample_u64(w, &rows[i].object, rows[i].state->errors);
}

static void collect_kube(struct agent_exporter *x, struct metrics_writer *w)
{
	struct agent_kube_status s;
	struct watch_row rows[2];
	size_t n = 0;

	agent_source_kube_status(x->a->kube, &s);
	if (s.has_secret)
		rows[n++] = (struct watch_row){"secret", &s.secret};
	if (s.has_configmap)
		rows[n++] = (struct watch_row){"configmap", &s.configmap};
	collect_watches(x, w, rows, n);
	one(w, x->api_requests, s.client.requests);
	one(w, x->api_errors, s.client.errors);
	metrics_begin(w, x->events);
	metrics_sample_u64(w, (const char *[]){"sent"}, s.events.sent);
	metrics_sample_u64(w, (const char *[]){"repeated"}, s.events.repeated);
	metrics_sample_u64(w, (const char *[]){"dropped"}, s.events.dropped);
	metrics_sample_u64(w, (const char *[]){"failed"}, s.events.failed);
}

static void collect(struct metrics_writer *w, void *arg)
{
	struct agent_exporter *x = arg;

	collect_agent(x, w);
	collect_devices(x, w);
	collect_peers(x, w);
	if (x->a->kube)
		collect_kube(x, w);
}

int agent_exporter_new(struct agent *a, struct agent_exporter **ret, struct err *e)
{
	struct agent_exporter *x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return err_set(e, -ENOMEM, "out of memory");
	x->a = a;
	x->m = metrics_new();
	r = x->m ? 0 : err_set(e, -ENOMEM, "out of memory");
	if (r == 0)
		r = add_wireguard(x, e);
	if (r == 0)
		r = add_agent(x, e);
	if (r == 0)
		r = add_kube(x, e);
	if (r == 0)
		r = add_kept(x, e);
	if (r == 0)
		r = agent_exporter_wg(a, x->m, e);
	if (r == 0)
		r = http_process_metrics(x->m, e);
	if (r == 0 && (r = metrics_add_collector(x->m, collect, x, NULL)) < 0)
		err_set(e, r, "out of memory");
	if (r < 0) {
		agent_exporter_free(x);
		return r;
	}
	*ret = x;
	return 0;
}

void agent_exporter_free(struct agent_exporter *x)
{
	if (!x)
		return;
	drop_rows(x);
	metrics_free(x->m);
	free(x);
}

void agent_exporter_reconciled(struct agent_exporter *x, double seconds)
{
	metrics_observe(x->reconcile_seconds, seconds);
}

void agent_exporter_handshake(struct agent_exporter *x, double seconds)
{
	metrics_observe(x->handshake_seconds, seconds);
}

void agent_exporter_write(struct agent_exporter *x, enum metrics_format format, struct buf *out)
{
	buf_reserve(out, x->last_size + 1);
	metrics_write(x->m, format, out);
	x->last_size = out->len + out->len / 8;
}
