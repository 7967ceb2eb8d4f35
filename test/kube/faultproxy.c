/*
 * Faults between a client and the API server, of two kinds.
 *
 *   faultproxy --to PORT
 *       passes TCP connections on to 127.0.0.1:PORT, TLS and all, and obeys lines on standard
 *       input:  pass | stall (nothing passes, connections stay) | reset (RST to all that are
 *       open) | cut N (each open and new connection is closed after N more bytes to the client)
 *       | refuse | accept (stop listening, listen again)
 *
 *   faultproxy --script FILE --cert FILE --key FILE
 *       answers itself, over TLS, what a real server cannot be made to say. The script is blocks,
 *       each for one request, taken in order by requests of its kind:
 *           on list | on watch          begins a block
 *           status N                    default 200
 *           header NAME: VALUE
 *           line TEXT                   a piece of the body with a newline
 *           part TEXT                   a piece of the body without one
 *           many N TEXT                 that line N times
 *           sleep MS
 *           hold                        keeps the connection open until the client leaves
 *           abort                       closes without ending the body in good order
 *       The body ends in good order unless it says otherwise. A request for which there is no
 *       block is answered 503; /version is always answered.
 *
 * The port is printed as "listening PORT", requests as "request MS METHOD PATH". One thread for
 * each connection: this is a test program, and simple.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_LINES 512

static int listener = -1, port, target;
static struct timespec start;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static long ms_since_start(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (t.tv_sec - start.tv_sec) * 1000 + (t.tv_nsec - start.tv_nsec) / 1000000;
}

static int listen_on(int want)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				.sin_port = htons((uint16_t)want)};
	socklen_t len = sizeof(a);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (void *)&a, sizeof(a)) < 0 || listen(fd, 64) < 0 ||
	    getsockname(fd, (void *)&a, &len) < 0)
		die("listen");
	port = ntohs(a.sin_port);
	return fd;
}

/* ---- Passing on ---- */

static atomic_bool stalled;
static atomic_uint resets;   /* connections older than the count are reset */
static atomic_long cut_left; /* bytes to the client until a cut; -1: none */

/* Moves what is there; false when the connection is over. */
static bool move_bytes(int from, int to, bool to_client)
{
	char b[16384];
	size_t want = sizeof(b);
	long left = to_client ? cut_left : -1;

	if (left == 0)
		return false;
	if (left > 0 && (size_t)left < want)
		want = (size_t)left;
	ssize_t n = recv(from, b, want, 0);
	if (n <= 0)
		return false;
	for (ssize_t at = 0; at < n;) {
		ssize_t sent = send(to, b + at, (size_t)(n - at), MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		at += sent;
	}
	if (left > 0)
		cut_left = left - n;
	return true;
}

static void *pass_on(void *arg)
{
	int client = (int)(intptr_t)arg, server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				.sin_port = htons((uint16_t)target)};
	struct linger hard = {.l_onoff = 1};
	unsigned born = resets;
	bool open = connect(server, (void *)&a, sizeof(a)) == 0;

	while (open) {
		struct pollfd p[2] = {{.fd = client, .events = POLLIN},
				      {.fd = server, .events = POLLIN}};

		if (resets != born) {
			setsockopt(client, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
			break;
		}
		if (stalled) {
			usleep(10000);
			continue;
		}
		if (poll(p, 2, 20) < 0)
			break;
		if (p[0].revents)
			open = move_bytes(client, server, false);
		if (open && p[1].revents)
			open = move_bytes(server, client, true);
	}
	close(client);
	close(server);
	return NULL;
}

static void *read_commands(void *arg)
{
	char line[256];
	long n;

	while (fgets(line, sizeof(line), stdin)) {
		if (strcmp(line, "pass\n") == 0) {
			cut_left = -1;
			stalled = false;
		} else if (strcmp(line, "stall\n") == 0) {
			stalled = true;
		} else if (strcmp(line, "reset\n") == 0) {
			resets++;
		} else if (sscanf(line, "cut %ld", &n) == 1) {
			cut_left = n;
		} else if (strcmp(line, "refuse\n") == 0) {
			shutdown(listener, SHUT_RDWR);
			close(listener);
			listener = -1;
		} else if (strcmp(line, "accept\n") == 0) {
			listener = listen_on(port);
		} else {
			printf("no such command: %s", line);
			continue;
		}
		printf("did %s", line);
	}
	return NULL;
}

/* ---- Answering ---- */

struct block {
	bool watch, used;
	const char *lines[MAX_LINES];
	size_t n;
};

static struct block blocks[128];
static size_t n_blocks;
static pthread_mutex_t blocks_lock = PTHREAD_MUTEX_INITIALIZER;
static SSL_CTX *tls;

static void read_script(const char *path)
{
	FILE *f = fopen(path, "r");
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	if (!f)
		die(path);
	while ((n = getline(&line, &cap, f)) > 0) {
		if (line[n - 1] == '\n')
			line[n - 1] = '\0';
		if (line[0] == '\0' || line[0] == '#')
			continue;
		if (strncmp(line, "on ", 3) == 0) {
			blocks[n_blocks++].watch = strcmp(line + 3, "watch") == 0;
		} else if (n_blocks) {
			struct block *b = &blocks[n_blocks - 1];
			b->lines[b->n++] = strdup(line);
		}
	}
	free(line);
	fclose(f);
}

static struct block *next_block(bool watch)
{
	struct block *found = NULL;

	pthread_mutex_lock(&blocks_lock);
	for (size_t i = 0; i < n_blocks && !found; i++)
		if (!blocks[i].used && blocks[i].watch == watch)
			found = &blocks[i];
	if (found)
		found->used = true;
	pthread_mutex_unlock(&blocks_lock);
	return found;
}

static bool say(SSL *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool say(SSL *s, const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	bool ok = n >= 0 && (n == 0 || SSL_write(s, text, n) == n);
	if (n >= 0)
		free(text);
	return ok;
}

static bool say_chunk(SSL *s, const char *text, const char *end)
{
	return say(s, "%zx\r\n%s%s\r\n", strlen(text) + strlen(end), text, end);
}

/* Returns whether the connection may be used again. */
static bool answer(SSL *s, const struct block *b)
{
	int status = 200;
	char c;

	for (size_t i = 0; b && i < b->n; i++)
		sscanf(b->lines[i], "status %d", &status);
	say(s, "HTTP/1.1 %d Scripted\r\nContent-Type: application/json\r\n", b ? status : 503);
	for (size_t i = 0; b && i < b->n; i++)
		if (strncmp(b->lines[i], "header ", 7) == 0)
			say(s, "%s\r\n", b->lines[i] + 7);
	say(s, "Transfer-Encoding: chunked\r\n\r\n");
	for (size_t i = 0; b && i < b->n; i++) {
		const char *l = b->lines[i];
		int n, at = 0;

		if (strncmp(l, "line ", 5) == 0)
			say_chunk(s, l + 5, "\n");
		else if (strncmp(l, "part ", 5) == 0)
			say_chunk(s, l + 5, "");
		else if (sscanf(l, "many %d %n", &n, &at) == 1 && at)
			for (; n > 0 && say_chunk(s, l + at, "\n"); n--)
				;
		else if (sscanf(l, "sleep %d", &n) == 1)
			usleep((useconds_t)n * 1000);
		else if (strcmp(l, "hold") == 0)
			return SSL_read(s, &c, 1) > 0 && false;
		else if (strcmp(l, "abort") == 0)
			return false;
	}
	return say(s, "0\r\n\r\n");
}

/* The body of a request that is not scripted (an Event, a patch) is read and forgotten. */
static bool skip_body(SSL *s, const char *head)
{
	const char *at = strcasestr(head, "\r\ncontent-length:");
	size_t left = at ? strtoul(at + strlen("\r\ncontent-length:"), NULL, 10) : 0;
	char b[4096];
	int n;

	while (left > 0) {
		n = SSL_read(s, b, (int)(left < sizeof(b) ? left : sizeof(b)));
		if (n <= 0)
			return false;
		left -= (size_t)n;
	}
	return true;
}

/* One request's head. */
static bool read_head(SSL *s, char *head, size_t size)
{
	size_t n = 0;

	while (n + 1 < size && SSL_read(s, head + n, 1) == 1) {
		head[++n] = '\0';
		if (n >= 4 && memcmp(head + n - 4, "\r\n\r\n", 4) == 0)
			return true;
	}
	return false;
}

static void *serve(void *arg)
{
	int fd = (int)(intptr_t)arg;
	SSL *s = SSL_new(tls);
	char head[16384], method[16], path[4096];
	bool again = true;

	SSL_set_fd(s, fd);
	again = SSL_accept(s) == 1;
	while (again && read_head(s, head, sizeof(head)) &&
	       sscanf(head, "%15s %4095s", method, path) == 2) {
		printf("request %ld %s %s\n", ms_since_start(), method, path);
		if (strcmp(path, "/version") == 0)
			again = say(s, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		else if (strcmp(method, "GET") != 0)
			again = skip_body(s, head) && answer(s, NULL);
		else
			again = answer(s, next_block(strstr(path, "watch=true")));
	}
	SSL_free(s);
	close(fd);
	return NULL;
}

static void set_up_tls(const char *cert, const char *key)
{
	tls = SSL_CTX_new(TLS_server_method());
	if (!tls || SSL_CTX_use_certificate_chain_file(tls, cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) {
		ERR_print_errors_fp(stderr);
		exit(1);
	}
}

static void spawn(void *(*f)(void *), void *arg)
{
	pthread_t t;

	if (pthread_create(&t, NULL, f, arg) != 0)
		die("pthread_create");
	pthread_detach(t);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"to", 1, NULL, 't'},   {"script", 1, NULL, 's'},
						{"cert", 1, NULL, 'c'}, {"key", 1, NULL, 'k'},
						{"port", 1, NULL, 'p'}, {0}};
	const char *script = NULL, *cert = NULL, *key = NULL;
	int o, want = 0;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 't': target = atoi(optarg); break;
		case 's': script = optarg; break;
		case 'c': cert = optarg; break;
		case 'k': key = optarg; break;
		case 'p': want = atoi(optarg); break;
		default: return 2;
		}
	}
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	cut_left = -1;
	listener = listen_on(want);
	printf("listening %d\n", port);
	if (script) {
		read_script(script);
		set_up_tls(cert, key);
	} else {
		spawn(read_commands, NULL);
	}
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0)
			spawn(script ? serve : pass_on, (void *)(intptr_t)fd);
		else
			usleep(10000); /* not listening for now */
	}
}
