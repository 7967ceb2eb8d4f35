/*
 * A configuration document as a tree of values, each with the place where it stands. The three
 * spellings (toml.h, yaml.h, json.h) produce the same tree; the model (model.h) is read from it
 * and never asks which spelling it was.
 */
#ifndef CONFIG_VALUE_H
#define CONFIG_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

enum cfg_type {
	CFG_STRING,
	CFG_INTEGER,
	CFG_FLOAT,
	CFG_BOOL,
	CFG_DATETIME, /* TOML's four date and time types; the text is in str */
	CFG_ARRAY,
	CFG_TABLE,
	CFG_NULL, /* JSON null, YAML null: treated as if the key were not there */
};

/* Where a value begins. Lines and columns count from 1; columns count characters (code points). An
 * implicit table of TOML ([a.b] makes a) begins at its name. */
struct cfg_pos {
	unsigned line, column;
	unsigned offset; /* bytes from the beginning, a byte order mark not counted; TOML, and
			  * YAML of ASCII; else 0 */
};

struct cfg_value;

struct cfg_entry {
	char *key; /* UTF-8, NUL-terminated; owned. May hold a NUL where TOML's \u0000 wrote one */
	size_t key_len;
	struct cfg_pos key_pos;
	struct cfg_value *value; /* owned */
};

struct cfg_value {
	enum cfg_type type : 8;
	/* TOML only: which datetime type it is, for the conformance suite. */
	enum {
		CFG_NOT_DATETIME,
		CFG_OFFSET_DATETIME,
		CFG_LOCAL_DATETIME,
		CFG_LOCAL_DATE,
		CFG_LOCAL_TIME
	} datetime : 8;
	unsigned char state; /* the parser's, 0 at first (toml.c) */
	struct cfg_pos pos;
	union {
		struct {
			char *str;  /* UTF-8, NUL-terminated; owned */
			size_t len; /* > strlen(str) where TOML's \u0000 wrote a NUL */
		};
		int64_t integer;
		double number;
		bool boolean;
		struct {
			struct cfg_value **items; /* owned */
			size_t n_items, cap_items;
		};
		struct {
			struct cfg_entry *entries; /* owned, in document order, keys unique */
			size_t n_entries, cap_entries;
		};
	};
};

/* Bounds of every parser: a document beyond them is refused with a message that names them. */
#define CFG_MAX_BYTES  ((size_t)16 << 20)
#define CFG_MAX_DEPTH  64 /* of tables and arrays, the document itself not counted */
#define CFG_MAX_VALUES ((size_t)1 << 20)

struct cfg_value *cfg_value_new(enum cfg_type type, struct cfg_pos pos); /* NULL: no memory */
void cfg_value_free(struct cfg_value *v); /* strings are wiped: a document may hold keys */
MEM_CLEANUP(struct cfg_value, cfg_value_free);
#define _cleanup_cfg_value_ _cleanup_(cfg_value_free_p)

/* Building: both take over what they are given (key and value) on success only; 0 or -ENOMEM.
 * That a key is new in its table is for the caller to know. */
int cfg_table_add(struct cfg_value *table, char *key, size_t key_len, struct cfg_pos key_pos,
		  struct cfg_value *value);
int cfg_array_add(struct cfg_value *array, struct cfg_value *item);

/* NULL where the table has no such key. Linear; a table has few keys. */
const struct cfg_entry *cfg_table_find(const struct cfg_value *table, const char *key);

/* How many values there are in it, itself counted. */
size_t cfg_value_count(const struct cfg_value *v);

/* "string", "integer", …: for messages. */
const char *cfg_type_name(enum cfg_type type);

#endif
