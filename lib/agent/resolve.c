/*
 * Theory of operation. A look-up is two DNS queries (A and AAAA), each of which ends with an
 * answer or an error; when both have ended their addresses are told together. An outer timer
 * bounds the whole: evdns retries by itself, and for longer than a caller wants to wait when a
 * list of servers and a search list multiply.
 *
 * evdns knows TTLs only through its plain queries, which do not look into /etc/hosts; so that
 * file is read here, at each look-up (it is small, and Kubernetes rewrites it in place). What it
 * says has a TTL of a minute.
 */
#include "agent/resolve.h"
#include "base/list.h"
#include "base/str.h"

#include <errno.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LOOKUP_MS 15000u
#define QUERY_MS  3000u
#define HOSTS_TTL 60u
#define ADDRS_MAX 32

struct agent_resolver {
	struct event_base *base;
	struct evdns_base *dns;
	char *hosts, *resolv_conf;
	struct timespec conf_time;
	unsigned lookup_ms, query_ms;
	agent_resolved_fn fn;
	void *arg;
	struct list lookups,
		ending; /* ending: answered, and waiting for their queries' last call */
};

struct lookup;

/* One of the two queries. */
struct query {
	struct lookup *owner;
	sa_family_t family;
	struct evdns_request *request; /* NULL once it has ended */
};

struct lookup {
	struct list node;
	struct agent_resolver *r;
	char *host;
	struct query queries[2];
	unsigned open; /* queries that have not ended */
	struct ip_addr addrs[ADDRS_MAX];
	size_t n;
	uint32_t ttl;
	int error; /* DNS_ERR_… of a query that failed */
	bool ended;
	struct event *deadline;
};

static void lookup_free(struct lookup *l)
{
	list_del(&l->node);
	if (l->deadline)
		event_free(l->deadline);
	free(l->host);
	free(l);
}

/* A cancelled query still calls back, later, from the loop: the look-up lives until then. */
static void lookup_end(struct lookup *l)
{
	list_del(&l->node);
	if (l->open == 0) {
		lookup_free(l);
		return;
	}
	l->ended = true;
	list_add(&l->r->ending, &l->node);
	for (size_t i = 0; i < ARRAY_LEN(l->queries); i++)
		if (l->queries[i].request)
			evdns_cancel_request(l->r->dns, l->queries[i].request);
}

/* IPv4 first, whichever query was answered first: the same answers always give the same list. */
static size_t by_family(const struct lookup *l, struct ip_addr *ret)
{
	static const sa_family_t order[] = {AF_INET, AF_INET6};
	size_t n = 0;

	for (size_t f = 0; f < ARRAY_LEN(order); f++)
		for (size_t i = 0; i < l->n; i++)
			if (l->addrs[i].family == order[f])
				ret[n++] = l->addrs[i];
	return n;
}

/* From the deadline's event only, so always from the loop and never from inside a query. */
static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct lookup *l = arg;
	struct agent_resolver *r = l->r;
	_cleanup_free_ char *host = mem_steal(&l->host);
	struct ip_addr addrs[ADDRS_MAX];
	size_t n = by_family(l, addrs);
	uint32_t ttl = l->ttl;
	const char *error = l->open    ? "no answer from the name servers"
			    : l->error ? evdns_err_to_string(l->error)
				       : "the name has no address";

	lookup_end(l);
	r->fn(r->arg, host, addrs, n, ttl, n ? NULL : error);
}

static void finish_soon(struct lookup *l)
{
	evtimer_add(l->deadline, &(struct timeval){0});
}

static void add_addr(struct lookup *l, sa_family_t family, const void *bytes)
{
	if (l->n == ADDRS_MAX)
		return;
	l->addrs[l->n] = (struct ip_addr){.family = family};
	memcpy(l->addrs[l->n++].b, bytes, ip_bytes(family));
}

static void on_answer(int result, char type, int count, int ttl, void *addresses, void *arg)
{
	struct query *q = arg;
	struct lookup *l = q->owner;

	q->request = NULL;
	l->open--;
	if (l->ended) {
		if (l->open == 0)
			lookup_free(l);
		return;
	}
	if (result != DNS_ERR_NONE) {
		if (result != DNS_ERR_NODATA)
			l->error = result;
	} else if (type == DNS_IPv4_A || type == DNS_IPv6_AAAA) {
		for (int i = 0; i < count; i++)
			add_addr(l, q->family, (char *)addresses + (size_t)i * ip_bytes(q->family));
		if (ttl >= 0 && (uint32_t)ttl < l->ttl)
			l->ttl = (uint32_t)ttl;
	}
	if (l->open == 0)
		finish_soon(l);
}

/* Lines "ADDRESS NAME…"; names compare without case. */
static void read_hosts(struct lookup *l, const char *path)
{
	FILE *f = fopen(path, "re");
	char line[1024];

	while (f && fgets(line, sizeof(line), f)) {
		char *rest = line, *word;
		struct ip_addr a;

		line[strcspn(line, "#\n")] = '\0';
		word = strtok_r(line, " \t", &rest);
		if (!word || ip_addr_parse(word, strlen(word), &a) < 0)
			continue;
		while ((word = strtok_r(NULL, " \t", &rest))) {
			if (strcasecmp(word, l->host) == 0) {
				add_addr(l, a.family, a.b);
				break;
			}
		}
	}
	if (f)
		fclose(f);
}

static void reread_conf(struct agent_resolver *r)
{
	struct stat st;

	if (stat(r->resolv_conf, &st) < 0 || (st.st_mtim.tv_sec == r->conf_time.tv_sec &&
					      st.st_mtim.tv_nsec == r->conf_time.tv_nsec))
		return;
	r->conf_time = st.st_mtim;
	evdns_base_clear_nameservers_and_suspend(r->dns);
	evdns_base_search_clear(r->dns);
	evdns_base_resolv_conf_parse(r->dns, DNS_OPTIONS_ALL & ~DNS_OPTION_HOSTSFILE,
				     r->resolv_conf);
	/* Short enough that a second server is asked within the deadline: servers take turns over
	 * all queries, so that one query may meet the same dead one twice. */
	char seconds[24];
	snprintf(seconds, sizeof(seconds), "%u.%03u", r->query_ms / 1000, r->query_ms % 1000);
	evdns_base_set_option(r->dns, "timeout:", seconds);
	evdns_base_set_option(r->dns, "attempts:", "4");
	evdns_base_resume(r->dns);
}

static void start_queries(struct lookup *l)
{
	struct agent_resolver *r = l->r;

	reread_conf(r);
	l->open = 2;
	l->queries[0] = (struct query){.owner = l, .family = AF_INET};
	l->queries[1] = (struct query){.owner = l, .family = AF_INET6};
	struct query *q4 = &l->queries[0], *q6 = &l->queries[1];
	q4->request = evdns_base_resolve_ipv4(r->dns, l->host, 0, on_answer, q4);
	q6->request = evdns_base_resolve_ipv6(r->dns, l->host, 0, on_answer, q6);
	for (size_t i = 0; i < ARRAY_LEN(l->queries); i++) {
		if (!l->queries[i].request) {
			l->open--;
			l->error = DNS_ERR_UNKNOWN;
		}
	}
	if (l->open == 0)
		finish_soon(l);
}

void agent_resolver_lookup(struct agent_resolver *r, const char *host)
{
	list_for_each (l, &r->lookups, struct lookup, node)
		if (l->host && str_eq(l->host, host))
			return;

	struct lookup *l = calloc(1, sizeof(*l));
	if (!l)
		return; /* the caller asks again after a while */
	l->r = r;
	l->ttl = UINT32_MAX;
	list_init(&l->node);
	l->host = strdup(host);
	l->deadline = evtimer_new(r->base, on_deadline, l);
	if (!l->host || !l->deadline) {
		lookup_free(l);
		return;
	}
	list_add(&r->lookups, &l->node);
	read_hosts(l, r->hosts);
	if (l->n) {
		l->ttl = HOSTS_TTL;
		finish_soon(l);
		return;
	}
	struct timeval bound = {r->lookup_ms / 1000, r->lookup_ms % 1000 * 1000};
	evtimer_add(l->deadline, &bound);
	start_queries(l);
}

int agent_resolver_new(struct event_base *base, const char *hosts, const char *resolv_conf,
		       agent_resolved_fn fn, void *arg, struct agent_resolver **ret, struct err *e)
{
	_cleanup_(agent_resolver_free_p) struct agent_resolver *r = calloc(1, sizeof(*r));

	if (!r)
		return err_set(e, -ENOMEM, "out of memory");
	list_init(&r->lookups);
	list_init(&r->ending);
	r->base = base;
	r->fn = fn;
	r->arg = arg;
	r->lookup_ms = LOOKUP_MS;
	r->query_ms = QUERY_MS;
	r->hosts = strdup(hosts ? hosts : "/etc/hosts");
	r->resolv_conf = strdup(resolv_conf ? resolv_conf : "/etc/resolv.conf");
	r->dns = evdns_base_new(base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (!r->hosts || !r->resolv_conf || !r->dns)
		return err_set(e, -ENOMEM, "out of memory");
	*ret = mem_steal(&r);
	return 0;
}

void agent_resolver_set_limits(struct agent_resolver *r, unsigned lookup_ms, unsigned query_ms)
{
	r->lookup_ms = lookup_ms;
	r->query_ms = query_ms;
}

void agent_resolver_free(struct agent_resolver *r)
{
	if (!r)
		return;
	/* First, so that no query calls back any more. */
	if (r->dns)
		evdns_base_free(r->dns, 0);
	list_for_each_safe (l, &r->lookups, struct lookup, node)
		lookup_free(l);
	list_for_each_safe (l, &r->ending, struct lookup, node)
		lookup_free(l);
	free(r->hosts);
	free(r->resolv_conf);
	free(r);
}
