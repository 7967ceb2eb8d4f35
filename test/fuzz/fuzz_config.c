/* config_read: the same bytes as TOML, as YAML and as JSON, alone and beside each other, for no
 * node and for node "n". What is accepted is sorted and within its bounds; what is refused says
 * why; nothing is both. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "config/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_peers(const struct config_network *n)
{
	for (size_t i = 0; i < n->n_peers; i++) {
		const struct config_peer *p = &n->peers[i];

		require(p->name && !key_is_zero(&p->public_key));
		require(i == 0 || key_cmp(&n->peers[i - 1].public_key, &p->public_key) < 0);
		require(!!p->preshared.path + !!p->preshared.env + !!p->preshared.secret <= 1);
		require(p->endpoint.set == (p->endpoint.port != 0));
		require(p->endpoint.set || !p->endpoint.host);
		for (size_t j = 0; j < p->n_allowed; j++) {
			struct ip_prefix masked = ip_prefix_mask(p->allowed[j]);

			require(ip_prefix_cmp(&masked, &p->allowed[j]) == 0);
			require(j == 0 || ip_prefix_cmp(&p->allowed[j - 1], &p->allowed[j]) < 0);
		}
	}
}

static void check(const struct config *c)
{
	for (size_t i = 0; i < c->n_networks; i++) {
		const struct config_network *n = &c->networks[i];

		require(i == 0 || strcmp(c->networks[i - 1].name, n->name) < 0);
		require(str_is_ifname(n->interface));
		require(n->mtu == 0 || (n->mtu >= 576 && n->mtu <= 65535));
		require(n->stale_after_secs > 0 && n->table != 255);
		require(!!n->private_key.path + !!n->private_key.env + !!n->private_key.secret <=
			1);
		require(n->readiness != CONFIG_READY_QUORUM || n->quorum <= n->n_peers);
		check_peers(n);
	}
}

static void run(const struct config_doc *docs, size_t n, const char *node)
{
	_cleanup_config_diags_ struct config_diags diags = {0};
	_cleanup_config_ struct config *c = NULL;
	_cleanup_buf_ struct buf b = BUF_INIT(0);
	int r = config_read(docs, n, node, &c, &diags);

	require(r == 0 || r == -EINVAL);
	require((r == 0) == (c != NULL) && (r == 0) == (diags.n_errors == 0));
	require(diags.n <= CONFIG_MAX_DIAGS);
	config_diags_write(&diags, &b);
	for (size_t i = 0; i < diags.n; i++)
		require(str_is_utf8(diags.items[i].text, strlen(diags.items[i].text)));
	if (c)
		check(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct config_doc docs[] = {{"t", CONFIG_TOML, text, size, false},
				    {"y", CONFIG_YAML, text, size, false},
				    {"j", CONFIG_JSON, text, size, false}};

	for (size_t i = 0; i < ARRAY_LEN(docs); i++) {
		run(&docs[i], 1, NULL);
		run(&docs[i], 1, "n");
	}
	run(docs, ARRAY_LEN(docs), "n");
	return 0;
}
