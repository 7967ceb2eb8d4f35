/* Statistics: the answer to "stats=1" on the control socket. Names are stable: docs/man. */
#include "stats.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static void add(struct buf *b, const char *name, uint64_t v)
{
	buf_addf(b, "%s=%" PRIu64 "\n", name, v);
}

static void engine(const struct control *c, struct buf *b)
{
	struct wg_stats s;

	wg_get_stats(c->device, mono_now(), &s);
	for (unsigned i = 0; i < WG_HS_OUTCOMES; i++)
		buf_addf(b, "handshake_%s=%" PRIu64 "\n", wg_outcome_name(i), s.handshakes[i]);
	for (unsigned i = 0; i < WG_RX_VERDICTS; i++)
		buf_addf(b, "rx_%s=%" PRIu64 "\n", wg_verdict_name(i), s.received[i]);
	add(b, "initiations_sent", s.initiations_sent);
	add(b, "responses_sent", s.responses_sent);
	add(b, "cookies_sent", s.cookies_sent);
	add(b, "handshakes_given_up", s.handshakes_given_up);
	add(b, "sessions", s.sessions);
	add(b, "staged_dropped", s.staged_dropped);
	add(b, "endpoints_moved", s.moved);
	add(b, "peers", s.peers);
	add(b, "under_load", s.under_load);
}

/* Over the queues. */
static uint64_t sum(const struct path *p, size_t offset)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < p->queues; i++) {
		const char *at = (const char *)&p->counters[i] + offset;

		n += atomic_load_explicit((const _Atomic uint64_t *)at, memory_order_relaxed);
	}
	return n;
}
#define SUM(p, name) sum(p, offsetof(struct counters, name))

/* "VmHWM:   1234 kB" of /proc is not at hand in the sandbox; the caller's tools read it. */
void stats_format(const struct control *c, struct buf *b)
{
	const struct path *p = c->path;

	buf_addf(b, "version=%s\naead=%s\n", HARMONY_VERSION, c->aead.ops->name);
	for (unsigned i = 0; i < CRYPTO_AEAD_BACKENDS; i++)
		buf_addf(b, "aead_ns_%s=%u\n", crypto_aead_all[i]->name, c->aead.ns[i]);
	add(b, "landlock", c->landlock);
	add(b, "mtu", atomic_load(&p->tun->mtu));
	add(b, "queues", p->queues);
	add(b, "tun_vnet", p->tun->vnet);
	add(b, "tun_tso", p->tun->tso);
	add(b, "tun_uso", p->tun->uso);
	add(b, "gso_v4", p->udp->is_open && atomic_load(&p->udp->gso[UDP_V4]));
	add(b, "gso_v6", p->udp->is_open && atomic_load(&p->udp->gso[UDP_V6]));
	add(b, "gro", p->udp->want_gro);
	add(b, "handshake_queue", handshake_depth(p->handshakes));
#define X(name) add(b, #name, SUM(p, name));
	COUNTERS(X)
#undef X
	engine(c, b);
}
