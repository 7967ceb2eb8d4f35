/*
 * The door for handshake messages: what is looked at before any Diffie-Hellman, in this order:
 * mac1, load, mac2, the source's rate.
 *
 * Lanes look already as they receive. So what fills control's queue under attack is what has proved
 * its source, and no more of it than each source may send: spoofed messages end here, for less
 * than a hundredth of what they would cost control, and never stand before a good one. What
 * lacks the proof is answered with a cookie at once, from the lane; who asks the first time under
 * load can prove itself with the next message, five seconds later.
 *
 * A lane answers 100,000 messages a second, and a quarter of a second of them at once: about what a
 * socket's buffer can hold. Nothing is kept of who was answered.
 */
#include "wg/wg_priv.h"

#include <string.h>

#define PACE  (NS_PER_SEC / 100000)
#define BURST (NS_PER_SEC / 4)

enum wg_outcome wg_admit_check(struct wg_device *d, const void *message, size_t len,
			       const struct wg_endpoint *from, bool loaded, struct mono now,
			       uint8_t cookie[static 16])
{
	if (!wg_cookie_mac1_ok(d, message, len))
		return WG_HS_MAC1;
	if (!loaded)
		return WG_HS_INITIATION;
	if (!wg_cookie_mac2_ok(d, message, len, &from->remote, now, cookie))
		return WG_HS_COOKIE_SENT;
	return wg_cookie_allow(d, &from->remote, now) ? WG_HS_INITIATION : WG_HS_LIMITED;
}

static bool may_reply(struct wg_lane *l, struct mono now)
{
	if (l->replies_until < now.ns)
		l->replies_until = now.ns;
	if (l->replies_until - now.ns >= BURST)
		return false;
	l->replies_until += PACE;
	return true;
}

/* Unlike control's a lane's nonces are counted: never twice the same is all that they need. */
static void reply(struct wg_lane *l, const void *message, size_t len,
		  const uint8_t cookie[static 16], uint8_t *ret)
{
	struct wg_msg_cookie m;

	memcpy(m.nonce, l->nonce, sizeof(l->nonce));
	memcpy(m.nonce + sizeof(l->nonce), &l->replies, sizeof(l->replies));
	l->replies++;
	wg_cookie_reply(l->d, message, len, cookie, &m);
	memcpy(ret, &m, sizeof(m));
}

static enum wg_admission refuse(struct wg_lane *l, enum wg_outcome o)
{
	_Atomic uint64_t *n = &l->handshakes[o];

	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	return WG_ADMIT_NO;
}

enum wg_admission wg_admit(struct wg_lane *l, const void *datagram, size_t len,
			   const struct wg_endpoint *from, bool under_load, struct mono now,
			   uint8_t *ret_reply)
{
	struct wg_device *d = l->d;
	enum wg_kind kind = wg_kind(datagram, len);
	bool loaded = wg_cookie_loaded(d, under_load, now);
	uint8_t cookie[16];
	enum wg_outcome o;

	if (kind == WG_KIND_BAD || kind == WG_KIND_DATA || ip_bytes(from->remote.addr.family) == 0)
		return refuse(l, WG_HS_BAD);
	if (!atomic_load(&d->up) || !atomic_load(&d->has_key))
		return refuse(l, WG_HS_DOWN);
	if (kind == WG_KIND_COOKIE) /* has no MAC; who sends one knows an index of ours */
		return WG_ADMIT_COOKIE;
	o = wg_admit_check(d, datagram, len, from, loaded, now, cookie);
	if (o == WG_HS_INITIATION)
		return loaded ? WG_ADMIT_PROVED : WG_ADMIT_YES;
	if (o == WG_HS_COOKIE_SENT && (!ret_reply || !may_reply(l, now)))
		o = WG_HS_LIMITED;
	refuse(l, o);
	if (o != WG_HS_COOKIE_SENT)
		return WG_ADMIT_NO;
	reply(l, datagram, len, cookie, ret_reply);
	return WG_ADMIT_REPLY;
}
