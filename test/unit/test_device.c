/* lib/device: changes as boringtun can take them. The backends are tested in test/netns and
 * test/vm. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "base/secret.h"
#include "device/device_priv.h"

static struct key key(uint8_t first)
{
	return (struct key){.b = {first, 1}};
}

static struct ip_prefix prefix(const char *s)
{
	struct ip_prefix p;

	ck_assert_int_eq(ip_prefix_parse(s, strlen(s), &p), 0);
	return p;
}

/* Peers 1 and 2, each with 10.N.0.0/16, a preshared key, a keepalive of N. */
static void two_peers(struct wgdev *d)
{
	wgdev_init(d);
	d->public_key = key(9);
	for (uint8_t i = 1; i <= 2; i++) {
		struct key k = key(i), psk = key(100);
		struct wgdev_peer *p = wgdev_add_peer(d, &k);

		p->preshared_key = secret_copy(&psk);
		p->keepalive = i;
		wgdev_peer_add_allowed(p, prefix(i == 1 ? "10.1.0.0/16" : "10.2.0.0/16"));
	}
	ck_assert_int_eq(wgdev_sort(d), 0);
}

START_TEST(rewrite_leaves_what_is_as_wanted)
{
	struct wgdev d;
	struct ip_prefix same = prefix("10.1.0.0/16"), off = prefix("10.2.0.0/16");
	struct wgdev_peer_change peers[] = {
		{.public_key = key(1),
		 .set_keepalive = true,
		 .keepalive = 1,
		 .replace_allowed = true,
		 .allowed = &same,
		 .n_allowed = 1},
		{.public_key = key(2), .removed = &off, .n_removed = 1},
		{.public_key = key(2), .allowed = &off, .n_allowed = 1},
		{.public_key = key(3), .update_only = true, .set_keepalive = true},
		{.public_key = key(4), .remove = true},
	};
	struct wgdev_change c = {.set_fwmark = true, .fwmark = 7, .peers = peers, .n_peers = 5};
	struct device_rewrite w;

	two_peers(&d);
	ck_assert_int_eq(device_rewrite(&d, &c, &w, NULL), 0);
	ck_assert_uint_eq(w.change.n_peers, 0);
	ck_assert(w.change.set_fwmark && w.change.fwmark == 7);
	device_rewrite_clear(&w);
	wgdev_clear(&d);
}
END_TEST

START_TEST(rewrite_keeps_the_rest_of_a_peer)
{
	struct wgdev d;
	struct ip_prefix more = prefix("10.3.1.1/16"), off = prefix("10.1.0.0/16");
	struct wgdev_peer_change peers[] = {
		{.public_key = key(3), .update_only = false, .set_keepalive = true, .keepalive = 5},
		{.public_key = key(1), .allowed = &more, .n_allowed = 1},
		{.public_key = key(4), .allowed = &off, .n_allowed = 1},
		{.public_key = key(4), .removed = &off, .n_removed = 1},
		{.public_key = key(2), .remove = true},
		{.public_key = key(2), .set_keepalive = true, .keepalive = 8},
	};
	struct wgdev_change c = {.peers = peers, .n_peers = 6};
	struct device_rewrite w;

	two_peers(&d);
	ck_assert_int_eq(device_rewrite(&d, &c, &w, NULL), 0);
	/* add 3; remove and add 1; add 4, without allowed IPs; remove and add 2, which lost all it
	 * had */
	ck_assert_uint_eq(w.change.n_peers, 6);
	const struct wgdev_peer_change *p = w.change.peers;
	ck_assert(!p[0].remove && p[0].public_key.b[0] == 3 && p[0].keepalive == 5);
	ck_assert(p[1].remove && p[1].public_key.b[0] == 1);
	ck_assert(!p[2].remove && p[2].public_key.b[0] == 1);
	ck_assert(p[2].set_preshared && p[2].preshared_key->b[0] == 100);
	ck_assert(p[2].set_keepalive && p[2].keepalive == 1);
	ck_assert_uint_eq(p[2].n_allowed, 2);
	struct ip_prefix masked = prefix("10.3.0.0/16");
	ck_assert_int_eq(ip_prefix_cmp(&p[2].allowed[1], &masked), 0);
	ck_assert(!p[3].remove && p[3].public_key.b[0] == 4);
	ck_assert_uint_eq(p[3].n_allowed, 0);
	ck_assert(p[4].remove && p[4].public_key.b[0] == 2);
	ck_assert(!p[5].remove && !p[5].set_preshared && p[5].keepalive == 8);
	ck_assert_uint_eq(p[5].n_allowed, 0);
	device_rewrite_clear(&w);

	/* With all peers replaced there is nothing to remove and nothing to keep. */
	c.replace_peers = true;
	ck_assert_int_eq(device_rewrite(&d, &c, &w, NULL), 0);
	ck_assert_uint_eq(w.change.n_peers, 4);
	ck_assert(!w.change.peers[1].set_preshared);
	device_rewrite_clear(&w);
	wgdev_clear(&d);
}
END_TEST

START_TEST(rewrite_without_a_key)
{
	struct wgdev d = {0};
	struct wgdev_peer_change p = {.public_key = key(1)};
	struct wgdev_change c = {.peers = &p, .n_peers = 1};
	struct device_rewrite w;
	struct err e;

	ck_assert_int_eq(device_rewrite(&d, &c, &w, &e), -EINVAL);
	c.set_private_key = true;
	c.private_key = &p.public_key;
	ck_assert_int_eq(device_rewrite(&d, &c, &w, &e), 0);
	device_rewrite_clear(&w);
}
END_TEST

START_TEST(names_are_checked)
{
	struct device *d = NULL;
	struct err e;

	ck_assert_int_eq(device_open("../x", DEVICE_UAPI, &d, &e), -EINVAL);
	ck_assert_int_eq(device_create("", DEVICE_UAPI, "/bin/true", &d, &e), -EINVAL);
	ck_assert_ptr_null(d);
	device_free(NULL);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("device", rewrite_leaves_what_is_as_wanted,
			  rewrite_keeps_the_rest_of_a_peer, rewrite_without_a_key,
			  names_are_checked);
}

UNIT_MAIN(suite)
