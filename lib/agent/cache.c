/*
 * The file, all numbers little endian:
 *
 *     "HARMONY1"  count of parts (4)
 *     per part:   count of entries (4)
 *     per entry:  key length (4) | data length (4) | key | data
 *     BLAKE2s-256 of everything before it
 *
 * The hash is against torn writes and bit rot, not against whoever can write the directory.
 */
#include "agent/cache.h"
#include "base/buf.h"
#include "base/str.h"
#include "crypto/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC     "HARMONY1"
#define CACHE_MAX ((size_t)16 << 20)

void agent_entries_clear(struct agent_entries *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->items[i].key);
		mem_wipe(s->items[i].data, s->items[i].len);
		free(s->items[i].data);
	}
	free(s->items);
	*s = (struct agent_entries){0};
}

int agent_entries_add(struct agent_entries *s, const char *key, const char *data, size_t len)
{
	struct agent_entry entry = {strdup(key), mem_dup_str(data, len), len, false};

	if (!entry.key || !entry.data ||
	    mem_grow(&s->items, s->n, &s->cap, sizeof(*s->items)) < 0) {
		free(entry.key);
		if (entry.data)
			mem_wipe(entry.data, len);
		free(entry.data);
		return -ENOMEM;
	}
	s->items[s->n++] = entry;
	return 0;
}

bool agent_entries_equal(const struct agent_entries *a, const struct agent_entries *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		const struct agent_entry *x = &a->items[i], *y = &b->items[i];

		if (!str_eq(x->key, y->key) || x->len != y->len ||
		    memcmp(x->data, y->data, x->len) != 0)
			return false;
	}
	return true;
}

static void put32(struct buf *b, size_t v)
{
	uint8_t le[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};

	buf_add(b, le, sizeof(le));
}

static size_t encoded_size(const struct agent_entries *const *parts, size_t n)
{
	size_t size = 12 + CRYPTO_HASH;

	for (size_t i = 0; i < n; i++) {
		size += 4;
		for (size_t j = 0; j < parts[i]->n; j++)
			size += 8 + strlen(parts[i]->items[j].key) + parts[i]->items[j].len;
	}
	return size;
}

static int encode(struct buf *b, const struct agent_entries *const *parts, size_t n)
{
	uint8_t hash[CRYPTO_HASH];

	if (buf_reserve(b, encoded_size(parts, n)) < 0) /* at once: see buf.h on secrets */
		return buf_error(b);
	buf_add(b, MAGIC, 8);
	put32(b, n);
	for (size_t i = 0; i < n; i++) {
		put32(b, parts[i]->n);
		for (size_t j = 0; j < parts[i]->n; j++) {
			const struct agent_entry *entry = &parts[i]->items[j];

			put32(b, strlen(entry->key));
			put32(b, entry->len);
			buf_adds(b, entry->key);
			buf_add(b, entry->data, entry->len);
		}
	}
	crypto_blake2s_hash(b->data, b->len, NULL, 0, hash);
	buf_add(b, hash, sizeof(hash));
	return buf_error(b);
}

static int write_file(const char *tmp, int fd, const struct buf *b, struct err *e)
{
	for (size_t done = 0; done < b->len;) {
		ssize_t n = write(fd, b->data + done, b->len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, -errno, "%s", tmp);
		done += (size_t)n;
	}
	return fsync(fd) < 0 ? err_sys(e, -errno, "%s", tmp) : 0;
}

int agent_cache_write(const char *path, const struct agent_entries *const *parts, size_t n,
		      struct err *e)
{
	_cleanup_(buf_wipe) struct buf b = BUF_INIT(CACHE_MAX);
	char tmp[PATH_MAX], dir[PATH_MAX];
	int r = encode(&b, parts, n);

	if (r < 0)
		return err_set(e, r, "%s: too large to keep", path);
	int len = snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path);
	snprintf(dir, sizeof(dir), "%s", path);
	if (len < 0 || (size_t)len >= sizeof(tmp))
		return err_set(e, -ENAMETOOLONG, "%s: the path is too long", path);
	if (strrchr(dir, '/')) {
		*strrchr(dir, '/') = '\0';
		if (dir[0] && mkdir(dir, 0700) < 0 && errno != EEXIST)
			return err_sys(e, -errno, "%s", dir);
	}
	_cleanup_close_ int fd = mkostemp(tmp, O_CLOEXEC); /* 0600 */
	if (fd < 0)
		return err_sys(e, -errno, "%s", tmp);
	r = write_file(tmp, fd, &b, e);
	if (r == 0 && rename(tmp, path) < 0)
		r = err_sys(e, -errno, "%s", path);
	if (r < 0)
		unlink(tmp);
	return r;
}

struct cursor {
	const uint8_t *at;
	size_t left;
};

static int get32(struct cursor *c, uint32_t *ret)
{
	if (c->left < 4)
		return -EBADMSG;
	*ret = (uint32_t)c->at[0] | (uint32_t)c->at[1] << 8 | (uint32_t)c->at[2] << 16 |
	       (uint32_t)c->at[3] << 24;
	c->at += 4;
	c->left -= 4;
	return 0;
}

static int decode_part(struct cursor *c, struct agent_entries *part)
{
	uint32_t count, key_len, data_len;

	if (get32(c, &count) < 0)
		return -EBADMSG;
	while (count--) {
		char key[1024];

		if (get32(c, &key_len) < 0 || get32(c, &data_len) < 0 || key_len >= sizeof(key) ||
		    key_len > c->left || data_len > c->left - key_len)
			return -EBADMSG;
		memcpy(key, c->at, key_len);
		key[key_len] = '\0';
		int r = agent_entries_add(part, key, (const char *)c->at + key_len, data_len);
		if (r < 0)
			return r;
		c->at += key_len + data_len;
		c->left -= key_len + data_len;
	}
	return 0;
}

static int decode(const struct buf *b, struct agent_entries *parts, size_t n)
{
	uint8_t hash[CRYPTO_HASH];
	uint32_t count;
	int r = 0;

	if (b->len < 12 + CRYPTO_HASH || memcmp(b->data, MAGIC, 8) != 0)
		return -EBADMSG;
	crypto_blake2s_hash(b->data, b->len - CRYPTO_HASH, NULL, 0, hash);
	if (memcmp(hash, b->data + b->len - CRYPTO_HASH, CRYPTO_HASH) != 0)
		return -EBADMSG;
	struct cursor c = {(const uint8_t *)b->data + 8, b->len - 8 - CRYPTO_HASH};
	if (get32(&c, &count) < 0 || count != n)
		return -EBADMSG;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = decode_part(&c, &parts[i]);
	return r < 0 ? r : c.left ? -EBADMSG : 0;
}

int agent_cache_read(const char *path, struct agent_entries *parts, size_t n, struct err *e)
{
	_cleanup_(buf_wipe) struct buf b = BUF_INIT(CACHE_MAX);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	ssize_t got;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, -errno, "%s", path);
	if (!S_ISREG(st.st_mode) || (st.st_mode & 077))
		return err_set(e, -EPERM,
			       "%s: found mode %04o, accepted is a file closed to others (0600)",
			       path, st.st_mode & 07777);
	if (buf_reserve(&b, (size_t)st.st_size + 1) < 0)
		return err_set(e, buf_error(&b), "%s: found %lld bytes, accepted are up to %zu",
			       path, (long long)st.st_size, CACHE_MAX);
	while ((got = read(fd, b.data + b.len, b.cap - b.len - 1)) > 0)
		b.len += (size_t)got;
	if (got < 0)
		return err_sys(e, -errno, "%s", path);

	int r = decode(&b, parts, n);
	for (size_t i = 0; r < 0 && i < n; i++)
		agent_entries_clear(&parts[i]);
	return r == -ENOMEM ? err_set(e, r, "out of memory")
	       : r < 0      ? err_set(e, r, "%s: not a whole file of ours", path)
			    : 0;
}
