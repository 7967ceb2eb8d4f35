#include "cfgdump.h"

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "fault.h"

static void add_text(struct buf *b, const char *s, size_t len)
{
	buf_addc(b, '"');
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] < ' ' || s[i] == '"' || s[i] == '\\')
			buf_addf(b, "\\x%02X", (unsigned char)s[i]);
		else
			buf_addc(b, s[i]);
	buf_addc(b, '"');
}

static void add_key(struct buf *b, const struct cfg_entry *entry)
{
	bool bare = entry->key_len > 0;

	for (size_t i = 0; i < entry->key_len; i++)
		bare = bare &&
		       ((entry->key[i] >= 'a' && entry->key[i] <= 'z') ||
			(entry->key[i] >= '0' && entry->key[i] <= '9') || entry->key[i] == '_');
	if (bare)
		buf_adds(b, entry->key);
	else
		add_text(b, entry->key, entry->key_len);
}

static void add_value(struct buf *b, const struct cfg_value *v, bool positions)
{
	switch (v->type) {
	case CFG_STRING: add_text(b, v->str, v->len); break;
	case CFG_DATETIME: buf_adds(b, v->str); break;
	case CFG_INTEGER: buf_addf(b, "%" PRIi64, v->integer); break;
	case CFG_FLOAT: buf_addf(b, "%#.17g", v->number); break;
	case CFG_BOOL: buf_adds(b, v->boolean ? "true" : "false"); break;
	case CFG_NULL: buf_adds(b, "null"); break;
	case CFG_ARRAY:
		buf_addc(b, '[');
		for (size_t i = 0; i < v->n_items; i++) {
			buf_adds(b, i ? ", " : "");
			add_value(b, v->items[i], positions);
		}
		buf_addc(b, ']');
		break;
	case CFG_TABLE:
		buf_addc(b, '{');
		for (size_t i = 0; i < v->n_entries; i++) {
			const struct cfg_entry *entry = &v->entries[i];

			buf_adds(b, i ? ", " : "");
			add_key(b, entry);
			if (positions)
				buf_addf(b, "@%u:%u", entry->key_pos.line, entry->key_pos.column);
			buf_adds(b, ": ");
			add_value(b, entry->value, positions);
		}
		buf_addc(b, '}');
		break;
	}
	if (positions)
		buf_addf(b, "@%u:%u", v->pos.line, v->pos.column);
}

char *cfg_dump(const struct cfg_value *v, bool positions)
{
	struct buf b = BUF_INIT(0);

	add_value(&b, v, positions);
	return b.data;
}

void cfg_same(cfg_parser a, const char *text_a, cfg_parser b, const char *text_b)
{
	_cleanup_cfg_value_ struct cfg_value *va = NULL, *vb = NULL;

	ck_assert_int_eq(a(text_a, strlen(text_a), &va, NULL, NULL), 0);
	ck_assert_int_eq(b(text_b, strlen(text_b), &vb, NULL, NULL), 0);
	_cleanup_free_ char *da = cfg_dump(va, false), *db = cfg_dump(vb, false);
	ck_assert_str_eq(da, db);
}

void cfg_no_memory(cfg_parser parse, const char *text, size_t least)
{
	struct cfg_value *v = NULL;
	struct err e = {0};
	size_t rounds = 0;
	int r;

	/* What a library keeps from its first use on is no leak. */
	ck_assert_int_eq(parse(text, strlen(text), &v, NULL, NULL), 0);
	cfg_value_free(mem_steal(&v));
	FAULT_LOOP({
		r = parse(text, strlen(text), &v, NULL, &e);
		if (r == 0)
			cfg_value_free(mem_steal(&v));
	})
	{
		ck_assert_int_eq(r, -ENOMEM);
		ck_assert_str_eq(e.msg, "out of memory");
		ck_assert_ptr_null(v);
		rounds++;
	}
	ck_assert_int_eq(r, 0);
	ck_assert_uint_gt(rounds, least);
}
