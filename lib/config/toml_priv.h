/*
 * What the files of the TOML parser share: the cursor, its errors, and the readers of each kind
 * of value. Every reader begins at the cursor, moves it behind what it has read, and on failure
 * has set the error; where the cursor stands then does not matter.
 */
#ifndef CONFIG_TOML_PRIV_H
#define CONFIG_TOML_PRIV_H

#include "base/err.h"
#include "base/str.h"
#include "config/value_priv.h"

struct toml {
	const char *text, *p, *end;
	/* The place of one byte, from which later ones are counted: see toml_pos. */
	const char *mark;
	struct cfg_pos mark_pos;
	struct cfg_index index;
	size_t n_values;
	struct cfg_pos *ret_pos;
	struct err *e;
};

/* toml.c: the cursor. */
struct cfg_pos toml_pos(struct toml *t, const char *at);
int toml_fail(struct toml *t, const char *at, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* -EINVAL: "found X, accepted: …" with what stands at the cursor. */
int toml_fail_found(struct toml *t, const char *accepted);
int toml_fail_memory(struct toml *t);
bool toml_at(const struct toml *t, char c);
void toml_skip_blank(struct toml *t);   /* spaces and tabs */
void toml_skip_lines(struct toml *t);   /* blanks, comments and line ends */
void toml_skip_comment(struct toml *t); /* up to the line end */
/* The value counts against CFG_MAX_VALUES. */
int toml_new_value(struct toml *t, enum cfg_type type, struct cfg_pos pos, struct cfg_value **ret);

/* toml.c: one `key = value` of `table`, which is nested `depth` deep. */
int toml_key_value(struct toml *t, struct cfg_value *table, unsigned depth);

/* toml_value.c: any value; `depth` is that of the table or array it stands in. */
int toml_value(struct toml *t, unsigned depth, struct cfg_value **ret);

/* toml_string.c: a quoted text, as a copy that the caller owns. */
int toml_string(struct toml *t, bool multiline_too, char **ret, size_t *ret_len);

/* toml_number.c: whether the token at the cursor is a number; then it is read into a value. */
int toml_number(struct toml *t, const char *end, struct cfg_value **ret);

/* toml_datetime.c: whether a date or time begins at the cursor, and reading one. */
bool toml_is_datetime(const struct toml *t);
int toml_datetime(struct toml *t, struct cfg_value **ret);

#endif
