/* The verdict in words. */
#include "health/health_priv.h"

static void put_where(struct buf *out, const struct health_peer *p)
{
	char text[IP_ENDPOINT_LEN];

	if (p->endpoint.addr.family == AF_UNSPEC)
		buf_adds(out, "no endpoint");
	else
		buf_addf(out, "endpoint %s", ip_endpoint_str(&p->endpoint, text));
}

void health_reason(const struct health *h, const struct health_peer *p, struct mono now,
		   struct buf *out)
{
	char age[TIME_DURATION_LEN], text[IP_ENDPOINT_LEN];

	switch (p->state) {
	case HEALTH_UP: return;
	case HEALTH_NEVER:
		if (!p->present) {
			buf_addf(out, "peer %s: %s", p->name,
				 h->device ? "not in the device" : "the device is not there");
			return;
		}
		buf_addf(out, "peer %s: never a handshake (", p->name);
		put_where(out, p);
		buf_addf(out, ", %s since configured)",
			 time_duration(mono_since(now, p->since), age));
		return;
	case HEALTH_STALLED:
		buf_addf(out, "peer %s: what we send is not answered for %s (", p->name,
			 time_duration(mono_since(now, p->asked_at), age));
		put_where(out, p);
		buf_addf(out, ", handshake %s ago)", time_duration(health_age_ns(p, now), age));
		return;
	case HEALTH_STALE:
		buf_addf(out, "peer %s: no handshake for %s", p->name,
			 time_duration(health_age_ns(p, now), age));
		if (p->answered_from.addr.family != AF_UNSPEC)
			buf_addf(out, ", last answer from %s",
				 ip_endpoint_str(&p->answered_from, text));
		return;
	}
}

static size_t needed(struct health_readiness wanted, size_t required)
{
	if (required == 0)
		return 0;
	switch (wanted.policy) {
	case HEALTH_ALL: return required;
	case HEALTH_ANY: return 1;
	case HEALTH_QUORUM: return wanted.quorum;
	}
	return required;
}

static void put_reasons(const struct health *h, struct health_verdict v, size_t need,
			struct mono now, struct buf *out)
{
	size_t shown = 0;

	if (need != v.required)
		buf_addf(out, "%zu of %zu required peers up, %zu needed\n", v.up, v.required, need);
	for (size_t i = 0; i < h->n && shown < HEALTH_REASONS_MAX; i++) {
		const struct health_peer *p = &h->peers[i];

		if (!p->required || p->state == HEALTH_UP)
			continue;
		health_reason(h, p, now, out);
		buf_addc(out, '\n');
		shown++;
	}
	if (v.required - v.up > shown)
		buf_addf(out, "and %zu more peers\n", v.required - v.up - shown);
}

struct health_verdict health_ready(const struct health *h, struct health_readiness wanted,
				   struct mono now, struct buf *reasons)
{
	struct health_verdict v = {0};

	for (size_t i = 0; i < h->n; i++) {
		v.required += h->peers[i].required;
		v.up += h->peers[i].required && h->peers[i].state == HEALTH_UP;
	}

	size_t need = needed(wanted, v.required);
	v.ready = v.up >= need;
	if (!v.ready && reasons)
		put_reasons(h, v, need, now, reasons);
	return v;
}
