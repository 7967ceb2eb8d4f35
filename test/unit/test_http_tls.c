/*
 * The HTTP server with TLS, and what came with it: the limit of large bodies, draining, "*:PORT".
 * Certificates are made here; client and server turn in one process, as in test_http.c.
 */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "base/time.h"
#include "http/http.h"
#include "http/tls.h"

static struct event_base *base;
static struct http_server *srv;
static char dir[64], cert_path[96], key_path[96], other_key_path[96];

/* --- certificates --- */

static EVP_PKEY *new_key(void)
{
	return EVP_EC_gen("P-256");
}

static void write_key(const char *path, EVP_PKEY *key)
{
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
}

/* Self-signed, valid from `from` to `to` seconds from now. */
static void write_cert(const char *path, EVP_PKEY *key, long serial, long from, long to)
{
	X509 *x = X509_new();
	FILE *f = fopen(path, "we");

	ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
	X509_gmtime_adj(X509_getm_notBefore(x), from);
	X509_gmtime_adj(X509_getm_notAfter(x), to);
	X509_set_pubkey(x, key);
	ck_assert_int_gt(X509_sign(x, key, EVP_sha256()), 0);
	ck_assert_ptr_nonnull(f);
	PEM_write_X509(f, x);
	fclose(f);
	X509_free(x);
}

static void make_files(long serial, long from, long to)
{
	EVP_PKEY *key = new_key(), *other = new_key();

	if (!dir[0]) {
		strcpy(dir, "/tmp/test-tls-XXXXXX");
		ck_assert_ptr_nonnull(unit_mkdtemp(dir));
	}
	snprintf(cert_path, sizeof(cert_path), "%s/tls.crt", dir);
	snprintf(key_path, sizeof(key_path), "%s/tls.key", dir);
	snprintf(other_key_path, sizeof(other_key_path), "%s/other.key", dir);
	write_key(key_path, key);
	write_key(other_key_path, other);
	write_cert(cert_path, key, serial, from, to);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
}

static void remove_files(void)
{
	unlink(cert_path);
	unlink(key_path);
	unlink(other_key_path);
	rmdir(dir);
	dir[0] = '\0';
}

/* --- server and client --- */

static void on_echo(struct http_request *req, void *arg)
{
	size_t len;
	struct buf b = BUF_INIT(0);

	http_request_body(req, &len);
	buf_addf(&b, "%zu bytes", len);
	http_reply_buf(req, 200, "text/plain", &b);
}

static void start(const struct http_limits *limits)
{
	_cleanup_(http_tls_free_p) SSL_CTX *ctx = NULL;
	struct err e;

	signal(SIGPIPE, SIG_IGN);
	make_files(1, -10, 1000);
	base = event_base_new();
	srv = http_server_new(base, limits);
	ck_assert_msg(http_tls_load(cert_path, key_path, &ctx, &e) == 0, "%s", e.msg);
	http_server_tls(srv, ctx);
	ck_assert_int_eq(http_server_route(srv, "/echo", HTTP_GET | HTTP_POST, on_echo, NULL), 0);
	ck_assert_int_eq(http_server_bind(srv, "127.0.0.1:0", NULL), 0);
}

static void stop(void)
{
	http_server_free(srv);
	event_base_free(base);
	remove_files();
}

static int dial(size_t listener)
{
	struct sockaddr_in sin = {.sin_family = AF_INET,
				  .sin_port = htons((uint16_t)http_server_port(srv, listener)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

struct client {
	SSL_CTX *ctx;
	SSL *ssl;
	int fd;
	struct buf got;
	bool ended;
};

static bool turn(struct mono from)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
	usleep(100);
	return mono_since(mono_now(), from) < 3 * NS_PER_SEC;
}

/* Whether the handshake came to its end; `version` 0: any. */
static bool client_start(struct client *c, int version)
{
	struct mono from = mono_now();
	int r;

	*c = (struct client){.ctx = SSL_CTX_new(TLS_client_method()), .fd = dial(0)};
	if (version) {
		SSL_CTX_set_security_level(c->ctx, 0);
		SSL_CTX_set_min_proto_version(c->ctx, version);
		SSL_CTX_set_max_proto_version(c->ctx, version);
	}
	c->ssl = SSL_new(c->ctx);
	SSL_set_fd(c->ssl, c->fd);
	while ((r = SSL_connect(c->ssl)) != 1 && turn(from)) {
		int err = SSL_get_error(c->ssl, r);

		if (err != SSL_ERROR_WANT_READ && err != SSL_ERROR_WANT_WRITE)
			break;
	}
	ERR_clear_error();
	return r == 1;
}

static void client_send(struct client *c, const char *text, size_t len)
{
	struct mono from = mono_now();

	SSL_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	while (len > 0) {
		int n = SSL_write(c->ssl, text, (int)len);

		if (n > 0) {
			text += n;
			len -= (size_t)n;
		} else {
			ck_assert(turn(from));
		}
	}
}

static const char *client_wait(struct client *c, const char *until)
{
	struct mono from = mono_now();
	char chunk[4096];

	buf_reset(&c->got);
	while (!c->ended && !(until && strstr(buf_str(&c->got), until)) && turn(from)) {
		int n = SSL_read(c->ssl, chunk, sizeof(chunk));

		if (n > 0)
			buf_add(&c->got, chunk, (size_t)n);
		else
			c->ended = SSL_get_error(c->ssl, n) == SSL_ERROR_ZERO_RETURN;
	}
	return buf_str(&c->got);
}

static void client_end(struct client *c)
{
	SSL_free(c->ssl);
	SSL_CTX_free(c->ctx);
	close(c->fd);
	buf_free(&c->got);
}

static void say(struct client *c, const char *text)
{
	client_send(c, text, strlen(text));
}

/* Until the server has closed; true if it did in time. */
static bool is_cut(int fd, char *ret, size_t size)
{
	struct mono from = mono_now();
	size_t len = 0;
	ssize_t n;

	do {
		n = recv(fd, ret + len, size - 1 - len, 0);
		len += n > 0 ? (size_t)n : 0;
		ret[len] = '\0';
	} while ((n > 0 || (n < 0 && errno == EAGAIN)) && turn(from));
	return n == 0 || (n < 0 && errno != EAGAIN);
}

/* --- cases --- */

START_TEST(answers_by_tls)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

	start(NULL);
	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		struct client c;

		ck_assert(client_start(&c, versions[i]));
		for (int j = 0; j < 3; j++) {
			say(&c, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
			ck_assert_ptr_nonnull(strstr(client_wait(&c, "0 bytes"), "200 OK"));
		}
		say(&c, "GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
		ck_assert_ptr_nonnull(strstr(client_wait(&c, NULL), "404 Not Found"));
		ck_assert(c.ended); /* by close_notify */
		client_end(&c);
	}
	stop();
}
END_TEST

START_TEST(old_versions_refused)
{
	struct client c;

	start(NULL);
	ck_assert(!client_start(&c, TLS1_1_VERSION));
	client_end(&c);
	stop();
}
END_TEST

START_TEST(plain_http_is_cut)
{
	char got[512];

	start(NULL);
	int fd = dial(0);
	static const char request[] = "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n";
	ck_assert_int_gt(send(fd, request, strlen(request), 0), 0);
	ck_assert(is_cut(fd, got, sizeof(got)));
	ck_assert_ptr_null(strstr(got, "HTTP"));
	close(fd);
	ck_assert_uint_eq(http_server_conns(srv), 0);
	stop();
}
END_TEST

START_TEST(silent_client_is_cut)
{
	struct http_limits l = HTTP_LIMITS_DEFAULT;
	char got[64];

	l.request_ms = 200;
	start(&l);
	struct mono from = mono_now();
	int fd = dial(0);
	ck_assert(is_cut(fd, got, sizeof(got)));
	ck_assert_int_ge(mono_since(mono_now(), from), 150 * NS_PER_MSEC);
	close(fd);
	ck_assert_uint_eq(http_server_conns(srv), 0);
	stop();
}
END_TEST

/* A connection that never shakes hands makes room for one that may. */
START_TEST(silent_client_makes_room)
{
	struct http_limits l = HTTP_LIMITS_DEFAULT;
	struct client c;

	l.max_conns = 2;
	start(&l);
	int a = dial(0), b = dial(0);
	turn(mono_now());
	ck_assert_uint_eq(http_server_conns(srv), 2);
	ck_assert(client_start(&c, 0));
	client_end(&c);
	close(a);
	close(b);
	stop();
}
END_TEST

START_TEST(large_bodies)
{
	struct http_limits l = HTTP_LIMITS_DEFAULT;
	struct client c, d;
	_cleanup_buf_ struct buf b = BUF_INIT(0);

	l.max_body = 8 << 20;
	l.max_bodies = 9 << 20;
	start(&l);
	ck_assert(client_start(&c, 0));
	ck_assert(client_start(&d, 0));
	buf_addf(&b,
		 "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
		 "Content-Length: %d\r\n\r\n",
		 8 << 20);
	say(&c, b.data);
	ck_assert_ptr_nonnull(strstr(client_wait(&c, "\r\n\r\n"), "100 Continue"));
	/* Together they are too many bytes: the first, which has come to a halt, gives way. */
	_cleanup_free_ char *body = calloc(1, 8 << 20);
	client_send(&c, body, 7 << 20);
	for (int i = 0; i < 3000; i++) /* out of the sockets' buffers; then it comes to a halt */
		turn(mono_now());
	sleep(1);
	say(&d, b.data); /* what is announced holds nothing */
	ck_assert_ptr_nonnull(strstr(client_wait(&d, "\r\n\r\n"), "100 Continue"));
	client_send(&d, body, 8 << 20);
	ck_assert_ptr_nonnull(strstr(client_wait(&d, "8388608 bytes"), "200 OK"));
	ck_assert_uint_eq(http_server_conns(srv), 1);
	client_end(&c);
	/* What it held is free again. */
	ck_assert(client_start(&c, 0));
	say(&c, b.data);
	client_send(&c, body, 8 << 20);
	ck_assert_ptr_nonnull(strstr(client_wait(&c, "8388608 bytes"), "200 OK"));
	client_end(&c);
	client_end(&d);
	stop();
}
END_TEST

static long served_serial(void)
{
	struct client c;

	ck_assert(client_start(&c, 0));
	X509 *x = SSL_get1_peer_certificate(c.ssl);
	long serial = ASN1_INTEGER_get(X509_get0_serialNumber(x));
	X509_free(x);
	client_end(&c);
	return serial;
}

START_TEST(certificate_changes_live)
{
	_cleanup_(http_tls_free_p) SSL_CTX *ctx = NULL;
	struct client c;

	start(NULL);
	ck_assert(client_start(&c, 0));
	ck_assert_int_eq(served_serial(), 1);
	make_files(2, -10, 1000);
	ck_assert_int_eq(http_tls_load(cert_path, key_path, &ctx, NULL), 0);
	http_server_tls(srv, ctx);
	ck_assert_int_eq(served_serial(), 2);
	/* Who was there before goes on. */
	say(&c, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(client_wait(&c, "0 bytes"), "200 OK"));
	client_end(&c);
	stop();
}
END_TEST

START_TEST(draining)
{
	struct client c;

	start(NULL);
	ck_assert(client_start(&c, 0));
	http_server_drain(srv);
	say(&c, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
	const char *got = client_wait(&c, NULL);
	ck_assert_ptr_nonnull(strstr(got, "200 OK"));
	ck_assert_ptr_nonnull(strstr(got, "\r\nConnection: close\r\n"));
	ck_assert(c.ended);
	client_end(&c);
	stop();
}
END_TEST

START_TEST(files_refused)
{
	SSL_CTX *ctx = NULL;
	struct err e = {0};

	make_files(1, -10, 1000);
	ck_assert_int_eq(http_tls_load("/nonexistent", key_path, &ctx, &e), -ENOENT);
	ck_assert_int_eq(http_tls_load(cert_path, "/nonexistent", &ctx, &e), -ENOENT);
	ck_assert_int_eq(http_tls_load(key_path, key_path, &ctx, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "tls.key: found no certificate"));
	ck_assert_int_eq(http_tls_load(cert_path, cert_path, &ctx, &e), -EINVAL);
	ck_assert_int_eq(http_tls_load(cert_path, other_key_path, &ctx, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "other.key: found no private key"));
	make_files(1, -1000, -10);
	ck_assert_int_eq(http_tls_load(cert_path, key_path, &ctx, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "has expired"));
	make_files(1, 1000, 2000);
	ck_assert_int_eq(http_tls_load(cert_path, key_path, &ctx, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "not valid yet"));
	ck_assert_ptr_null(ctx);
	ck_assert_uint_eq(ERR_peek_error(), 0);
	make_files(1, -10, 1000);
	ck_assert_int_eq(http_tls_load(cert_path, key_path, &ctx, &e), 0);
	int64_t left = http_tls_not_after(ctx).ns - wall_now().ns;
	ck_assert_int_gt(left, 990 * NS_PER_SEC);
	ck_assert_int_lt(left, 1010 * NS_PER_SEC);
	ck_assert_int_eq(http_tls_not_after(ctx).ns - http_tls_not_before(ctx).ns,
			 1010 * NS_PER_SEC);
	SSL_CTX_free(ctx);
	remove_files();
}
END_TEST

static void read_file(const char *path, struct buf *b)
{
	char text[4096];
	FILE *f = fopen(path, "re");

	ck_assert_ptr_nonnull(f);
	buf_add(b, text, fread(text, 1, sizeof(text), f));
	fclose(f);
}

static void put_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

/* From files and from memory. NULL: accepted. */
static void check_both(const char *want)
{
	_cleanup_buf_ struct buf cert = BUF_INIT(0), key = BUF_INIT(0);
	SSL_CTX *ctx = NULL;
	struct err e = {0};

	read_file(cert_path, &cert);
	read_file(key_path, &key);
	for (int i = 0; i < 2; i++) {
		int r = i ? http_tls_parse("memory", &cert, &key, &ctx, &e)
			  : http_tls_load(cert_path, key_path, &ctx, &e);

		ck_assert_msg(r == (want ? -EINVAL : 0), "%d: %s", i, e.msg);
		ck_assert_msg(!want || strstr(e.msg, want), "%d: %s", i, e.msg);
		ck_assert_uint_eq(ERR_peek_error(), 0);
		SSL_CTX_free(ctx);
		ctx = NULL;
	}
}

/* A certificate of the chain that is broken is not the chain's end. */
START_TEST(broken_chain_refused)
{
	_cleanup_buf_ struct buf own = BUF_INIT(0), b = BUF_INIT(0);

	make_files(1, -10, 1000);
	read_file(cert_path, &own);
	buf_addf(&b, "%s\n# the CA\n%s\n# no more\n", own.data, own.data);
	put_file(cert_path, b.data);
	check_both(NULL);
	buf_reset(&b);
	buf_addf(&b, "%s%s%.200s\n", own.data, own.data, own.data);
	put_file(cert_path, b.data);
	check_both("certificate 3 of the chain");
	buf_reset(&b);
	buf_addf(&b, "%s%s%s", own.data, own.data, own.data);
	memcpy(b.data + own.len + 100, "AAAA", 4);
	put_file(cert_path, b.data);
	check_both("certificate 2 of the chain");
	put_file(cert_path, b.data + own.len);
	check_both("found no certificate");
	remove_files();
}
END_TEST

/* Nobody is asked for it. */
START_TEST(passphrase_refused)
{
	static const char word[] = "secret";
	EVP_PKEY *key = new_key();

	make_files(1, -10, 1000);
	for (int i = 0; i < 2; i++) {
		BIO *out = BIO_new_file(key_path, "w");
		int ok = i ? PEM_write_bio_PKCS8PrivateKey(out, key, EVP_aes_128_cbc(), word,
							   sizeof(word) - 1, NULL, NULL)
			   : PEM_write_bio_PrivateKey_traditional(out, key, EVP_aes_128_cbc(),
								  (const unsigned char *)word,
								  sizeof(word) - 1, NULL, NULL);

		ck_assert_int_eq(ok, 1);
		BIO_free_all(out);
		check_both("the key has a passphrase, accepted: one without");
	}
	EVP_PKEY_free(key);
	remove_files();
}
END_TEST

/* RFC 5280 section 4.1.2.5. */
START_TEST(certificate_without_end)
{
	_cleanup_(http_tls_free_p) SSL_CTX *ctx = NULL;
	struct err e = {0};

	make_files(1, -10, 1000);
	EVP_PKEY *key = new_key();
	X509 *x = X509_new();
	X509_gmtime_adj(X509_getm_notBefore(x), -10);
	ck_assert(ASN1_TIME_set_string(X509_getm_notAfter(x), "99991231235959Z"));
	X509_set_pubkey(x, key);
	ck_assert_int_gt(X509_sign(x, key, EVP_sha256()), 0);
	write_key(key_path, key);
	FILE *f = fopen(cert_path, "we");
	ck_assert_ptr_nonnull(f);
	PEM_write_X509(f, x);
	fclose(f);
	X509_free(x);
	EVP_PKEY_free(key);
	ck_assert_msg(http_tls_load(cert_path, key_path, &ctx, &e) == 0, "%s", e.msg);
	ck_assert_int_eq(http_tls_not_after(ctx).ns, INT64_MAX);
	remove_files();
}
END_TEST

START_TEST(every_address)
{
	struct err e = {0};

	start(NULL);
	ck_assert_int_eq(http_server_bind(srv, "*:0", &e), 0);
	int fd = dial(1); /* IPv4 */
	for (int i = 0; i < 20 && http_server_conns(srv) == 0; i++)
		turn(mono_now());
	ck_assert_uint_eq(http_server_conns(srv), 1);
	close(fd);
	ck_assert_int_eq(http_server_bind(srv, "*:x", &e), -EINVAL);
	ck_assert_int_eq(http_server_bind(srv, "*:65536", &e), -EINVAL);
	char taken[32];
	snprintf(taken, sizeof(taken), "*:%u", http_server_port(srv, 1));
	ck_assert_int_eq(http_server_bind(srv, taken, &e), -EADDRINUSE);
	stop();
}
END_TEST

static Suite *suite(void)
{
	return UNIT_SUITE("http_tls", answers_by_tls, old_versions_refused, plain_http_is_cut,
			  silent_client_is_cut, silent_client_makes_room, large_bodies,
			  certificate_changes_live, draining, files_refused, broken_chain_refused,
			  passphrase_refused, certificate_without_end, every_address);
}

UNIT_MAIN(suite)
