/*
 * Findings about documents. Each is one line of text that stands for itself: where (document,
 * line and column, path of keys), what was found, what is accepted.
 *
 * A document is not a secret, but may hold one in the wrong place (a private key where its path
 * belongs). So a run of characters that is long enough for a key is never repeated, wherever it
 * stands: see looks_secret.
 */
#include "base/buf.h"
#include "base/str.h"
#include "config/model_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define SHOWN_MAX  64   /* bytes of a text that are repeated */
#define DIAG_MAX   8192 /* more than the longest path and message together */
#define NAME_SHOWN 1024
#define KEYLIKE    40 /* 44 characters of base64 make a key; what is a little cut is one still */
#define WARN_SHARE (CONFIG_MAX_DIAGS / 2)

void config_diags_clear(struct config_diags *d)
{
	for (size_t i = 0; i < d->n; i++)
		free(d->items[i].text);
	free(d->items);
	*d = (struct config_diags){0};
}

/* Warnings leave half of the room to errors. */
static bool is_full(const struct config_diags *d, bool warning)
{
	size_t errors = 0;

	if (d->n >= CONFIG_MAX_DIAGS)
		return true;
	if (!warning)
		return false;
	for (size_t i = 0; i < d->n; i++)
		errors += !d->items[i].warning;
	return d->n - errors >= WARN_SHARE;
}

int config_diag_add(struct config_diags *d, const struct config_diag *diag)
{
	if (is_full(d, diag->warning)) {
		d->truncated = true;
	} else {
		struct config_diag copy = *diag;

		if (mem_grow(&d->items, d->n, &d->cap, sizeof(*d->items)) < 0)
			return -ENOMEM;
		copy.text = strdup(diag->text);
		if (!copy.text)
			return -ENOMEM;
		d->items[d->n++] = copy;
	}
	if (diag->warning)
		d->n_warnings++;
	else
		d->n_errors++;
	return 0;
}

void config_put_place(struct buf *b, const char *source, struct cfg_pos pos)
{
	buf_addf(b, "%.*s", NAME_SHOWN, source);
	if (pos.line)
		buf_addf(b, ":%u:%u", pos.line, pos.column);
}

int config_diag_network(struct config_diags *d, const struct config_network *n, const char *fmt,
			...)
{
	_cleanup_buf_ struct buf b = BUF_INIT(DIAG_MAX);
	va_list ap;

	config_put_place(&b, n->source, n->pos);
	buf_addf(&b, ": network.%s: ", n->name);
	va_start(ap, fmt);
	buf_addv(&b, fmt, ap);
	va_end(ap);

	struct config_diag diag = {.text = (char *)buf_str(&b), .doc = n->doc, .pos = n->pos};
	return buf_error(&b) == -ENOMEM ? -ENOMEM : config_diag_add(d, &diag);
}

void config_diags_write(const struct config_diags *d, struct buf *b)
{
	for (size_t i = 0; i < d->n; i++)
		buf_addf(b, "%s: %s\n", d->items[i].warning ? "warning" : "error",
			 d->items[i].text);
	if (d->truncated)
		buf_addf(b, "and %zu more\n", d->n_errors + d->n_warnings - d->n);
}

static bool is_base64(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '+' || c == '/' || c == '=';
}

static bool looks_secret(const char *s, size_t len)
{
	size_t run = 0;

	for (size_t i = 0; i < len; i++) {
		run = is_base64(s[i]) ? run + 1 : 0;
		if (run >= KEYLIKE)
			return true;
	}
	return false;
}

/* Quoted, control characters escaped, cut between characters. */
static void add_quoted(struct buf *b, const char *s, size_t len)
{
	size_t n = len < SHOWN_MAX ? len : SHOWN_MAX;

	if (looks_secret(s, len)) {
		buf_addf(b, "%zu characters that may be a key (not shown)", len);
		return;
	}
	if (n < len)
		while (n > 0 && ((unsigned char)s[n] & 0xC0) == 0x80)
			n--;
	buf_addc(b, '"');
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c == '"' || c == '\\')
			buf_addf(b, "\\%c", c);
		else if (c < 0x20 || c == 0x7F)
			buf_addf(b, "\\x%02x", c);
		else
			buf_addc(b, (char)c);
	}
	buf_adds(b, n < len ? "…\"" : "\"");
}

/* A buffer as a caller's array; what does not fit is cut between characters. */
static const char *take(struct buf *b, char out[static CONFIG_FOUND_LEN])
{
	const char *s = buf_str(b);
	size_t n = strlen(s);

	if (n >= CONFIG_FOUND_LEN) {
		n = CONFIG_FOUND_LEN - sizeof("…");
		while (n > 0 && ((unsigned char)s[n] & 0xC0) == 0x80)
			n--;
		snprintf(out, CONFIG_FOUND_LEN, "%.*s…", (int)n, s);
	} else {
		memcpy(out, s, n + 1);
	}
	buf_free(b);
	return out;
}

const char *config_found_text(const char *s, size_t len, char out[static CONFIG_FOUND_LEN])
{
	struct buf b = BUF_INIT(DIAG_MAX);

	add_quoted(&b, s, len);
	return take(&b, out);
}

const char *config_found(const struct cfg_value *v, char out[static CONFIG_FOUND_LEN])
{
	struct buf b = BUF_INIT(DIAG_MAX);

	switch (v->type) {
	case CFG_STRING: add_quoted(&b, v->str, v->len); break;
	case CFG_INTEGER: buf_addf(&b, "%" PRId64, v->integer); break;
	case CFG_FLOAT: buf_addf(&b, "%g (a number with a fraction or exponent)", v->number); break;
	case CFG_BOOL: buf_adds(&b, v->boolean ? "true" : "false"); break;
	case CFG_DATETIME:
	case CFG_ARRAY:
	case CFG_TABLE:
	case CFG_NULL: buf_addf(&b, "a value of type %s", cfg_type_name(v->type)); break;
	}
	return take(&b, out);
}

const char *config_where(const struct config_doc *doc, struct cfg_pos pos,
			 char out[static CONFIG_FOUND_LEN])
{
	struct buf b = BUF_INIT(DIAG_MAX);

	config_put_place(&b, doc->name, pos);
	return take(&b, out);
}

static bool is_bare(const char *key)
{
	size_t n = strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");

	return n > 0 && n < KEYLIKE && !key[n];
}

static void add_path(struct buf *b, const struct config_at *at)
{
	if (!at->up)
		return;
	add_path(b, at->up);
	if (!at->key) {
		buf_addf(b, "[%zu]", at->index);
		return;
	}
	if (at->up->up)
		buf_addc(b, '.');
	if (is_bare(at->key))
		buf_adds(b, at->key);
	else
		add_quoted(b, at->key, strlen(at->key));
}

__attribute__((format(printf, 4, 0))) static void
say(struct config_run *run, bool warning, const struct config_at *at, const char *fmt, va_list ap)
{
	struct buf b = BUF_INIT(DIAG_MAX);
	const struct config_at *root = at;

	while (root->up)
		root = root->up;
	config_put_place(&b, root->doc->name, at->pos);
	buf_adds(&b, ": ");
	if (at->up) {
		add_path(&b, at);
		buf_adds(&b, ": ");
	}
	buf_addv(&b, fmt, ap);
	struct config_diag diag = {.warning = warning,
				   .text = (char *)buf_str(&b),
				   .doc = (size_t)(root->doc - run->docs),
				   .pos = at->pos};
	if (buf_error(&b) == -ENOMEM || config_diag_add(run->diags, &diag) < 0)
		run->no_memory = true;
	buf_free(&b);
}

void config_error(struct config_run *run, const struct config_at *at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(run, false, at, fmt, ap);
	va_end(ap);
}

void config_warn(struct config_run *run, const struct config_at *at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(run, true, at, fmt, ap);
	va_end(ap);
}
