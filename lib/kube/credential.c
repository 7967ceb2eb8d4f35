/*
 * Theory of operation. A ServiceAccount's token is valid for about an hour and its file is
 * written anew before that; a CA bundle changes when the cluster's CA is rotated; both by
 * swapping the link `..data` of the mounted folder. So the folders are watched for something
 * moved into them (inotify), and every file is read again each minute in any case.
 *
 *   read fails, or no token in it   the old content stays, counted
 *   token differs                   used for requests from now on
 *   CA, certificate, key differ     `changed`: connections made with the old ones are not used
 *                                   for new requests (libcurl compares), streams are reopened
 *   the server answers 401          read now; whatever is there is used
 *
 * Contents are compared, not times: a swap that changes nothing costs nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/inotify.h>

#include "base/str.h"
#include "kube/kube_priv.h"
#include "log/log.h"

#define REREAD_SECS 60

int kube_read_file(const char *path, size_t max, struct buf *ret, struct err *e)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct buf b = BUF_INIT(0);
	ssize_t n;

	if (fd < 0)
		return err_sys(e, -errno, "%s", path);
	do {
		if (buf_reserve(&b, 16384) < 0) {
			buf_wipe(&b);
			return err_sys(e, -ENOMEM, "%s", path);
		}
		n = read(fd, b.data + b.len, b.cap - b.len - 1);
		if (n > 0)
			b.len += (size_t)n;
	} while ((n > 0 && b.len <= max) || (n < 0 && errno == EINTR));
	if (n < 0 || b.len > max) {
		int code = n < 0 ? -errno : -E2BIG;

		buf_wipe(&b);
		return n < 0 ? err_sys(e, code, "%s", path)
			     : err_set(e, code, "%s: more than %zu bytes", path, max);
	}
	b.data[b.len] = '\0';
	buf_wipe(ret);
	*ret = b;
	return 0;
}

/* White space around it is trimmed; what is left must be fit for a header line. */
static int check_token(struct buf *b, const char *what, struct err *e)
{
	size_t skip = b->data ? strspn(b->data, " \t\r\n") : 0;

	buf_consume(b, skip);
	while (b->len > 0 && strchr(" \t\r\n", b->data[b->len - 1]))
		b->data[--b->len] = '\0';
	if (b->len == 0)
		return err_set(e, -EINVAL, "%s: no token in it", what);
	for (size_t i = 0; i < b->len; i++)
		if (b->data[i] <= ' ' || b->data[i] > '~')
			return err_set(e, -EINVAL,
				       "%s: not a token (byte %zu of it is no "
				       "printable character)",
				       what, i + 1);
	return 0;
}

/* Reads one source. Returns 1 if the content is another one now, 0 if not, or an error. */
static int reload(const struct kube_source *s, bool token, struct buf *content, struct err *e)
{
	struct buf b = BUF_INIT(0);
	int r = 0;

	if (s->file)
		r = kube_read_file(s->file, KUBE_MAX_CREDENTIAL, &b, e);
	else if (s->data)
		buf_adds(&b, s->data);
	else
		return 0;
	if (r == 0 && buf_error(&b))
		r = err_sys(e, buf_error(&b), "credentials");
	if (r == 0 && token)
		r = check_token(&b, s->file ? s->file : "the token of the kubeconfig", e);
	else if (r == 0 && b.len == 0)
		r = err_set(e, -EINVAL, "%s: empty", s->file ? s->file : "credentials");
	if (r == 0 &&
	    (b.len != content->len || (b.len > 0 && memcmp(b.data, content->data, b.len) != 0))) {
		buf_wipe(content);
		*content = b;
		return 1;
	}
	buf_wipe(&b);
	return r;
}

/* All of them; the first failure is told, and does not keep the others from being read. */
static int reload_all(struct kube_credential *c, bool *ret_identity, bool *ret_token, struct err *e)
{
	const struct {
		const struct kube_source *source;
		struct buf *content;
		bool *changed;
	} all[] = {
		{&c->config->ca, &c->ca, ret_identity},
		{&c->config->cert, &c->cert, ret_identity},
		{&c->config->key, &c->key, ret_identity},
		{&c->config->token, &c->token, ret_token},
	};
	int first = 0;

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		int r = reload(all[i].source, all[i].content == &c->token, all[i].content,
			       first ? NULL : e);

		if (r > 0)
			*all[i].changed = true;
		else if (r < 0 && !first)
			first = r;
	}
	return first;
}

static void refresh(struct kube_credential *c)
{
	struct err e;
	bool identity = false, token = false;

	if (reload_all(c, &identity, &token, &e) < 0) {
		c->stats->credential_failures++;
		log_debug("kube: credentials not read, the old ones stay", LOG_STR("error", e.msg));
	}
	c->stats->token_reads += token;
	c->stats->ca_changes += identity;
	if (identity)
		c->changed(c->arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	refresh(arg);
}

static bool is_ours(const struct kube_credential *c, const char *name)
{
	const char *const files[] = {c->config->ca.file, c->config->cert.file, c->config->key.file,
				     c->config->token.file};

	if (str_eq(name, "..data"))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		const char *base = files[i] ? strrchr(files[i], '/') : NULL;

		if (files[i] && str_eq(name, base ? base + 1 : files[i]))
			return true;
	}
	return false;
}

static void on_notify(evutil_socket_t fd, short what, void *arg)
{
	struct kube_credential *c = arg;
	_Alignas(struct inotify_event) char b[4096];
	bool ours = false;
	ssize_t n;

	while ((n = read(fd, b, sizeof(b))) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *ev = (const struct inotify_event *)(b + at);

			at += (ssize_t)sizeof(*ev) + ev->len;
			ours |= ev->mask & IN_Q_OVERFLOW || (ev->len && is_ours(c, ev->name));
		}
	}
	if (ours)
		refresh(c);
}

static void watch_folder(struct kube_credential *c, const char *file)
{
	char dir[PATH_MAX];

	if (file && str_copy(dir, sizeof(dir), file) == 0)
		inotify_add_watch(c->notify_fd, dirname(dir), IN_MOVED_TO | IN_CLOSE_WRITE);
}

/* Without it (no inotify instances left) only the timer is there: not an error. */
static void notify_init(struct kube_credential *c, struct event_base *base)
{
	c->notify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (c->notify_fd < 0)
		return;
	watch_folder(c, c->config->ca.file);
	watch_folder(c, c->config->cert.file);
	watch_folder(c, c->config->key.file);
	watch_folder(c, c->config->token.file);
	c->notify = event_new(base, c->notify_fd, EV_READ | EV_PERSIST, on_notify, c);
	if (c->notify)
		event_add(c->notify, NULL);
}

int kube_credential_init(struct kube_credential *c, struct event_base *base,
			 const struct kube_config *config, struct kube_client_stats *stats,
			 void (*changed)(void *arg), void *arg, struct err *e)
{
	const struct timeval minute = {.tv_sec = REREAD_SECS};
	bool identity = false, token = false;

	*c = (struct kube_credential){
		.config = config, .stats = stats, .notify_fd = -1, .changed = changed, .arg = arg};
	int r = reload_all(c, &identity, &token, e);
	if (r < 0)
		return r;
	c->timer = event_new(base, -1, EV_PERSIST, on_timer, c);
	if (!c->timer || event_add(c->timer, &minute) < 0)
		return err_sys(e, -ENOMEM, "credentials");
	notify_init(c, base);
	return 0;
}

void kube_credential_done(struct kube_credential *c)
{
	if (c->timer)
		event_free(c->timer);
	if (c->notify)
		event_free(c->notify);
	if (c->config && c->notify_fd >= 0)
		close(c->notify_fd);
	buf_wipe(&c->ca);
	buf_wipe(&c->cert);
	buf_wipe(&c->key);
	buf_wipe(&c->token);
	*c = (struct kube_credential){.notify_fd = -1};
}

void kube_credential_rejected(struct kube_credential *c)
{
	refresh(c);
}
