/*
 * What a pod may ask for by annotation: one table of names, checks, and texts of what is accepted.
 * A name under our prefix that is not in the table is refused too: a misspelt annotation that is
 * passed over would give the pod a tunnel other than the wanted one.
 */
#include "inject/inject_priv.h"

#include <ctype.h>
#include <errno.h>
#include <json-c/linkhash.h>
#include <string.h>

#include "base/str.h"

/* Bytes that a message has room for, beside the rest. */
#define NAME_MAX_LEN  253
#define IMAGE_MAX_LEN 384

static bool is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

/* RFC 1123 subdomain, as names of ConfigMaps and Secrets are. */
static bool is_object_name(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > NAME_MAX_LEN || !is_lower_alnum(s[0]) || !is_lower_alnum(s[n - 1]))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (is_lower_alnum(s[i]))
			continue;
		if (s[i] != '-' && s[i] != '.')
			return false;
		/* Each label begins and ends with a letter or digit. */
		if (s[i] == '.' && (!is_lower_alnum(s[i - 1]) || !is_lower_alnum(s[i + 1])))
			return false;
	}
	return true;
}

static bool is_network_name(const char *s)
{
	size_t n = strlen(s);

	return n > 0 && n <= 63 && is_alnum(s[0]) &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == n;
}

/* Loosely: what is not an image is told by the kubelet; here only what could be something else
 * altogether is kept out. */
static bool is_image(const char *s)
{
	size_t n = strlen(s);

	return n > 0 && n <= IMAGE_MAX_LEN && is_alnum(s[0]) && is_alnum(s[n - 1]) &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/:@") ==
		       n;
}

static bool is_log_level(const char *s)
{
	return str_eq(s, "debug") || str_eq(s, "info") || str_eq(s, "warn") || str_eq(s, "error");
}

static bool is_readiness(const char *s)
{
	return str_eq(s, "tunnel") || str_eq(s, "start") || str_eq(s, "off");
}

static bool is_port(const char *s)
{
	uint64_t port;

	return s[0] != '0' && str_to_u64(s, strlen(s), 1, 65535, &port) == 0;
}

static bool is_bool(const char *s)
{
	return str_eq(s, "true") || str_eq(s, "false");
}

/* Digits with an optional fraction, and the factor of a suffix. */
static bool parse_quantity(const char *s, double *ret)
{
	static const struct {
		const char *suffix;
		double factor;
	} suffixes[] = {{"", 1},
			{"m", 1e-3},
			{"k", 1e3},
			{"M", 1e6},
			{"G", 1e9},
			{"T", 1e12},
			{"Ki", 1024},
			{"Mi", 1024.0 * 1024},
			{"Gi", 1024.0 * 1024 * 1024},
			{"Ti", 0x1p40}};
	double v = 0, unit = 1;
	size_t n = 0;

	for (; isdigit((unsigned char)s[n]) && n < 16; n++)
		v = v * 10 + (s[n] - '0');
	if (n == 0)
		return false;
	if (s[n] == '.') {
		size_t dot = n++;

		for (; isdigit((unsigned char)s[n]) && n < dot + 4; n++)
			v += (s[n] - '0') * (unit /= 10);
		if (n == dot + 1)
			return false;
	}
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
		if (str_eq(s + n, suffixes[i].suffix)) {
			*ret = v * suffixes[i].factor;
			return v > 0;
		}
	return false;
}

static bool is_quantity(const char *s)
{
	double v;

	return parse_quantity(s, &v);
}

static bool is_cpu(const char *s)
{
	size_t n = strlen(s);

	return is_quantity(s) && (isdigit((unsigned char)s[n - 1]) || s[n - 1] == 'm');
}

static bool is_memory(const char *s)
{
	return is_quantity(s) && s[strlen(s) - 1] != 'm';
}

#define ROW_OPTION(member, name, option, check, accepted)                                          \
	{                                                                                          \
		name, option, offsetof(struct inject_choice, member), check, accepted              \
	}
#define ROW(member, name, check, accepted) ROW_OPTION(member, name, name, check, accepted)

static const struct row {
	const char *name;   /* of the annotation, without the prefix */
	const char *option; /* of the injector, by which the default is set */
	size_t offset;
	bool (*check)(const char *s);
	const char *accepted;
} rows[] = {
	ROW(config, "config", is_object_name, "the name of a ConfigMap in the pod's namespace"),
	ROW(secret, "secret", is_object_name, "the name of a Secret in the pod's namespace"),
	ROW(network, "network", is_network_name,
	    "the name of a network: at most 63 letters, digits, '_', '.' and '-'"),
	ROW(image, "image", is_image, "an image reference such as \"harmony-agent:1.2.3\""),
	ROW_OPTION(log_level, "log-level", "sidecar-log-level", is_log_level,
		   "debug, info, warn, error"),
	ROW(readiness, "readiness", is_readiness, "tunnel, start, off"),
	ROW(port, "port", is_port, "1 to 65535"),
	ROW(tun, "tun", is_bool, "true, false"),
	ROW(guard, "guard", is_bool, "true, false"),
	ROW(cpu_request, "cpu-request", is_cpu, "a quantity such as \"10m\" or \"0.5\""),
	ROW(cpu_limit, "cpu-limit", is_cpu, "a quantity such as \"500m\" or \"1\""),
	ROW(memory_request, "memory-request", is_memory, "a quantity such as \"16Mi\""),
	ROW(memory_limit, "memory-limit", is_memory, "a quantity such as \"128Mi\""),
};

static const char **member(struct inject_choice *c, const struct row *r)
{
	return (const char **)((char *)c + r->offset);
}

static const struct row *find_row(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (str_eq(rows[i].name, name))
			return &rows[i];
	return NULL;
}

static int unknown(const char *name, struct err *e)
{
	const char *names[ARRAY_LEN(rows) + 2] = {"inject"}, *near;
	char shown[STR_SHOW_LEN];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		names[i + 1] = rows[i].name;
	near = str_nearest(name, names);
	str_show(name, strlen(name), shown);
	if (near)
		return err_set(e, -EINVAL,
			       "annotation " INJECT_PREFIX
			       "%s: no such annotation, did you mean " INJECT_PREFIX "%s?",
			       shown, near);
	return err_set(e, -EINVAL,
		       "annotation " INJECT_PREFIX
		       "%s: no such annotation, accepted are " INJECT_PREFIX
		       "config, secret, network, image, log-level, readiness, port, "
		       "tun, guard, cpu-request, cpu-limit, memory-request, memory-limit, inject",
		       shown);
}

static int take(const char *key, struct json_object *value, struct inject_choice *c, struct err *e)
{
	const char *name = key + strlen(INJECT_PREFIX), *text;
	const struct row *r = find_row(name);
	char shown[STR_SHOW_LEN];

	if (str_eq(key, INJECT_KEY) || str_eq(key, INJECT_DONE))
		return 0;
	if (!r)
		return unknown(name, e);
	if (!json_object_is_type(value, json_type_string))
		return err_set(e, -EINVAL, "annotation %s: found something that is no text", key);
	text = json_object_get_string(value);
	if (!r->check(text))
		return err_set(e, -EINVAL, "annotation %s: found \"%s\", accepted: %s", key,
			       str_show(text, strlen(text), shown), r->accepted);
	*member(c, r) = text;
	return 0;
}

/* A request and its limit. What the pod has not said itself is the injector's default. */
struct pair {
	const char *what;
	const char *request, *limit;
	bool own_request, own_limit;
};

static int above_limit(const struct pair *p, struct err *e)
{
	if (!p->own_request)
		return err_set(e, -EINVAL,
			       "annotation " INJECT_PREFIX "%s-limit: found \"%s\", accepted: at "
			       "least the request, %s by default",
			       p->what, p->limit, p->request);
	if (!p->own_limit)
		return err_set(e, -EINVAL,
			       "annotation " INJECT_PREFIX "%s-request: found \"%s\", accepted: at "
			       "most the limit, %s by default",
			       p->what, p->request, p->limit);
	return err_set(e, -EINVAL,
		       "annotation " INJECT_PREFIX
		       "%s-request: found \"%s\", accepted: at most " INJECT_PREFIX
		       "%s-limit, which is \"%s\"",
		       p->what, p->request, p->what, p->limit);
}

/* What the API server would refuse too, but naming a field that the user has not written. The
 * choice is a pod's over these defaults, or, with NULL, the defaults themselves: options. */
static int check_limits(const struct inject_choice *c, const struct inject_choice *defaults,
			struct err *e)
{
	const struct inject_choice none = {0}, *d = defaults ? defaults : &none;
	const struct pair pairs[] = {
		{"cpu", c->cpu_request, c->cpu_limit, c->cpu_request != d->cpu_request,
		 c->cpu_limit != d->cpu_limit},
		{"memory", c->memory_request, c->memory_limit,
		 c->memory_request != d->memory_request, c->memory_limit != d->memory_limit},
	};

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		const struct pair *p = &pairs[i];
		double request, limit;

		if (!p->request || !p->limit || !parse_quantity(p->request, &request) ||
		    !parse_quantity(p->limit, &limit) || request <= limit)
			continue;
		if (defaults)
			return above_limit(p, e);
		return err_set(e, -EINVAL,
			       "--%s-request: found '%s', accepted: at most --%s-limit, which is "
			       "'%s'",
			       p->what, p->request, p->what, p->limit);
	}
	return 0;
}

int inject_read_annotations(struct json_object *annotations, const struct inject_choice *defaults,
			    struct inject_choice *ret, struct err *e)
{
	struct inject_choice c = *defaults;
	bool named = false;
	int r;

	if (annotations) {
		json_object_object_foreach(annotations, key, value)
		{
			if (!str_starts(key, INJECT_PREFIX))
				continue;
			if ((r = take(key, value, &c, e)) < 0)
				return r;
			named |= str_eq(key, INJECT_PREFIX "config") ||
				 str_eq(key, INJECT_PREFIX "secret");
		}
	}
	/* A pod that names one of the two means that one, and not the default other beside it. */
	if (named && c.config == defaults->config)
		c.config = NULL;
	if (named && c.secret == defaults->secret)
		c.secret = NULL;
	if (!c.config && !c.secret)
		return err_set(e, -EINVAL,
			       "annotation " INJECT_PREFIX "config: found none, accepted: the name "
			       "of a ConfigMap (or by " INJECT_PREFIX "secret, of a Secret) that "
			       "says which network the pod wants");
	if ((r = check_limits(&c, defaults, e)) < 0)
		return r;
	*ret = c;
	return 0;
}

int inject_check_defaults(const struct inject_choice *c, struct err *e)
{
	struct inject_choice copy = *c;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *text = *member(&copy, &rows[i]);
		char shown[STR_SHOW_LEN];

		if (text && !rows[i].check(text))
			return err_set(e, -EINVAL, "--%s: found '%s', accepted: %s", rows[i].option,
				       str_show(text, strlen(text), shown), rows[i].accepted);
	}
	return check_limits(c, NULL, e);
}
