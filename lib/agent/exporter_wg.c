/*
 * What a harmony-wg counts itself: asked at scrape time, in one short exchange with each device
 * that the last look found in order, so that a device that hangs does not hold up scrapes too.
 *
 * The formats want a family's samples together, so all devices are asked first. A key that the
 * device does not tell (an older one) is a series less.
 */
#include "agent/agent_priv.h"
#include "base/str.h"
#include "metrics/metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STATS_MAX 65536

enum family { HANDSHAKES, QUEUE, DROPPED, FALLBACKS, BATCHES, FAMILIES };

struct wg_exporter {
	struct agent *a;
	struct metrics_family *info, *of[FAMILIES];
};

static const struct metrics_desc descs[FAMILIES] = {
	[HANDSHAKES] = {.type = METRICS_COUNTER,
			.name = "harmony_wg_handshake_messages_total",
			.help = "Handshake messages that a harmony-wg received, by outcome.",
			.labels = METRICS_LABELS("device", "outcome")},
	[QUEUE] = {.type = METRICS_GAUGE,
		   .name = "harmony_wg_handshake_queue",
		   .help = "Handshake messages that wait in a harmony-wg.",
		   .labels = METRICS_LABELS("device")},
	[DROPPED] = {.type = METRICS_COUNTER,
		     .name = "harmony_wg_dropped_total",
		     .help = "Packets that a harmony-wg dropped, by reason.",
		     .labels = METRICS_LABELS("device", "reason")},
	[FALLBACKS] = {.type = METRICS_COUNTER,
		       .name = "harmony_wg_offload_fallbacks_total",
		       .help = "Times that a harmony-wg switched an offload off after an error.",
		       .labels = METRICS_LABELS("device", "offload")},
	[BATCHES] = {.type = METRICS_COUNTER,
		     .name = "harmony_wg_batches_total",
		     .help = "Packets of a harmony-wg, and the calls that they went through in.",
		     .labels = METRICS_LABELS("device", "count")},
};

/* Keys of harmony-wg's statistics; the label, where there is one, is the key without what `cut`
 * bytes are before it. */
static const struct {
	enum family family;
	const char *key;
	size_t cut;
} keys[] = {
	{HANDSHAKES, "handshake_initiation", 10},
	{HANDSHAKES, "handshake_response", 10},
	{HANDSHAKES, "handshake_cookie", 10},
	{HANDSHAKES, "handshake_bad", 10},
	{HANDSHAKES, "handshake_down", 10},
	{HANDSHAKES, "handshake_mac1", 10},
	{HANDSHAKES, "handshake_cookie_sent", 10},
	{HANDSHAKES, "handshake_limited", 10},
	{HANDSHAKES, "handshake_unknown", 10},
	{HANDSHAKES, "handshake_unauthentic", 10},
	{HANDSHAKES, "handshake_replayed", 10},
	{HANDSHAKES, "handshake_flood", 10},
	{HANDSHAKES, "handshake_nomem", 10},
	{QUEUE, "handshake_queue", 0},
	{DROPPED, "no_peer", 0},
	{DROPPED, "no_endpoint", 0},
	{DROPPED, "stage_full", 0},
	{DROPPED, "staged_dropped", 0},
	{DROPPED, "tun_bad", 0},
	{DROPPED, "tx_errors", 0},
	{DROPPED, "tun_write_errors", 0},
	{DROPPED, "handshakes_dropped", 0},
	{DROPPED, "rx_not_wireguard", 0},
	{DROPPED, "rx_truncated", 0},
	{DROPPED, "rx_bad", 0},
	{DROPPED, "rx_unknown", 0},
	{DROPPED, "rx_expired", 0},
	{DROPPED, "rx_replayed", 0},
	{DROPPED, "rx_unauthentic", 0},
	{DROPPED, "rx_malformed", 0},
	{DROPPED, "rx_spoofed", 0},
	{DROPPED, "rx_ecn", 0},
	{DROPPED, "rx_nomem", 0},
	{FALLBACKS, "gso_off_socket", 0},
	{FALLBACKS, "gso_off_peer", 0},
	{FALLBACKS, "gro_off", 0},
	{BATCHES, "tun_reads", 0},
	{BATCHES, "tx_packets", 0},
	{BATCHES, "tx_sends", 0},
	{BATCHES, "rx_datagrams", 0},
	{BATCHES, "rx_packets", 0},
	{BATCHES, "gro_joined", 0},
	{BATCHES, "gro_made", 0},
	{BATCHES, "tun_writes", 0},
};

struct answer {
	const char *ifname;
	struct buf text;
};

/* The value of a line "KEY=VALUE", up to its end; NULL: there is none. */
static const char *value_of(const struct answer *an, const char *key, size_t *ret_len)
{
	size_t len = strlen(key);

	for (const char *at = buf_str(&an->text); at && *at; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (strncmp(at, key, len) == 0 && at[len] == '=') {
			*ret_len = strcspn(at + len + 1, "\n");
			return at + len + 1;
		}
	}
	return NULL;
}

static void text_of(const struct answer *an, const char *key, char *ret, size_t size)
{
	size_t len = 0;
	const char *v = value_of(an, key, &len);

	len = v ? len < size - 1 ? len : size - 1 : 0;
	if (v)
		memcpy(ret, v, len);
	ret[len] = '\0';
}

static size_t ask(struct agent *a, struct answer *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n_nets; i++) {
		const struct agent_net *net = &a->nets[i];
		struct device *dev = agent_sys_device(a->sys, net->ifname);

		if (!dev || net->error[0] || !str_eq(net->backend, "harmony-wg"))
			continue;
		ret[n] = (struct answer){net->ifname, BUF_INIT(STATS_MAX)};
		if (device_stats(dev, &ret[n].text, NULL) == 0)
			n++;
		else
			buf_free(&ret[n].text);
	}
	return n;
}

static void emit(struct metrics_writer *w, struct wg_exporter *x, enum family f,
		 const struct answer *answers, size_t n)
{
	metrics_begin(w, x->of[f]);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
			const char *v;
			uint64_t value;
			size_t len;

			if (keys[k].family != f ||
			    !(v = value_of(&answers[i], keys[k].key, &len)) ||
			    str_to_u64(v, len, 0, UINT64_MAX, &value) < 0)
				continue;
			metrics_sample_u64(
				w, (const char *[]){answers[i].ifname, keys[k].key + keys[k].cut},
				value);
		}
}

static void collect(struct metrics_writer *w, void *arg)
{
	struct wg_exporter *x = arg;
	struct answer *answers = calloc(x->a->n_nets + 1, sizeof(*answers));
	size_t n;

	if (!answers)
		return;
	n = ask(x->a, answers);
	if (n > 0) {
		metrics_begin(w, x->info);
		for (size_t i = 0; i < n; i++) {
			char version[32], aead[32];

			text_of(&answers[i], "version", version, sizeof(version));
			text_of(&answers[i], "aead", aead, sizeof(aead));
			metrics_sample_u64(w, (const char *[]){answers[i].ifname, version, aead},
					   1);
		}
		for (unsigned f = 0; f < FAMILIES; f++)
			emit(w, x, f, answers, n);
	}
	for (size_t i = 0; i < n; i++)
		buf_free(&answers[i].text);
	free(answers);
}

int agent_exporter_wg(struct agent *a, struct metrics *m, struct err *e)
{
	const struct metrics_desc info = {
		.type = METRICS_INFO,
		.name = "harmony_wg_info",
		.help = "A harmony-wg's version and its implementation of ChaCha20-Poly1305.",
		.labels = METRICS_LABELS("device", "version", "aead")};
	struct wg_exporter *x = calloc(1, sizeof(*x));
	int r = x ? metrics_add_family(m, &info, &x->info, e)
		  : err_set(e, -ENOMEM, "out of memory");

	for (unsigned f = 0; r == 0 && f < FAMILIES; f++)
		r = metrics_add_family(m, &descs[f], &x->of[f], e);
	if (r < 0) {
		free(x);
		return r;
	}
	x->a = a;
	r = metrics_add_collector(m, collect, x, free);
	return r < 0 ? err_set(e, r, "out of memory") : 0;
}
