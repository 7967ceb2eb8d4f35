/*
 * What is in a Secret or a ConfigMap (API reference, core/v1: data, binaryData).
 *
 * A Secret's values pass through three places here: the text from the network (wiped by whoever
 * read it), json-c's string objects (kube_object_wipe), and the decoded bytes (one buffer,
 * reserved once, wiped after each entry).
 */
#include <errno.h>
#include <json-c/json_object_iterator.h>
#include <json-c/json_util.h>
#include <string.h>

#include "base/str.h"
#include "kube/kube_priv.h"

const char *kube_kind_resource(enum kube_kind kind)
{
	return kind == KUBE_SECRET ? "secrets" : "configmaps";
}

void kube_object_meta(struct json_object *o, struct kube_meta *ret)
{
	struct json_object *m = json_get(o, "metadata", json_type_object);
	const char *ns = json_get_str(m, "namespace"), *name = json_get_str(m, "name"),
		   *uid = json_get_str(m, "uid"), *rv = json_get_str(m, "resourceVersion");

	*ret = (struct kube_meta){
		.ns = ns ? ns : "",
		.name = name ? name : "",
		.uid = uid ? uid : "",
		.resource_version = rv ? rv : "",
	};
}

static int each_plain(const char *key, struct json_object *v, kube_entry_fn fn, void *arg,
		      struct err *e)
{
	return fn(arg, key, json_object_get_string(v), (size_t)json_object_get_string_len(v), e);
}

static int each_base64(const char *key, struct json_object *v, kube_entry_fn fn, void *arg,
		       struct err *e)
{
	struct buf b = BUF_INIT(0);
	int r = kube_base64(json_object_get_string(v), (size_t)json_object_get_string_len(v), &b);

	if (r == -ENOMEM)
		r = err_sys(e, r, "%s", key);
	else if (r < 0)
		r = err_set(e, r, "the value of key \"%s\" is not base64", key);
	else
		r = fn(arg, key, b.data, b.len, e);
	buf_wipe(&b);
	return r;
}

static int each_of(struct json_object *map, bool base64, kube_entry_fn fn, void *arg, struct err *e)
{
	int r = 0;

	if (!map)
		return 0;
	struct json_object_iterator it = json_object_iter_begin(map),
				    end = json_object_iter_end(map);
	for (; r == 0 && !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
		const char *key = json_object_iter_peek_name(&it);
		struct json_object *v = json_object_iter_peek_value(&it);

		if (!json_object_is_type(v, json_type_string))
			return err_set(e, -EINVAL, "the value of key \"%s\" is a %s, not a string",
				       key, json_type_to_name(json_object_get_type(v)));
		r = (base64 ? each_base64 : each_plain)(key, v, fn, arg, e);
	}
	return r < 0 ? r : 0;
}

int kube_object_each(enum kube_kind kind, struct json_object *o, kube_entry_fn fn, void *arg,
		     struct err *e)
{
	int r = each_of(json_get(o, "data", json_type_object), kind == KUBE_SECRET, fn, arg, e);

	if (r == 0 && kind == KUBE_CONFIGMAP)
		r = each_of(json_get(o, "binaryData", json_type_object), true, fn, arg, e);
	return r;
}

bool kube_key_is_document(const char *key)
{
	return str_ends(key, ".toml") || str_ends(key, ".yaml") || str_ends(key, ".yml") ||
	       str_ends(key, ".json");
}

void kube_object_wipe(struct json_object *o)
{
	static const char *const maps[] = {"data", "stringData"};

	for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
		struct json_object *map = json_get(o, maps[i], json_type_object);

		if (!map)
			continue;
		struct json_object_iterator it = json_object_iter_begin(map),
					    end = json_object_iter_end(map);
		for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
			struct json_object *v = json_object_iter_peek_value(&it);

			/* json-c hands out its own, writable storage as const. */
			if (json_object_is_type(v, json_type_string))
				mem_wipe((char *)(uintptr_t)json_object_get_string(v),
					 (size_t)json_object_get_string_len(v));
		}
	}
}
