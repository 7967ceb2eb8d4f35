/* The answer: its head, compression, and the request's accessors. */
#include "http/http_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

#include "base/str.h"

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} reasons[] = {
		{200, "OK"},
		{202, "Accepted"},
		{204, "No Content"},
		{400, "Bad Request"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{408, "Request Timeout"},
		{409, "Conflict"},
		{411, "Length Required"},
		{413, "Content Too Large"},
		{414, "URI Too Long"},
		{422, "Unprocessable Content"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{505, "HTTP Version Not Supported"},
	};

	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Unknown";
}

/* At the fastest level, since the loop waits meanwhile, with the largest buffer for symbols
 * (docs/performance.md has what else was measured). False, with *body as it was, where there is no
 * memory. */
static bool compress_body(struct buf *body)
{
	z_stream z = {0};
	struct buf out = BUF_INIT(0);

	if (body->len > UINT32_MAX ||
	    deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, MAX_MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	if (buf_reserve(&out, deflateBound(&z, body->len)) < 0) {
		deflateEnd(&z);
		return false;
	}
	z.next_in = (unsigned char *)body->data;
	z.avail_in = (unsigned)body->len;
	z.next_out = (unsigned char *)out.data;
	z.avail_out = (unsigned)(out.cap - 1);
	bool done = deflate(&z, Z_FINISH) == Z_STREAM_END;
	out.len = z.total_out;
	deflateEnd(&z);
	if (!done) {
		buf_free(&out);
		return false;
	}
	buf_free(body);
	*body = out;
	return true;
}

static void put_date(struct buf *head)
{
	char text[40];
	struct tm tm;

	gmtime_r(&(time_t){time(NULL)}, &tm);
	strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	buf_addf(head, "Date: %s\r\n", text);
}

void http_reply_header(struct http_request *req, const char *name, const char *value)
{
	if (!strpbrk(value, "\r\n"))
		buf_addf(&req->extra, "%s: %s\r\n", name, value);
}

void http_reply_buf(struct http_request *req, int status, const char *type, struct buf *body)
{
	const struct http_limits *limits = &http_conn_server(req->conn)->limits;
	_cleanup_buf_ struct buf head = BUF_INIT(0);

	if (req->replied)
		return;
	if (buf_error(body) < 0 || buf_error(&req->extra) < 0) {
		buf_free(body);
		buf_free(&req->extra);
		status = 500;
		type = NULL;
	}
	req->replied = true;
	if (http_conn_server(req->conn)->draining)
		req->head.close = true;
	buf_addf(&head, "HTTP/1.1 %d %s\r\n", status, reason(status));
	put_date(&head);
	if (limits->gzip_min && body->len >= limits->gzip_min) {
		buf_adds(&head, "Vary: Accept-Encoding\r\n");
		if (http_accepts_gzip(http_head_field(&req->head, "Accept-Encoding")) &&
		    compress_body(body))
			buf_adds(&head, "Content-Encoding: gzip\r\n");
	}
	if (type)
		buf_addf(&head, "Content-Type: %s\r\nX-Content-Type-Options: nosniff\r\n", type);
	if (status != 204)
		buf_addf(&head, "Content-Length: %zu\r\n", body->len);
	buf_add(&head, req->extra.data, req->extra.len);
	buf_addf(&head, "Cache-Control: no-store\r\n%s\r\n",
		 req->head.close ? "Connection: close\r\n" : "");
	if (req->head.method == HTTP_HEAD || status == 204)
		buf_free(body);
	http_conn_send(req->conn, &head, body);
}

void http_reply(struct http_request *req, int status, const char *type, const char *body)
{
	struct buf b = BUF_INIT(0);

	if (type)
		buf_adds(&b, body);
	http_reply_buf(req, status, type, &b);
	buf_free(&b);
}

void http_reply_status(struct http_request *req, int status)
{
	char text[64];

	snprintf(text, sizeof(text), "%d %s\n", status, reason(status));
	http_reply(req, status, "text/plain; charset=utf-8", text);
}

unsigned http_request_method(const struct http_request *req)
{
	return req->head.method;
}

const char *http_request_path(const struct http_request *req)
{
	return req->head.path;
}

const char *http_request_query(const struct http_request *req, const char *name)
{
	for (size_t i = 0; i < req->head.n_params; i++)
		if (str_eq(req->head.params[i].name, name))
			return req->head.params[i].value;
	return NULL;
}

const char *http_request_header(const struct http_request *req, const char *name)
{
	return http_head_field(&req->head, name);
}

const char *http_request_body(const struct http_request *req, size_t *ret_len)
{
	*ret_len = req->body.len;
	return buf_str(&req->body);
}

int http_request_cred(const struct http_request *req, struct ucred *ret)
{
	socklen_t len = sizeof(*ret);

	if (getsockopt(http_conn_fd(req->conn), SOL_SOCKET, SO_PEERCRED, ret, &len) < 0)
		return -errno;
	return 0;
}
