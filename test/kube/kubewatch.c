/*
 * lib/kube from a command line: prints one line for each callback, so that test/kube/watch.test
 * can see what the library saw. Commands come as lines on standard input.
 *
 *   kubewatch [--kubeconfig FILE | --mount DIR] [--ns NS] [--secret NAME] [--configmap NAME]
 *             [--publish CONFIGMAP --node NODE] [--verbose]
 *
 *   event KIND NAME REASON NOTE…      an Event about secret or configmap NAME (its uid if watched)
 *   publish GENERATION [ERROR…]       the node's entry; "publish -" takes it away
 *   stats                             prints the counters
 *   quit
 *
 * Lines: MS changed secret NAME rv=… KEY=VALUE…   MS deleted secret NAME
 *        MS state secret NAME synced=… connected=… exists=… relists=… error=…
 */
#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "kube/kube.h"
#include "log/log.h"

struct seen {
	enum kube_kind kind;
	const char *name;
	char uid[64];
	struct kube_watch *watch;
};

struct program {
	struct event_base *base;
	struct kube_client *client;
	struct seen seen[2];
	struct kube_events *events;
	struct kube_publish *publish;
	const char *ns;
	struct mono start;
	char line[4096];
	size_t len;
};

static struct program p;

static const char *kind_name(enum kube_kind k)
{
	return k == KUBE_SECRET ? "secret" : "configmap";
}

static void stamp(void)
{
	printf("%lld ", (long long)(mono_since(mono_now(), p.start) / NS_PER_MSEC));
}

static int print_entry(void *arg, const char *key, const char *data, size_t len, struct err *e)
{
	printf(" %s=%.*s", key, len < 60 ? (int)len : 60, data);
	return 0;
}

static void on_changed(void *arg, struct json_object *o)
{
	struct seen *s = arg;
	struct kube_meta m;
	struct err e;

	kube_object_meta(o, &m);
	snprintf(s->uid, sizeof(s->uid), "%s", m.uid);
	stamp();
	printf("changed %s %s rv=%s", kind_name(s->kind), m.name, m.resource_version);
	if (kube_object_each(s->kind, o, print_entry, NULL, &e) < 0)
		printf(" error=%s", e.msg);
	printf("\n");
}

static void on_deleted(void *arg)
{
	struct seen *s = arg;

	stamp();
	printf("deleted %s %s\n", kind_name(s->kind), s->name);
}

static void on_state(void *arg, const struct kube_watch_state *st)
{
	struct seen *s = arg;

	stamp();
	printf("state %s %s synced=%d connected=%d exists=%d relists=%llu error=%s\n",
	       kind_name(s->kind), s->name, st->synced, st->connected, st->exists,
	       (unsigned long long)st->relists, st->error);
}

static void print_stats(void)
{
	struct kube_client_stats c;
	struct kube_events_stats e;
	const char *error;

	kube_client_get_stats(p.client, &c);
	kube_events_get_stats(p.events, &e);
	stamp();
	printf("stats requests=%llu errors=%llu token_reads=%llu ca_changes=%llu "
	       "credential_failures=%llu probe_failures=%llu sent=%llu repeated=%llu dropped=%llu "
	       "failed=%llu event_error=%s\n",
	       (unsigned long long)c.requests, (unsigned long long)c.errors,
	       (unsigned long long)c.token_reads, (unsigned long long)c.ca_changes,
	       (unsigned long long)c.credential_failures, (unsigned long long)c.probe_failures,
	       (unsigned long long)e.sent, (unsigned long long)e.repeated,
	       (unsigned long long)e.dropped, (unsigned long long)e.failed, e.error);
	if (p.publish) {
		bool done = kube_publish_done(p.publish, &error);

		stamp();
		printf("publish done=%d error=%s\n", done, error);
	}
	for (size_t i = 0; i < ARRAY_LEN(p.seen); i++) {
		const struct kube_watch_state *st;

		if (!p.seen[i].watch)
			continue;
		st = kube_watch_get_state(p.seen[i].watch);
		stamp();
		printf("counts %s lists=%llu relists=%llu watches=%llu events=%llu errors=%llu\n",
		       kind_name(p.seen[i].kind), (unsigned long long)st->lists,
		       (unsigned long long)st->relists, (unsigned long long)st->watches,
		       (unsigned long long)st->events, (unsigned long long)st->errors);
	}
}

static char *word(char **rest)
{
	char *w = strsep(rest, " ");

	return w ? w : "";
}

static void do_event(char *rest)
{
	const char *kind = word(&rest), *name = word(&rest), *reason = word(&rest);
	enum kube_kind k = str_eq(kind, "secret") ? KUBE_SECRET : KUBE_CONFIGMAP;
	const struct kube_ref about = {
		.api_version = "v1",
		.kind = k == KUBE_SECRET ? "Secret" : "ConfigMap",
		.ns = p.ns,
		.name = name,
		.uid = p.seen[k].uid,
	};

	kube_event(p.events, &about, str_eq(reason, "Rejected"), reason, "Reconcile",
		   rest ? rest : "");
}

static void do_publish(char *rest)
{
	struct kube_node_key key = {"default",
				    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", NULL};
	const char *generation = word(&rest);
	struct kube_node_state s = {
		.keys = &key, .n_keys = 1, .generation = generation, .error = rest};
	struct err e;

	if (!p.publish || kube_publish_set(p.publish, str_eq(generation, "-") ? NULL : &s, &e) < 0)
		printf("publish failed: %s\n", p.publish ? e.msg : "no --publish");
}

static void do_line(char *line)
{
	const char *command = word(&line);

	if (str_eq(command, "event"))
		do_event(line);
	else if (str_eq(command, "publish"))
		do_publish(line);
	else if (str_eq(command, "stats"))
		print_stats();
	else if (str_eq(command, "quit"))
		event_base_loopbreak(p.base);
	else
		printf("no such command: %s\n", command);
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
	struct event *self = arg;
	ssize_t n = read(fd, p.line + p.len, sizeof(p.line) - p.len - 1);
	char *nl;

	if (n <= 0) {
		event_del(self);
		return;
	}
	p.len += (size_t)n;
	p.line[p.len] = '\0';
	while ((nl = strchr(p.line, '\n'))) {
		*nl = '\0';
		do_line(p.line);
		p.len -= (size_t)(nl + 1 - p.line);
		memmove(p.line, nl + 1, p.len + 1);
	}
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
	event_base_loopbreak(p.base);
}

static int fail(const struct err *e)
{
	printf("error: %s\n", e->msg);
	return 1;
}

static int start_watches(struct err *e)
{
	static const struct kube_watch_ops ops = {on_changed, on_deleted, on_state};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(p.seen); i++) {
		if (p.seen[i].name)
			r = kube_watch_new(p.client, p.seen[i].kind, p.ns, p.seen[i].name, &ops,
					   &p.seen[i], &p.seen[i].watch, e);
	}
	return r;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"kubeconfig", 1, NULL, 'k'},
						{"mount", 1, NULL, 'm'},
						{"ns", 1, NULL, 'n'},
						{"secret", 1, NULL, 's'},
						{"configmap", 1, NULL, 'c'},
						{"publish", 1, NULL, 'p'},
						{"node", 1, NULL, 'N'},
						{"verbose", 0, NULL, 'v'},
						{0}};
	const char *kubeconfig = NULL, *mount = NULL, *publish = NULL, *node = "node-a";
	struct kube_config *config = NULL;
	struct err e = {0};
	int o, r;

	p.start = mono_now();
	p.seen[KUBE_SECRET].kind = KUBE_SECRET;
	p.seen[KUBE_CONFIGMAP].kind = KUBE_CONFIGMAP;
	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 'k': kubeconfig = optarg; break;
		case 'm': mount = optarg; break;
		case 'n': p.ns = optarg; break;
		case 's': p.seen[KUBE_SECRET].name = optarg; break;
		case 'c': p.seen[KUBE_CONFIGMAP].name = optarg; break;
		case 'p': publish = optarg; break;
		case 'N': node = optarg; break;
		case 'v': log_setup(LOG_FORMAT_TEXT, LOG_LEVEL_DEBUG, 2); break;
		default: return 2;
		}
	}
	p.base = event_base_new();
	r = mount ? kube_config_in_cluster(mount, &config, &e)
		  : kube_config_find(kubeconfig, NULL, &config, &e);
	if (!p.base || r < 0 || kube_client_new(p.base, config, &p.client, &e) < 0)
		return fail(&e);
	if (!p.ns)
		p.ns = kube_client_namespace(p.client);
	if (kube_events_new(p.client, node, &p.events, &e) < 0 || start_watches(&e) < 0 ||
	    (publish && kube_publish_new(p.client, p.ns, publish, node, &p.publish, &e) < 0))
		return fail(&e);

	struct event *in = event_new(p.base, 0, EV_READ | EV_PERSIST, on_input, event_self_cbarg());
	struct event *term = evsignal_new(p.base, SIGTERM, on_signal, NULL);
	event_add(in, NULL);
	event_add(term, NULL);
	event_base_dispatch(p.base);

	event_free(in);
	event_free(term);
	kube_watch_free(p.seen[0].watch);
	kube_watch_free(p.seen[1].watch);
	kube_events_free(p.events);
	kube_publish_free(p.publish);
	kube_client_free(p.client);
	event_base_free(p.base);
	libevent_global_shutdown();
	return 0;
}
