/*
 * Bounded JSON (RFC 8259) on json-c's objects: what comes from outside is read by a strict parser
 * of our own, which refuses what json-c would let pass or mend (size, depth, duplicate keys, NUL
 * in strings, broken UTF-8, lone surrogates, loose numbers, trailing bytes), and reading members
 * is typed. Writing is json-c's own, or json_quote where a text is built by hand.
 */
#ifndef JSON_JSON_H
#define JSON_JSON_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct json_limits {
	size_t max_bytes;
	unsigned max_depth; /* of objects and arrays; 0 admits a lone scalar only */
};

/* Beside the caller's limits: json-c needs about a kilobyte for an empty object. */
#define JSON_MAX_VALUES ((size_t)1 << 20)

/* Both count from 1; columns count characters (code points). */
struct json_place {
	unsigned line, column;
};

/* One whole document. The message names the place: "line 3, column 7: duplicate key \"mtu\"", and
 * holds no value, only keys. -EINVAL; -E2BIG beyond a limit; -ENOMEM. The caller owns *ret
 * (json_object_put); it is NULL for the document "null".
 *
 * Numbers: an integer within int64 is json_type_int. An integer beyond it is json_type_double,
 * the nearest one, so that json_get_int takes it for absent and never for a saturated value. A
 * number beyond the range of a double (1e999), or longer than 1024 characters, is refused. */
int json_parse(const char *text, size_t len, struct json_limits limits, struct json_object **ret,
	       struct err *e);

/* The same; the place is in *ret_place (of -EINVAL and -E2BIG) and not in the message. */
int json_parse_at(const char *text, size_t len, struct json_limits limits, struct json_object **ret,
		  struct json_place *ret_place, struct err *e);

static inline void json_put_p(struct json_object **o)
{
	json_object_put(*o);
}
#define _cleanup_json_ _cleanup_(json_put_p)

/* Zeroes every string value, then json_object_put: for documents that hold keys or tokens, whose
 * only reference is the caller's. NULL is accepted. */
void json_put_wiped(struct json_object *o);
static inline void json_put_wiped_p(struct json_object **o)
{
	json_put_wiped(*o);
}
#define _cleanup_json_wiped_ _cleanup_(json_put_wiped_p)

/* Members by name, type checked: NULL (or `other`) where the member is absent, null, or of
 * another type. Borrowed from `o`, which may be NULL. */
struct json_object *json_get(struct json_object *o, const char *name, enum json_type type);
const char *json_get_str(struct json_object *o, const char *name);
int64_t json_get_int(struct json_object *o, const char *name, int64_t other);
bool json_get_bool(struct json_object *o, const char *name, bool other);
/* The value of any type at the end of a path of members, or NULL:
 * json_path(o, "metadata", "annotations", NULL). */
struct json_object *json_path(struct json_object *o, ...) __attribute__((sentinel));

/* Appends a quoted, escaped string; invalid UTF-8 becomes U+FFFD. */
void json_quote(struct buf *b, const char *s);

#endif
