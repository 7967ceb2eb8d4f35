/*
 * The dump of a WireGuard device; and what was read, written as a change over as many messages as
 * it takes (the first byte says how large) and read again, is the same.
 */
#include <linux/genetlink.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "netlink/netlink_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_message(const struct nlmsghdr *nlh, void *arg, struct err *e)
{
	return nl_wg_parse(nlh, arg, e);
}

static int read_device(const void *datagram, size_t size, struct wgdev *dev)
{
	struct nl_exchange x = {.answer = {.message = on_message, .arg = dev}, .dump = true};
	struct err e = {0};

	if (size >= sizeof(struct nlmsghdr)) {
		x.seq = ((const struct nlmsghdr *)datagram)->nlmsg_seq;
		x.portid = ((const struct nlmsghdr *)datagram)->nlmsg_pid;
	}
	int r = nl_answer_read(&x, datagram, size, &e);

	if (r < 0 && (e.code != r || e.msg[0] == '\0'))
		abort();
	return r < 0 ? r : wgdev_sort(dev);
}

static void to_change(const struct wgdev *d, struct wgdev_change *c,
		      struct wgdev_peer_change *peers)
{
	*c = (struct wgdev_change){.set_private_key = true, .private_key = d->private_key};
	c->set_listen_port = c->set_fwmark = c->replace_peers = true;
	c->listen_port = d->listen_port;
	c->fwmark = d->fwmark;
	c->peers = peers;
	c->n_peers = d->n_peers;
	for (size_t i = 0; i < d->n_peers; i++) {
		const struct wgdev_peer *p = &d->peers[i];

		peers[i] = (struct wgdev_peer_change){
			.public_key = p->public_key,
			.replace_allowed = true,
			.set_preshared = true,
			.preshared_key = p->preshared_key,
			.set_endpoint = p->endpoint.addr.family != AF_UNSPEC,
			.endpoint = p->endpoint,
			.set_keepalive = true,
			.keepalive = p->keepalive,
			.allowed = p->allowed,
			.n_allowed = p->n_allowed,
		};
	}
}

static bool same_secret(const struct key *a, const struct key *b)
{
	return a && b ? key_eq(a, b) : a == b;
}

static void must_equal(const struct wgdev *a, const struct wgdev *b)
{
	if (a->n_peers != b->n_peers || a->listen_port != b->listen_port ||
	    a->fwmark != b->fwmark || !same_secret(a->private_key, b->private_key))
		abort();
	for (size_t i = 0; i < a->n_peers; i++) {
		const struct wgdev_peer *p = &a->peers[i], *q = &b->peers[i];

		if (!key_eq(&p->public_key, &q->public_key) || p->keepalive != q->keepalive ||
		    !same_secret(p->preshared_key, q->preshared_key) ||
		    ip_endpoint_cmp(&p->endpoint, &q->endpoint) != 0 ||
		    p->n_allowed != q->n_allowed)
			abort();
		for (size_t k = 0; k < p->n_allowed; k++)
			if (ip_prefix_cmp(&p->allowed[k], &q->allowed[k]) != 0)
				abort();
	}
}

/* A peer that stands there twice, not in a row, cannot come from a kernel; which of its fields
 * count is not said. */
static bool twice(const struct wgdev *d)
{
	for (size_t i = 1; i < d->n_peers; i++)
		if (key_eq(&d->peers[i - 1].public_key, &d->peers[i].public_key))
			return true;
	return false;
}

static void round_trip(const struct wgdev *dev, size_t message_size)
{
	_cleanup_wgdev_ struct wgdev again = {0};
	_cleanup_free_ struct wgdev_peer_change *peers = calloc(dev->n_peers + 1, sizeof(*peers));
	_cleanup_free_ void *message = malloc(message_size);
	struct nl_wg_cursor cursor = {0};
	struct wgdev_change change;
	int more;

	if (!peers || !message)
		return;
	to_change(dev, &change, peers);
	do {
		more = nl_wg_build(message, message_size, 30, "wg0", &change, &cursor);
		if (more < 0 || nl_wg_parse(message, &again, NULL) < 0)
			abort();
	} while (more);
	if (wgdev_sort(&again) < 0)
		abort();
	must_equal(dev, &again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_wgdev_ struct wgdev dev = {0};

	if (size == 0 || size > 64 * 1024)
		return 0;
	/* Of its exact size, and aligned as a socket's buffer is. */
	void *datagram = malloc(size);
	if (!datagram)
		return 0;
	memcpy(datagram, data + 1, size - 1);
	if (read_device(datagram, size - 1, &dev) == 0 && !twice(&dev))
		round_trip(&dev, NL_REQUEST_MAX + 4u * data[0]);
	free(datagram);
	return 0;
}
