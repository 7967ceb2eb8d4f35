/*
 * Why a request failed (API reference, meta/v1 Status), as one message that names what was asked
 * of whom and what the server, or the network, said.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "kube/kube_priv.h"

static void set_text(char *dst, size_t size, const char *s)
{
	size_t n = s ? strnlen(s, size - 1) : 0;

	while (s && n > 0 && s[n] && ((unsigned char)s[n] & 0xC0) == 0x80)
		n--; /* not within a character */
	if (n)
		memcpy(dst, s, n);
	dst[n] = '\0';
}

static bool has_cause(struct json_object *details, const char *reason)
{
	struct json_object *causes = json_get(details, "causes", json_type_array);

	for (size_t i = 0; causes && i < json_object_array_length(causes); i++) {
		const char *r = json_get_str(json_object_array_get_idx(causes, i), "reason");

		if (r && str_eq(r, reason))
			return true;
	}
	return false;
}

bool kube_status_from_object(struct json_object *o, struct kube_status *ret)
{
	const char *kind = json_get_str(o, "kind");
	struct json_object *details = json_get(o, "details", json_type_object);

	if (!kind || !str_eq(kind, "Status"))
		return false;
	int64_t code = json_get_int(o, "code", 0);
	if (ret->http == 0 && code >= 100 && code <= 599)
		ret->http = (int)code;
	set_text(ret->reason, sizeof(ret->reason), json_get_str(o, "reason"));
	set_text(ret->message, sizeof(ret->message), json_get_str(o, "message"));

	int64_t after = json_get_int(details, "retryAfterSeconds", 0);
	if (after > 0 && ret->retry_after == 0)
		ret->retry_after = after > 86400 ? 86400 : (unsigned)after;
	/* Servers before the cause existed say it in words. */
	ret->rv_too_large = has_cause(details, "ResourceVersionTooLarge") ||
			    strstr(ret->message, "Too large resource version");
	return true;
}

void kube_status_prefix(struct kube_status *s, const char *what, const char *said)
{
	struct err e = {.code = -EIO};

	memcpy(e.msg, s->message, sizeof(e.msg));
	err_prefix(&e, "%s: %s", what, said);
	memcpy(s->message, e.msg, sizeof(s->message));
}

static int net_error(CURLcode result, long sys)
{
	switch (result) {
	case CURLE_OPERATION_TIMEDOUT: return -ETIMEDOUT;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY: return -EHOSTUNREACH;
	case CURLE_OUT_OF_MEMORY: return -ENOMEM;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CERTPROBLEM: return -EPROTO;
	default: return sys > 0 ? -(int)sys : -EIO;
	}
}

void kube_status_of_transfer(struct kube_transfer *t, CURLcode result, struct json_object *body,
			     const char *what, struct kube_status *ret)
{
	char said[1100];
	long code = 0, sys = 0;
	curl_off_t after = 0;

	*ret = (struct kube_status){0};
	curl_easy_getinfo(t->http.easy, CURLINFO_RESPONSE_CODE, &code);
	curl_easy_getinfo(t->http.easy, CURLINFO_OS_ERRNO, &sys);
	curl_easy_getinfo(t->http.easy, CURLINFO_RETRY_AFTER, &after);
	if (result != CURLE_OK) {
		ret->net = net_error(result, sys);
		set_text(ret->message, sizeof(ret->message),
			 t->error[0] ? t->error : curl_easy_strerror(result));
		kube_status_prefix(ret, what, t->client->config->server);
		return;
	}
	ret->http = (int)code;
	if (after > 0)
		ret->retry_after = after > 86400 ? 86400 : (unsigned)after;
	if (code == 401)
		kube_credential_rejected(&t->client->credential);
	if (code >= 200 && code < 300)
		return;
	if (!kube_status_from_object(body, ret) || ret->message[0] == '\0')
		set_text(ret->message, sizeof(ret->message), "no reason given");
	snprintf(said, sizeof(said), "%s answered %ld", t->client->config->server, code);
	kube_status_prefix(ret, what, said);
}
