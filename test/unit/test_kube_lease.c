/*
 * lib/kube/lease.c against an API server of our own: what is asked, when a lease is taken, kept,
 * lost and given back. Its shortest duration, a second, makes one look every fifth of it. Nothing
 * here depends on being in time: a limit is either a lower one, or one in requests.
 */
#include "unit.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/time.h"
#include "kubeapi.h"

#define PATH "/apis/coordination.k8s.io/v1/namespaces/vpn/leases/ca"

struct world {
	struct kubeapi api;
	struct kube_lease *lease;
	bool held;
	unsigned changes;
	bool free_when_told;

	/* The Lease, and how the server is to behave. */
	char holder[32];
	unsigned version, transitions;
	bool renewing; /* its holder does, between any two looks */
	bool stolen;   /* by another one, before the next patch comes */
	int get_fails, patch_fails;

	unsigned gets, patches, patches_failed;
	struct mono renewed_at, patched_at; /* renewed: by another one */
	/* The last patch. */
	unsigned patch_version;
	int64_t patch_transitions, patch_duration;
	bool patch_acquires;
	char patch_holder[32];
};

static void answer_lease(struct world *w, struct http_request *req)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{\"kind\":\"Lease\",\"metadata\":{\"name\":\"ca\",\"namespace\":\"vpn\","
		 "\"resourceVersion\":\"%u\"},\"spec\":{\"holderIdentity\":\"%s\","
		 "\"leaseDurationSeconds\":1,\"leaseTransitions\":%u}}",
		 w->version, w->holder, w->transitions);
	http_reply(req, 200, "application/json", text);
}

static void read_patch(struct world *w, struct http_request *req)
{
	_cleanup_json_ struct json_object *o = kubeapi_body(req);
	struct json_object *spec = json_get(o, "spec", json_type_object);
	const char *version =
		json_get_str(json_get(o, "metadata", json_type_object), "resourceVersion");
	const char *acquired = json_get_str(spec, "acquireTime");

	ck_assert_str_eq(http_request_header(req, "Content-Type"), "application/merge-patch+json");
	ck_assert_ptr_nonnull(version);
	w->patch_version = (unsigned)strtoul(version, NULL, 10);
	w->patch_transitions = json_get_int(spec, "leaseTransitions", -1);
	w->patch_duration = json_get_int(spec, "leaseDurationSeconds", -1);
	/* metav1.MicroTime, such as 2026-01-02T03:04:05.678901Z */
	ck_assert_uint_eq(strlen(json_get_str(spec, "renewTime")), 27);
	w->patch_acquires = acquired != NULL;
	ck_assert(!acquired || strlen(acquired) == 27);
	snprintf(w->patch_holder, sizeof(w->patch_holder), "%s",
		 json_get_str(spec, "holderIdentity"));
}

static void on_request(struct http_request *req, void *arg)
{
	struct world *w = arg;

	if (http_request_method(req) == HTTP_GET) {
		w->gets++;
		if (w->get_fails) {
			kubeapi_fail(req, w->get_fails);
			return;
		}
		if (w->renewing) {
			w->version++;
			w->renewed_at = mono_now();
		}
		answer_lease(w, req);
		return;
	}
	w->patches++;
	w->patched_at = mono_now();
	read_patch(w, req);
	if (w->stolen) {
		w->stolen = false;
		w->renewing = true;
		strcpy(w->holder, "other");
		w->version++;
	}
	if (w->patch_fails || w->patch_version != w->version) {
		w->patches_failed++;
		kubeapi_fail(req, w->patch_fails ? w->patch_fails : 409);
		return;
	}
	strcpy(w->holder, w->patch_holder);
	if (w->patch_transitions >= 0)
		w->transitions = (unsigned)w->patch_transitions;
	w->version++;
	answer_lease(w, req);
}

static void on_changed(void *arg, bool held)
{
	struct world *w = arg;

	ck_assert_int_ne(held, w->held);
	w->held = held;
	w->changes++;
	if (w->free_when_told)
		kube_lease_free(mem_steal(&w->lease));
}

static void begin(struct world *w)
{
	struct err e;

	w->version = 5;
	w->transitions = 3;
	kubeapi_start(&w->api);
	ck_assert_int_eq(
		http_server_route(w->api.server, PATH, HTTP_GET | HTTP_PATCH, on_request, w), 0);
	ck_assert_int_eq(
		kube_lease_new(w->api.client, NULL, "ca", "we", 1, on_changed, w, &w->lease, &e),
		0);
}

static void end(struct world *w)
{
	kube_lease_free(w->lease);
	kubeapi_end(&w->api);
}

/* held and told alike */
static bool is_held(void *arg)
{
	struct world *w = arg;

	ck_assert_int_eq(kube_lease_held(w->lease), w->held);
	return w->held;
}
static bool is_not_held(void *arg)
{
	return !is_held(arg);
}
static bool is_renewed(void *arg)
{
	return ((struct world *)arg)->patches >= 3;
}
static bool has_looked_often(void *arg)
{
	return ((struct world *)arg)->gets >= 6;
}
static bool has_looked_again(void *arg)
{
	return ((struct world *)arg)->gets >= 2;
}
static bool has_failed(void *arg)
{
	return *kube_lease_error(((struct world *)arg)->lease) != '\0';
}
static bool is_given_back(void *arg)
{
	return ((struct world *)arg)->holder[0] == '\0';
}

START_TEST(free_one_is_taken_and_renewed)
{
	struct world w = {0};

	begin(&w);
	ck_assert(!kube_lease_held(w.lease)); /* nothing is told from inside the call */
	ck_assert(kubeapi_until(&w.api, is_held, &w));
	ck_assert_uint_eq(w.patches, 1);
	ck_assert_uint_eq(w.patch_version, 5);
	ck_assert(w.patch_acquires && w.patch_transitions == 4 && w.patch_duration == 1);
	ck_assert_str_eq(w.patch_holder, "we");
	/* Renewed at the version that its own patch made, without a look. */
	ck_assert(kubeapi_until(&w.api, is_renewed, &w));
	if (w.changes == 1) {
		ck_assert_uint_eq(w.gets, 1);
		ck_assert(!w.patch_acquires && w.patch_transitions == -1);
	}
	ck_assert_uint_eq(w.patches_failed, 0);
	ck_assert_str_eq(kube_lease_error(w.lease), "");
	end(&w);
}
END_TEST

/* A holder that renews is left alone however long; one that does not, for its whole time. */
START_TEST(living_holder_keeps_it)
{
	struct world w = {.holder = "other", .renewing = true};

	begin(&w);
	ck_assert(kubeapi_until(&w.api, has_looked_often, &w));
	ck_assert_uint_eq(w.patches, 0);
	w.renewing = false;
	ck_assert(kubeapi_until(&w.api, is_held, &w));
	ck_assert(mono_since(w.patched_at, w.renewed_at) >= NS_PER_SEC);
	ck_assert(w.patch_acquires && w.patch_transitions == 4);
	end(&w);
}
END_TEST

/* Our own name, from before a restart: no transition. */
START_TEST(our_own_is_taken_up)
{
	struct world w = {.holder = "we"};

	begin(&w);
	ck_assert(kubeapi_until(&w.api, is_held, &w));
	ck_assert(!w.patch_acquires && w.patch_transitions == -1);
	ck_assert_uint_eq(w.transitions, 3);
	end(&w);
}
END_TEST

/* Of two who patch one version the second gets 409, and looks again. */
START_TEST(somebody_was_faster)
{
	struct world w = {.stolen = true};

	begin(&w);
	ck_assert(kubeapi_until(&w.api, has_looked_often, &w));
	ck_assert_uint_eq(w.patches, 1);
	ck_assert_uint_eq(w.patches_failed, 1);
	ck_assert(!kube_lease_held(w.lease) && w.changes == 0);
	ck_assert_str_eq(w.holder, "other");
	end(&w);
}
END_TEST

/* The same while it is held: it is lost with the look. */
START_TEST(stolen_from_its_holder)
{
	struct world w = {0};

	begin(&w);
	ck_assert(kubeapi_until(&w.api, is_held, &w));
	w.stolen = true;
	ck_assert(kubeapi_until(&w.api, is_not_held, &w));
	ck_assert(kubeapi_until(&w.api, has_looked_again, &w));
	ck_assert_str_eq(w.holder, "other");
	end(&w);
}
END_TEST

/* Without an answer it is lost after two thirds of its time: four looks of a fifth at most. */
START_TEST(lost_without_answers)
{
	struct world w = {0};

	begin(&w);
	ck_assert(kubeapi_until(&w.api, is_held, &w));
	uint64_t before = kube_lease_failures(w.lease);
	if (w.gets + w.patches == 2) /* on a busy machine there were others, without an answer */
		ck_assert_uint_eq(before, 0);
	w.patch_fails = 500;
	struct mono granted = w.patched_at;
	ck_assert(kubeapi_until(&w.api, has_failed, &w));
	ck_assert_ptr_nonnull(strstr(kube_lease_error(w.lease), "lease vpn/ca"));
	ck_assert_ptr_nonnull(strstr(kube_lease_error(w.lease), "500"));
	ck_assert(kubeapi_until(&w.api, is_not_held, &w));
	ck_assert(w.patches_failed >= 1 && w.patches_failed <= 4);
	ck_assert_uint_gt(kube_lease_failures(w.lease), before);
	/* At most one for each request, and the one that is under way. */
	ck_assert_uint_le(kube_lease_failures(w.lease), w.gets + w.patches + 1);
	/* It counts from before the request was sent. */
	ck_assert(mono_since(mono_now(), granted) > NS_PER_SEC / 2);
	w.patch_fails = 0;
	ck_assert(kubeapi_until(&w.api, is_held, &w));
	ck_assert_str_eq(kube_lease_error(w.lease), "");
	ck_assert_uint_ge(w.gets, 2); /* looked at before it is taken again */
	end(&w);
}
END_TEST

START_TEST(given_back)
{
	struct world w = {0}, other = {.holder = "other", .renewing = true};

	begin(&w);
	ck_assert(kubeapi_until(&w.api, is_held, &w));
	kube_lease_release(w.lease);
	ck_assert(!w.held && !kube_lease_held(w.lease));
	kube_lease_release(w.lease); /* harmless */
	ck_assert(kubeapi_until(&w.api, is_given_back, &w));
	ck_assert_str_eq(w.patch_holder, "");
	unsigned asked = w.gets + w.patches;
	kubeapi_for(&w.api, 600); /* it takes part no more */
	ck_assert_uint_eq(w.gets + w.patches, asked);
	ck_assert(!w.held);
	end(&w);

	begin(&other);
	ck_assert(kubeapi_until(&other.api, has_looked_again, &other));
	kube_lease_release(other.lease);
	kubeapi_for(&other.api, 300);
	ck_assert_uint_eq(other.patches, 0); /* not ours to give */
	end(&other);
}
END_TEST

START_TEST(errors_say_what_is_needed)
{
	static const struct {
		int code;
		const char *says;
	} cases[] = {{404, "it must exist"}, {403, "get and patch of leases"}, {500, "500"}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct world w = {.get_fails = cases[i].code};

		begin(&w);
		ck_assert(kubeapi_until(&w.api, has_failed, &w));
		ck_assert_msg(strstr(kube_lease_error(w.lease), cases[i].says), "%s",
			      kube_lease_error(w.lease));
		ck_assert_ptr_nonnull(strstr(kube_lease_error(w.lease), "it will not be"));
		w.get_fails = 0;
		ck_assert(kubeapi_until(&w.api, is_held, &w));
		end(&w);
	}
}
END_TEST

static bool is_freed(void *arg)
{
	return ((struct world *)arg)->lease == NULL;
}

/* A callback may free the object that it is of; an end in the middle of a request tells nobody. */
START_TEST(freed_at_any_time)
{
	struct world w = {.free_when_told = true}, early = {0};

	begin(&w);
	ck_assert(kubeapi_until(&w.api, is_freed, &w));
	ck_assert_uint_eq(w.changes, 1);
	end(&w);

	struct world lost = {0};
	begin(&lost);
	ck_assert(kubeapi_until(&lost.api, is_held, &lost));
	lost.free_when_told = true;
	lost.stolen = true;
	ck_assert(kubeapi_until(&lost.api, is_freed, &lost));
	end(&lost);

	begin(&early);
	event_base_loop(early.api.base, EVLOOP_ONCE | EVLOOP_NONBLOCK); /* asks, and no more */
	kube_lease_free(mem_steal(&early.lease));
	unsigned told = early.changes;
	kubeapi_for(&early.api, 100);
	ck_assert_uint_eq(early.changes, told);
	end(&early);
	kube_lease_free(NULL);
}
END_TEST

START_TEST(names_are_checked)
{
	struct kubeapi api;
	struct kube_lease *l = NULL;
	struct err e;

	kubeapi_start(&api);
	ck_assert_int_eq(kube_lease_new(api.client, "a/b", "ca", "we", 1, on_changed, NULL, &l, &e),
			 -EINVAL);
	ck_assert_int_eq(
		kube_lease_new(api.client, NULL, "../x", "we", 1, on_changed, NULL, &l, &e),
		-EINVAL);
	ck_assert_ptr_null(l);
	kubeapi_end(&api);
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("kube_lease", free_one_is_taken_and_renewed, living_holder_keeps_it,
			  our_own_is_taken_up, somebody_was_faster, stolen_from_its_holder,
			  lost_without_answers, given_back, errors_say_what_is_needed,
			  freed_at_any_time, names_are_checked);
}

UNIT_MAIN(suite)
