/*
 * One HTTP transfer to the API server: its URL, the credentials as they are now, and the
 * connection's limits.
 *
 * HTTP/1.1 on purpose: a stream then has its connection for itself, and its end is the
 * connection's. Redirects are not followed (the token would go with them). TLS sessions are not
 * resumed, so that every connection is checked against the CA of now.
 *
 * A peer that is gone without a word is noticed by TCP: keepalive after 15 s of silence, and
 * TCP_USER_TIMEOUT gives up on what is unacknowledged for 30 s; together within 45 s.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "kube/kube_priv.h"

#define KEEPALIVE_IDLE_SECS  15L
#define KEEPALIVE_EVERY_SECS 5L
#define USER_TIMEOUT_MSECS   30000u
#define CONNECT_TIMEOUT_SECS 10L
#define USER_AGENT           "harmony-agent/" HARMONY_VERSION

static int set_up_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	unsigned ms = USER_TIMEOUT_MSECS;

	/* A socket that refuses it (AF_UNIX, a proxy's) still works. */
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	return CURL_SOCKOPT_OK;
}

static size_t swallow(char *data, size_t size, size_t n, void *arg)
{
	return size * n;
}

static CURLcode set_blob(CURL *easy, CURLoption option, const struct buf *b)
{
	struct curl_blob blob = {.data = b->data, .len = b->len, .flags = CURL_BLOB_COPY};

	return b->len ? curl_easy_setopt(easy, option, &blob) : CURLE_OK;
}

static void headers_free(struct curl_slist *list)
{
	for (struct curl_slist *l = list; l; l = l->next)
		mem_wipe(l->data, strlen(l->data)); /* one of them holds the token */
	curl_slist_free_all(list);
}

static int add_header(struct kube_transfer *t, const char *name, const char *value)
{
	struct buf b = BUF_INIT(0);
	struct curl_slist *l = NULL;

	if (buf_reserve(&b, strlen(name) + strlen(value) + 2) == 0) {
		buf_addf(&b, "%s: %s", name, value);
		l = curl_slist_append(t->headers, buf_str(&b));
	}
	buf_wipe(&b);
	if (!l)
		return -ENOMEM;
	t->headers = l;
	return 0;
}

static int set_headers(struct kube_transfer *t, const struct kube_transfer_opts *o)
{
	const struct buf *token = &t->client->credential.token;
	int r = add_header(t, "Accept", "application/json");

	if (r == 0 && o->body)
		r = add_header(t, "Content-Type",
			       o->content_type ? o->content_type : "application/json");
	if (r == 0 && o->body)
		r = add_header(t, "Expect", ""); /* no 100-continue round trip */
	if (r == 0 && token->len) {
		struct buf b = BUF_INIT(0);

		if (buf_reserve(&b, token->len + sizeof("Bearer ")) == 0)
			buf_addf(&b, "Bearer %s", token->data);
		r = buf_error(&b);
		if (r == 0)
			r = add_header(t, "Authorization", b.data);
		buf_wipe(&b);
	}
	return r;
}

#define SET(option, value)                                                                         \
	do {                                                                                       \
		CURLcode set_ = curl_easy_setopt(h, option, value);                                \
		if (set_ != CURLE_OK)                                                              \
			return set_;                                                               \
	} while (0)

static CURLcode set_tls(CURL *h, const struct kube_client *c)
{
	const struct kube_credential *cred = &c->credential;
	CURLcode r = set_blob(h, CURLOPT_CAINFO_BLOB, &cred->ca);

	if (r == CURLE_OK)
		r = set_blob(h, CURLOPT_SSLCERT_BLOB, &cred->cert);
	if (r == CURLE_OK)
		r = set_blob(h, CURLOPT_SSLKEY_BLOB, &cred->key);
	if (r != CURLE_OK)
		return r;
	if (cred->ca.len)
		SET(CURLOPT_CAPATH, NULL); /* that CA and no other */
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
	if (c->config->insecure) {
		SET(CURLOPT_SSL_VERIFYPEER, 0L);
		SET(CURLOPT_SSL_VERIFYHOST, 0L);
	}
	return CURLE_OK;
}

static CURLcode set_connection(CURL *h, struct kube_transfer *t, const struct kube_transfer_opts *o)
{
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROTOCOLS_STR, "https,http");
	SET(CURLOPT_USERAGENT, USER_AGENT);
	SET(CURLOPT_ERRORBUFFER, t->error);
	SET(CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_SECS);
	SET(CURLOPT_TIMEOUT, (long)o->timeout_secs);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_TCP_KEEPIDLE, KEEPALIVE_IDLE_SECS);
	SET(CURLOPT_TCP_KEEPINTVL, KEEPALIVE_EVERY_SECS);
	SET(CURLOPT_SOCKOPTFUNCTION, set_up_socket);
	if (o->own_connection) {
		SET(CURLOPT_FRESH_CONNECT, 1L);
		SET(CURLOPT_FORBID_REUSE, 1L);
	}
	if (t->client->config->proxy)
		SET(CURLOPT_PROXY, t->client->config->proxy);
	return CURLE_OK;
}

static CURLcode set_request(CURL *h, struct kube_transfer *t, const struct kube_transfer_opts *o,
			    const char *url)
{
	SET(CURLOPT_URL, url);
	SET(CURLOPT_CUSTOMREQUEST, o->method);
	SET(CURLOPT_HTTPHEADER, t->headers);
	SET(CURLOPT_WRITEFUNCTION, o->write ? o->write : swallow);
	SET(CURLOPT_WRITEDATA, o->arg);
	if (o->header) {
		SET(CURLOPT_HEADERFUNCTION, o->header);
		SET(CURLOPT_HEADERDATA, o->arg);
	}
	if (o->body) {
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)o->body_len);
		SET(CURLOPT_COPYPOSTFIELDS, o->body);
	}
	return CURLE_OK;
}

/* tls-server-name: the certificate is asked for by that name, the connection goes where `server`
 * says. CONNECT_TO keeps the two apart; the URL then carries the name. */
static int make_url(const struct kube_config *c, const char *path, struct buf *url,
		    struct curl_slist **ret_connect_to)
{
	const char *rest = strstr(c->server, "://") + 3;
	size_t host_len = rest[0] == '[' ? strcspn(rest, "]") + 1 : strcspn(rest, ":/");
	const char *port = rest + host_len;

	if (!c->tls_name) {
		buf_addf(url, "%s%s", c->server, path);
		return buf_error(url);
	}
	struct buf to = BUF_INIT(0);
	size_t port_len = port[0] == ':' ? strcspn(port, "/") : 0;
	buf_addf(&to, "::%.*s%.*s", (int)host_len, rest, (int)port_len, port);
	if (!port_len)
		buf_adds(&to, ":");
	buf_addf(url, "https://%s%s%s", c->tls_name, port, path);
	if (!buf_error(&to))
		*ret_connect_to = curl_slist_append(NULL, buf_str(&to));
	buf_free(&to);
	return *ret_connect_to ? buf_error(url) : -ENOMEM;
}

static int set_up(struct kube_transfer *t, const struct kube_transfer_opts *o, struct err *e)
{
	_cleanup_buf_ struct buf url = BUF_INIT(8192);
	CURL *h = t->http.easy = curl_easy_init();
	int r = h ? set_headers(t, o) : -ENOMEM;

	if (r == 0)
		r = make_url(t->client->config, o->path, &url, &t->connect_to);
	if (r < 0)
		return err_sys(e, r, "HTTP request");

	CURLcode code = set_connection(h, t, o);
	if (code == CURLE_OK)
		code = set_tls(h, t->client);
	if (code == CURLE_OK)
		code = set_request(h, t, o, buf_str(&url));
	if (code == CURLE_OK && t->connect_to)
		code = curl_easy_setopt(h, CURLOPT_CONNECT_TO, t->connect_to);
	if (code != CURLE_OK)
		return err_set(e, code == CURLE_OUT_OF_MEMORY ? -ENOMEM : -EINVAL,
			       "HTTP request: %s", curl_easy_strerror(code));
	return 0;
}

int kube_transfer_start(struct kube_client *client, const struct kube_transfer_opts *opts,
			struct kube_transfer *t, struct err *e)
{
	*t = (struct kube_transfer){.client = client,
				    .http = {.done = opts->done, .arg = opts->arg}};
	int r = set_up(t, opts, e);

	if (r == 0)
		r = http_loop_add(client->loop, &t->http, e);
	if (r < 0)
		kube_transfer_end(t);
	return r;
}

void kube_transfer_end(struct kube_transfer *t)
{
	http_loop_remove(&t->http);
	if (t->http.easy)
		curl_easy_cleanup(t->http.easy);
	headers_free(t->headers);
	curl_slist_free_all(t->connect_to);
	*t = (struct kube_transfer){0};
}
