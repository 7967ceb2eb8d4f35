/*
 * harmony-agent status and reload: the control socket's client.
 */
#include "commands.h"

#include <curl/curl.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "base/time.h"
#include "control/control.h"
#include "http/curl_load.h"
#include "json/json.h"

#define TIMEOUT_MS 5000

static const char status_help[] =
	"usage: harmony-agent status [OPTION…] [NETWORK]\n"
	"\n"
	"Asks the running agent for the state of its networks and peers.\n"
	"\n"
	"  --json          the agent's whole answer\n"
	"  --control PATH  control socket (default " CONTROL_PATH ")\n"
	"  --http ADDRESS:PORT  asks there, where the socket is out of reach\n"
	"\n"
	"Exit status: 0 ready; 1 not ready, or no such network; 2 wrong command line; 3 no "
	"answer.\n";

static const char reload_help[] =
	"usage: harmony-agent reload [--control PATH]\n"
	"\n"
	"Has the running agent read its configuration again.\n"
	"\n"
	"Exit status: 0 read and accepted; 1 refused, with the reasons; 2 wrong command line; 3 no "
	"answer.\n";

struct settings {
	const char *control, *network, *http;
	bool json, help;
};

static int parse(int argc, char **argv, struct settings *s)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},
		{"control", required_argument, NULL, 'c'},
		{"http", required_argument, NULL, 'H'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'j': s->json = true; break;
		case 'c': s->control = optarg; break;
		case 'H': s->http = optarg; break;
		case 'h': s->help = true; return 0;
		default:
			return cmd_fail(argv[0], EXIT_USAGE,
					"'harmony-agent %s --help' lists the options", argv[0]);
		}
	}
	if (optind < argc)
		s->network = argv[optind++];
	if (optind < argc)
		return cmd_fail(argv[0], EXIT_USAGE, "found '%s', accepted is one network",
				argv[optind]);
	if (s->http && (s->network || str_eq(argv[0], "reload")))
		return cmd_fail(argv[0], EXIT_USAGE,
				"--http: accepted with status of all networks");
	return 0;
}

static size_t take_answer(char *data, size_t size, size_t n, void *arg)
{
	struct buf *b = arg;

	buf_add(b, data, size * n);
	return buf_error(b) < 0 ? 0 : size * n;
}

/* /healthz of an agent's HTTP address: the same object as the control socket's. */
static int ask_http(const char *address, struct json_object **ret, struct err *e)
{
	_cleanup_buf_ struct buf answer = BUF_INIT(CONTROL_ANSWER_MAX);
	struct json_limits limits = {CONTROL_ANSWER_MAX, 64};
	char url[256], why[CURL_ERROR_SIZE] = "";
	int r;

	if ((r = http_curl_load(e)) < 0)
		return r;

	CURL *c = curl_easy_init();
	if (!c)
		return err_sys(e, -ENOMEM, "libcurl");
	snprintf(url, sizeof(url), "http://%.200s/healthz?always", address);
	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_PROXY, ""); /* the environment's is not for this */
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, why);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_answer);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, &answer);
	CURLcode code = curl_easy_perform(c);
	curl_easy_cleanup(c);
	if (code != CURLE_OK)
		return err_set(e, -ENOTCONN, "%s: %s", url, *why ? why : curl_easy_strerror(code));
	if (json_parse(answer.data, answer.len, limits, ret, e) < 0)
		return err_set(e, -EPROTO, "%s: found something else than an agent's answer", url);
	if (json_get(*ret, "networks", json_type_array))
		return 0;
	json_object_put(*ret);
	*ret = NULL;
	return err_set(e, -EPROTO, "%s: found something else than an agent's answer", url);
}

static void print_bytes(uint64_t n)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double v = (double)n;
	size_t u = 0;

	while (v >= 1024 && u + 1 < sizeof(units) / sizeof(units[0]))
		v /= 1024, u++;
	printf(u ? " %8.1f %-3s" : " %8.0f %-3s", v, units[u]);
}

static void print_peer(struct json_object *p)
{
	struct json_object *age = json_get(p, "handshake_age_seconds", json_type_double);
	const char *endpoint = json_get_str(p, "endpoint"), *reason = json_get_str(p, "reason");
	char text[TIME_DURATION_LEN] = "never";

	if (age)
		time_duration((int64_t)(json_object_get_double(age) * (double)NS_PER_SEC), text);
	printf("  %-24.24s %-8s %-10s %-26s", json_get_str(p, "name"), json_get_str(p, "state"),
	       text, endpoint ? endpoint : "-");
	print_bytes((uint64_t)json_get_int(p, "rx_bytes", 0));
	print_bytes((uint64_t)json_get_int(p, "tx_bytes", 0));
	printf("%s\n", json_get_bool(p, "required", false) ? "  required" : "");
	if (reason)
		printf("    %s\n", reason);
}

static void print_network(struct json_object *n)
{
	struct json_object *peers = json_get(n, "peer_details", json_type_array);
	const char *error = json_get_str(n, "error"), *backend = json_get_str(n, "backend");

	printf("network %s: %s, interface %s (%s), %s\n", json_get_str(n, "network"),
	       json_get_str(n, "state"), json_get_str(n, "interface"),
	       backend && *backend ? backend : "no device",
	       json_get_bool(n, "ready", false) ? "ready" : "NOT READY");
	if (error)
		printf("  error: %s\n", error);
	size_t count = peers ? json_object_array_length(peers) : 0;
	if (count)
		printf("  %-24s %-8s %-10s %-26s %12s %12s\n", "PEER", "STATE", "HANDSHAKE",
		       "ENDPOINT", "RECEIVED", "SENT");
	for (size_t i = 0; i < count; i++)
		print_peer(json_object_array_get_idx(peers, i));
}

static bool print_status(struct json_object *o)
{
	struct json_object *nets = json_get(o, "networks", json_type_array);
	const char *reason = json_get_str(o, "reason"), *config = json_get_str(o, "config_error");

	if (!nets) { /* one network was asked for */
		print_network(o);
		return json_get_bool(o, "ready", false);
	}
	bool ready = json_get_bool(o, "ready", false);
	printf("%s: generation %" PRId64 ", applied %" PRId64 "%s\n", ready ? "ready" : "NOT READY",
	       json_get_int(o, "generation", 0), json_get_int(o, "applied_generation", 0),
	       json_get_bool(o, "observe_only", false) ? " (observe only)" : "");
	if (!ready && reason)
		printf("%s\n", reason);
	if (config)
		printf("the newest configuration was refused:\n%s\n", config);
	for (size_t i = 0; i < json_object_array_length(nets); i++)
		print_network(json_object_array_get_idx(nets, i));
	return ready;
}

int cmd_status(int argc, char **argv)
{
	struct settings s = {.control = CONTROL_PATH};
	_cleanup_json_ struct json_object *o = NULL;
	struct err e = {0};
	int r = parse(argc, argv, &s);

	if (r)
		return r;
	if (s.help) {
		fputs(status_help, stdout);
		return EXIT_OK;
	}
	if (s.http)
		r = ask_http(s.http, &o, &e);
	else
		r = control_request(s.control, "status", s.network, TIMEOUT_MS, &o, NULL, &e);
	if (r < 0)
		return cmd_fail("status", r == -ENOENT ? EXIT_FAILED : EXIT_SYSTEM, "%s", e.msg);
	if (!s.json)
		return print_status(o) ? EXIT_OK : EXIT_FAILED;
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
						       JSON_C_TO_STRING_NOSLASHESCAPE));
	return json_get_bool(o, "ready", false) ? EXIT_OK : EXIT_FAILED;
}

int cmd_reload(int argc, char **argv)
{
	struct settings s = {.control = CONTROL_PATH};
	_cleanup_json_ struct json_object *o = NULL;
	_cleanup_buf_ struct buf why = BUF_INIT(CONTROL_ANSWER_MAX);
	struct err e = {0};
	int r = parse(argc, argv, &s);

	if (r)
		return r;
	if (s.help) {
		fputs(reload_help, stdout);
		return EXIT_OK;
	}
	r = control_request(s.control, "reload", s.network, TIMEOUT_MS, &o, &why, &e);
	if (r < 0)
		return cmd_fail("reload", r == -EINVAL ? EXIT_FAILED : EXIT_SYSTEM, "%s",
				why.len ? buf_str(&why) : e.msg);
	return EXIT_OK;
}
