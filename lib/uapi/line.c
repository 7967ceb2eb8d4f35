/*
 * Lines and values of the text format.
 *
 * Every line is copied into the parser's own buffer before it is looked at, so that there is one
 * path for a line in one chunk and for a line in twenty. A line beyond the limit is read to its
 * end and marked; nothing of it is used.
 */
#include "uapi/uapi_priv.h"
#include "base/secret.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define KEY(name, key)                                                                             \
	{                                                                                          \
		name, sizeof(name) - 1, key                                                        \
	}

static const struct {
	const char *name;
	size_t len;
	enum uapi_key key;
} keys[] = {
	/* The most frequent first. */
	KEY("allowed_ip", UAPI_ALLOWED_IP),
	KEY("public_key", UAPI_PUBLIC_KEY),
	KEY("preshared_key", UAPI_PRESHARED_KEY),
	KEY("endpoint", UAPI_ENDPOINT),
	KEY("last_handshake_time_sec", UAPI_HANDSHAKE_SEC),
	KEY("last_handshake_time_nsec", UAPI_HANDSHAKE_NSEC),
	KEY("rx_bytes", UAPI_RX_BYTES),
	KEY("tx_bytes", UAPI_TX_BYTES),
	KEY("persistent_keepalive_interval", UAPI_KEEPALIVE),
	KEY("protocol_version", UAPI_PROTOCOL_VERSION),
	KEY("replace_allowed_ips", UAPI_REPLACE_ALLOWED_IPS),
	KEY("remove", UAPI_REMOVE),
	KEY("update_only", UAPI_UPDATE_ONLY),
	KEY("private_key", UAPI_PRIVATE_KEY),
	KEY("own_public_key", UAPI_OWN_PUBLIC_KEY),
	KEY("listen_port", UAPI_LISTEN_PORT),
	KEY("fwmark", UAPI_FWMARK),
	KEY("replace_peers", UAPI_REPLACE_PEERS),
	KEY("errno", UAPI_ERRNO),
};

bool uapi_line_next(struct uapi_line *l, const char **p, const char *end)
{
	if (l->complete) {
		l->complete = l->too_long = false;
		l->len = 0;
	}
	if (*p == end)
		return false;

	const char *nl = memchr(*p, '\n', (size_t)(end - *p));
	size_t n = (size_t)((nl ? nl : end) - *p);
	if (n > UAPI_LINE_MAX - l->len) {
		l->too_long = true;
		n = UAPI_LINE_MAX - l->len;
	}
	memcpy(l->text + l->len, *p, n);
	l->len += n;
	l->text[l->len] = '\0';
	*p = nl ? nl + 1 : end;
	if (!nl)
		return false;
	l->complete = true;
	l->number++;
	return true;
}

void uapi_line_wipe(struct uapi_line *l)
{
	mem_wipe(l, sizeof(*l));
}

int uapi_line_split(struct uapi_line *l, struct uapi_pair *ret)
{
	char *eq = l->too_long || memchr(l->text, 0, l->len) ? NULL : strchr(l->text, '=');

	if (!eq)
		return -EINVAL;
	*eq = '\0';
	ret->key = UAPI_UNKNOWN;
	ret->name = l->text;
	ret->value = eq + 1;
	ret->len = l->len - (size_t)(ret->value - l->text);
	size_t name_len = (size_t)(eq - l->text);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (keys[i].len == name_len && memcmp(keys[i].name, l->text, name_len) == 0) {
			ret->key = keys[i].key;
			break;
		}
	}
	return 0;
}

int uapi_value_u64(const struct uapi_pair *v, uint64_t max, uint64_t *ret)
{
	return str_to_u64(v->value, v->len, 0, max, ret) < 0 ? -EINVAL : 0;
}

int uapi_value_key(const struct uapi_pair *v, struct key *ret)
{
	return key_from_hex(v->value, ret);
}

int uapi_value_secret(const struct uapi_pair *v, struct key **slot)
{
	/* The usual value of a peer's preshared key: no slot is taken for it. */
	if (key_hex_is_zero(v->value)) {
		secret_free(mem_steal(slot));
		return 0;
	}

	_cleanup_secret_ struct key *k = secret_new();
	if (!k)
		return -ENOMEM;
	if (key_from_hex(v->value, k) < 0)
		return -EINVAL;
	secret_free(*slot);
	*slot = mem_steal(&k);
	return 0;
}

int uapi_value_prefix(const char *s, size_t len, struct ip_prefix *ret)
{
	struct ip_prefix p;

	if (!memchr(s, '/', len) || ip_prefix_parse(s, len, &p) < 0)
		return -EINVAL;
	*ret = ip_prefix_mask(p);
	return 0;
}

int uapi_value_endpoint(const struct uapi_pair *v, const struct uapi_names *names,
			struct ip_endpoint *ret)
{
	if (ip_endpoint_parse(v->value, v->len, ret) == 0)
		return 0;

	/* "[fe80::1%eth0]:51820": the name becomes the index that it has here and now. */
	const char *percent = memchr(v->value, '%', v->len);
	const char *close = percent ? strstr(percent, "]:") : NULL;
	char name[IF_NAMESIZE], numeric[IP_ENDPOINT_LEN];
	if (!close || (size_t)(close - percent - 1) >= sizeof(name))
		return -EINVAL;
	memcpy(name, percent + 1, (size_t)(close - percent - 1));
	name[close - percent - 1] = '\0';
	if (!names || !str_is_ifname(name))
		return -EINVAL;
	unsigned index = names->ifindex(names->user, name);
	if (index == 0)
		return -EINVAL;
	int n = snprintf(numeric, sizeof(numeric), "%.*s%%%u%s", (int)(percent - v->value),
			 v->value, index, close);
	if (n < 0 || (size_t)n >= sizeof(numeric))
		return -EINVAL;
	return ip_endpoint_parse(numeric, (size_t)n, ret);
}
