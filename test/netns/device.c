/*
 * lib/device from the command line, for test/netns/device.test and test/vm/device.test.
 *
 *     device probe                   kernel=yes|no, userspace=PATH, why=…
 *     device create KIND IF [PROGRAM]
 *     device open KIND IF            name=BACKEND pid=PID
 *     device get KIND IF             as `wg show IF dump`, sorted
 *     device set KIND IF             a UAPI set request on standard input
 *     device delete KIND IF
 *
 * KIND: kernel or uapi. A failure prints "error=ERRNO-NAME message", and on standard error
 * "took=MILLISECONDS" (without the start of this program), and ends with 1.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/time.h"
#include "device/device.h"
#include "uapi/uapi.h"

static struct err e;
static struct mono begun;

static int failed(int r)
{
	printf("error=%s %s\n", strerrorname_np(-r), e.msg);
	fprintf(stderr, "took=%" PRId64 "\n", mono_since(mono_now(), begun) / NS_PER_MSEC);
	return 1;
}

static const char *secret_text(const struct key *k, char out[static KEY_BASE64])
{
	return k ? key_to_base64(k, out) : "(none)";
}

static void print_peer(const struct wgdev_peer *p)
{
	char pub[KEY_BASE64], psk[KEY_BASE64], ep[IP_ENDPOINT_LEN], ip[IP_PREFIX_LEN];

	printf("%s\t%s\t%s\t", key_to_base64(&p->public_key, pub),
	       secret_text(p->preshared_key, psk),
	       p->endpoint.addr.family ? ip_endpoint_str(&p->endpoint, ep) : "(none)");
	for (size_t i = 0; i < p->n_allowed; i++)
		printf("%s%s", i ? "," : "", ip_prefix_str(&p->allowed[i], ip));
	printf("%s\t%" PRId64 "\t%" PRIu64 "\t%" PRIu64 "\t", p->n_allowed ? "" : "(none)",
	       p->last_handshake.ns / NS_PER_SEC, p->rx_bytes, p->tx_bytes);
	if (p->keepalive)
		printf("%u\n", p->keepalive);
	else
		printf("off\n");
}

static int do_get(struct device *d)
{
	struct wgdev dev = {0};
	char priv[KEY_BASE64], pub[KEY_BASE64];

	int r = device_get(d, &dev, &e);
	if (r < 0)
		return failed(r);
	printf("%s\t%s\t%u\t", secret_text(dev.private_key, priv),
	       key_is_zero(&dev.public_key) ? "(none)" : key_to_base64(&dev.public_key, pub),
	       dev.listen_port);
	if (dev.fwmark)
		printf("0x%x\n", dev.fwmark);
	else
		printf("off\n");
	for (size_t i = 0; i < dev.n_peers; i++)
		print_peer(&dev.peers[i]);
	wgdev_clear(&dev);
	return 0;
}

static int do_set(struct device *d)
{
	struct uapi_request q;
	char data[4096];
	size_t n, used;
	int done = 0;

	uapi_request_init(&q, NULL);
	while (!done && (n = fread(data, 1, sizeof(data), stdin)) > 0)
		done = uapi_request_feed(&q, data, n, &used);
	int r = !done ? -EPROTO : q.err.code < 0 ? q.err.code : device_set(d, &q.change, &e);
	uapi_request_clear(&q);
	return r < 0 ? failed(r) : 0;
}

static int do_probe(void)
{
	struct device_probe p;

	int r = device_probe(NULL, &p, &e);
	if (r < 0)
		return failed(r);
	printf("kernel=%s\nuserspace=%s\nwhy=%s\n", p.kernel ? "yes" : "no", p.userspace, p.why);
	return 0;
}

int main(int argc, char **argv)
{
	struct device *d = NULL;
	int r;

	if (argc == 2 && str_eq(argv[1], "probe"))
		return do_probe();
	if (argc < 4)
		return 2;
	begun = mono_now();
	enum device_kind kind = str_eq(argv[2], "kernel") ? DEVICE_KERNEL : DEVICE_UAPI;
	if (str_eq(argv[1], "create"))
		r = device_create(argv[3], kind, argv[4], &d, &e);
	else
		r = device_open(argv[3], kind, &d, &e);
	if (r < 0)
		return failed(r);
	r = 0;
	if (str_eq(argv[1], "get"))
		r = do_get(d);
	else if (str_eq(argv[1], "set"))
		r = do_set(d);
	else if (str_eq(argv[1], "delete"))
		r = device_delete(d, &e) < 0 ? failed(e.code) : 0;
	else
		printf("name=%s pid=%d\n", device_backend_name(d), device_pid(d));
	device_free(d);
	return r;
}
