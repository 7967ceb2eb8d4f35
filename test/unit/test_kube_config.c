/* Where the API server is: a pod's mount and kubeconfigs, good and bad. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "fault.h"
#include "kube/kube.h"
#include "unit.h"

static char dir[] = "/tmp/kube-config-XXXXXX";

static void put(const char *name, const char *text)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void set_up(void)
{
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(unit_mkdtemp(dir));
	unsetenv("KUBERNETES_SERVICE_HOST");
	unsetenv("KUBERNETES_SERVICE_PORT");
	unsetenv("KUBECONFIG");
}

static void tear_down(void)
{
	static const char *const names[] = {"namespace", "kubeconfig"};
	char path[200];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

START_TEST(in_a_pod)
{
	_cleanup_kube_config_ struct kube_config *c = NULL;
	struct err e;
	char want[200];

	set_up();
	setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1", 1);
	setenv("KUBERNETES_SERVICE_PORT", "443", 1);
	put("namespace", "vpn\n");
	ck_assert_int_eq(kube_config_in_cluster(dir, &c, &e), 0);
	ck_assert_str_eq(c->server, "https://10.96.0.1:443");
	ck_assert_str_eq(c->ns, "vpn");
	snprintf(want, sizeof(want), "%s/token", dir);
	ck_assert_str_eq(c->token.file, want);
	snprintf(want, sizeof(want), "%s/ca.crt", dir);
	ck_assert_str_eq(c->ca.file, want);
	tear_down();
}
END_TEST

START_TEST(in_a_pod_over_ipv6)
{
	_cleanup_kube_config_ struct kube_config *c = NULL;
	struct err e;

	set_up();
	setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
	setenv("KUBERNETES_SERVICE_PORT", "6443", 1);
	put("namespace", "vpn");
	ck_assert_int_eq(kube_config_in_cluster(dir, &c, &e), 0);
	ck_assert_str_eq(c->server, "https://[fd00::1]:6443");
	tear_down();
}
END_TEST

START_TEST(pod_refused)
{
	struct kube_config *c = NULL;
	struct err e;

	set_up();
	ck_assert_int_eq(kube_config_in_cluster(dir, &c, &e), -ENOENT);
	setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1", 1);
	setenv("KUBERNETES_SERVICE_PORT", "0", 1);
	ck_assert_int_eq(kube_config_in_cluster(dir, &c, &e), -EINVAL);
	setenv("KUBERNETES_SERVICE_PORT", "443", 1);
	ck_assert_int_eq(kube_config_in_cluster(dir, &c, &e), -ENOENT); /* no namespace file */
	put("namespace", "Not A Name");
	ck_assert_int_eq(kube_config_in_cluster(dir, &c, &e), -EINVAL);
	put("namespace", "vpn");
	setenv("KUBERNETES_SERVICE_HOST", "evil/@host", 1);
	ck_assert_int_eq(kube_config_in_cluster(dir, &c, &e), -EINVAL);
	ck_assert_ptr_null(c);
	tear_down();
}
END_TEST

/* A whole kubeconfig with two clusters, users and contexts. */
#define GOOD                                                                                       \
	"apiVersion: v1\nkind: Config\npreferences: {}\ncurrent-context: a\n"                      \
	"contexts:\n- name: a\n  context: {cluster: c1, user: u1, namespace: vpn}\n"               \
	"- name: b\n  context: {cluster: c2, user: u2}\n"                                          \
	"clusters:\n- name: c1\n  cluster:\n    server: https://api.example:6443/\n"               \
	"    certificate-authority-data: UEVN\n    tls-server-name: kubernetes\n"                  \
	"- name: c2\n  cluster: {server: \"https://[fd00::1]:6443\", certificate-authority: "      \
	"ca.crt}"                                                                                  \
	"\n"                                                                                       \
	"users:\n- name: u1\n  user: {client-certificate-data: Q0VSVA==, client-key: /k/key}\n"    \
	"- name: u2\n  user: {token: abc, tokenFile: t/token}\n"

START_TEST(kubeconfig_current_context)
{
	_cleanup_kube_config_ struct kube_config *c = NULL;
	struct err e = {0};

	ck_assert_msg(kube_config_parse(GOOD, strlen(GOOD), "/d", NULL, &c, &e) == 0, "%s", e.msg);
	ck_assert_str_eq(c->server, "https://api.example:6443");
	ck_assert_str_eq(c->ns, "vpn");
	ck_assert_str_eq(c->ca.data, "PEM");
	ck_assert_str_eq(c->cert.data, "CERT");
	ck_assert_str_eq(c->key.file, "/k/key");
	ck_assert_str_eq(c->tls_name, "kubernetes");
	ck_assert_ptr_null(c->token.data);
	ck_assert_ptr_null(c->token.file);
}
END_TEST

START_TEST(kubeconfig_other_context)
{
	_cleanup_kube_config_ struct kube_config *c = NULL;
	struct err e = {0};

	ck_assert_int_eq(kube_config_parse(GOOD, strlen(GOOD), "/d", "b", &c, &e), 0);
	ck_assert_str_eq(c->server, "https://[fd00::1]:6443");
	ck_assert_str_eq(c->ns, "default");
	ck_assert_str_eq(c->ca.file, "/d/ca.crt");
	ck_assert_str_eq(c->token.file, "/d/t/token");
	ck_assert_ptr_null(c->token.data); /* the file wins */
}
END_TEST

START_TEST(kubeconfig_in_json)
{
	static const char text[] =
		"{\"current-context\":\"x\",\"contexts\":[{\"name\":\"x\",\"context\":{\"cluster\":"
		"\"c\"}}],\"clusters\":[{\"name\":\"c\",\"cluster\":{\"server\":\"http://127.0.0.1:"
		"8001\"}}]}";
	_cleanup_kube_config_ struct kube_config *c = NULL;
	struct err e = {0};

	ck_assert_msg(kube_config_parse(text, strlen(text), "", NULL, &c, &e) == 0, "%s", e.msg);
	ck_assert_str_eq(c->server, "http://127.0.0.1:8001");
}
END_TEST

/* One cluster and user, with parts to fill in. */
#define CONFIG(cluster, user)                                                                      \
	"current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"              \
	"clusters:\n- name: c\n  cluster: " cluster "\nusers:\n- name: u\n  user: " user "\n"

START_TEST(kubeconfig_refused)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{"", "current-context"},
		{"[]", "1:1: found a sequence"},
		{"current-context: x\n", "no \"x\" among the contexts"},
		{"current-context: 7\n", "accepted: a string"},
		{"current-context: x\ncontexts: {x: 1}\n", "accepted: a list"},
		{"current-context: x\ncontexts: [{name: x}]\n", "has no \"context\""},
		{"current-context: x\ncontexts: [{name: x, context: {}}]\n", "names no cluster"},
		{"a: [\n", "2:1: "},
		{CONFIG("{}", "{}"), "no server"},
		{CONFIG("{server: \"ftp://x\"}", "{}"), "accepted: https://HOST:PORT"},
		{CONFIG("{server: \"https://u:p@x\"}", "{}"), "accepted: https://HOST:PORT"},
		{CONFIG("{server: \"https://x/?q\"}", "{}"), "accepted: https://HOST:PORT"},
		{CONFIG("{server: \"https://\"}", "{}"), "accepted: https://HOST:PORT"},
		{CONFIG("{server: \"https://x\", insecure-skip-tls-verify: \"yes\"}", "{}"),
		 "accepted: true or false"},
		{CONFIG("{server: \"https://x\", insecure-skip-tls-verify: true, "
			"certificate-authority: f}",
			"{}"),
		 "one of them"},
		{CONFIG("{server: \"https://x\", certificate-authority-data: \"*\"}", "{}"),
		 "not base64"},
		{CONFIG("{server: \"https://x\"}", "{exec: {command: aws}}"),
		 "\"exec\", which is not supported; accepted"},
		{CONFIG("{server: \"https://x\"}", "{auth-provider: {name: gcp}}"),
		 "\"auth-provider\", which is not supported"},
		{CONFIG("{server: \"https://x\"}", "{username: a, password: b}"), "not supported"},
		{CONFIG("{server: \"https://x\"}", "{client-key: k}"), "without the other"},
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct kube_config *c = NULL;
		struct err e = {0};
		int r = kube_config_parse(bad[i].text, strlen(bad[i].text), "", NULL, &c, &e);

		ck_assert_msg(r < 0, "case %zu was accepted", i);
		ck_assert_msg(strstr(e.msg, bad[i].says), "case %zu: %s", i, e.msg);
		ck_assert_ptr_null(c);
	}
}
END_TEST

START_TEST(kubeconfig_errors_show_no_secret)
{
	static const char text[] =
		CONFIG("{server: \"https://x\"}", "{client-certificate-data: UFJJVkFURQ==, "
						  "client-key-data: \"HUSHHUSH*\"}");
	struct kube_config *c = NULL;
	struct err e = {0};

	ck_assert_int_lt(kube_config_parse(text, strlen(text), "", NULL, &c, &e), 0);
	ck_assert_ptr_null(strstr(e.msg, "HUSH"));
}
END_TEST

START_TEST(found_by_file_and_by_environment)
{
	_cleanup_kube_config_ struct kube_config *a = NULL, *b = NULL;
	struct kube_config *none = NULL;
	struct err e = {0};
	char path[200], want[220];

	set_up();
	put("kubeconfig", GOOD);
	snprintf(path, sizeof(path), "%s/kubeconfig", dir);
	snprintf(want, sizeof(want), "%s//ca.crt", dir);
	ck_assert_int_eq(kube_config_find(path, "b", &a, &e), 0);
	ck_assert_str_eq(a->ca.file, want);
	setenv("KUBECONFIG", path, 1);
	ck_assert_int_eq(kube_config_find(NULL, NULL, &b, &e), 0);
	ck_assert_str_eq(b->ns, "vpn");
	ck_assert_int_lt(kube_config_find("/nonexistent/x", NULL, &none, &e), 0);
	ck_assert(strstr(e.msg, "/nonexistent/x"));
	put("kubeconfig", "x");
	ck_assert_int_lt(kube_config_find(NULL, NULL, &none, &e), 0);
	ck_assert_msg(strstr(e.msg, path), "%s", e.msg);
	ck_assert_ptr_null(none);
	tear_down();
}
END_TEST

START_TEST(kubeconfig_without_memory)
{
	static const char *const contexts[] = {"a", "b"};

	for (size_t i = 0; i < ARRAY_LEN(contexts); i++) {
		struct kube_config *c = NULL;
		struct err e = {0};
		size_t rounds = 0, unnoticed = 0;
		int r;

		/* What a library keeps from its first use on is no leak. */
		ck_assert_int_eq(kube_config_parse(GOOD, strlen(GOOD), "/d", NULL, &c, &e), 0);
		kube_config_free(mem_steal(&c));
		FAULT_LOOP({
			r = kube_config_parse(GOOD, strlen(GOOD), "/d", contexts[i], &c, &e);
			if (r == 0)
				kube_config_free(mem_steal(&c));
		})
		{
			ck_assert_msg(r == -ENOMEM || r == 0, "%s, allocation %zu: %d, %s",
				      contexts[i], rounds, r, e.msg);
			ck_assert_ptr_null(c);
			ck_assert_msg(r == 0 || strstr(e.msg, "emory"), "allocation %zu: %s",
				      rounds, e.msg);
			unnoticed += r == 0;
			rounds++;
		}
		ck_assert_int_eq(r, 0);
		ck_assert_uint_gt(rounds, 60);
		/* asprintf that cannot make its result smaller gives it as it is. */
		ck_assert_uint_le(unnoticed, 3);
	}
}
END_TEST

static int find_in_a_pod(struct err *e)
{
	_cleanup_kube_config_ struct kube_config *c = NULL;

	return kube_config_in_cluster(dir, &c, e);
}

static int find_by_file(struct err *e)
{
	_cleanup_kube_config_ struct kube_config *c = NULL;
	char path[200];

	snprintf(path, sizeof(path), "%s/kubeconfig", dir);
	return kube_config_find(path, NULL, &c, e);
}

START_TEST(files_without_memory)
{
	static int (*const find[])(struct err *) = {find_in_a_pod, find_by_file};

	set_up();
	setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
	setenv("KUBERNETES_SERVICE_PORT", "443", 1);
	put("namespace", "vpn\n");
	put("kubeconfig", GOOD);
	for (size_t i = 0; i < ARRAY_LEN(find); i++) {
		struct err e = {0};
		size_t rounds = 0, told = 0;
		int r;

		FAULT_LOOP(r = find[i](&e))
		{
			ck_assert_msg(r == -ENOMEM || r == 0, "%zu, allocation %zu: %d, %s", i,
				      rounds, r, e.msg);
			told += r < 0;
			rounds++;
		}
		ck_assert_int_eq(r, 0);
		ck_assert_uint_gt(told, 5);
	}
	tear_down();
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("kube_config", in_a_pod, in_a_pod_over_ipv6, pod_refused,
			  kubeconfig_current_context, kubeconfig_other_context, kubeconfig_in_json,
			  kubeconfig_refused, kubeconfig_errors_show_no_secret,
			  found_by_file_and_by_environment, kubeconfig_without_memory,
			  files_without_memory);
}

UNIT_MAIN(suite)
