/*
 * Shared by the files that read the model: read.c (documents), model.c (the tables of keys and
 * the walk over them), scalar.c and endpoint.c (single values), validate.c (what must hold
 * between values), diag.c (findings).
 */
#ifndef CONFIG_MODEL_PRIV_H
#define CONFIG_MODEL_PRIV_H

#include "config/model.h"

/* A place in a document, as a chain towards its root; a path is written out only when there is
 * something to say about it. Frames live on the reader's stack. */
struct config_at {
	const struct config_at *up;   /* NULL: the root */
	const struct config_doc *doc; /* in the root only */
	const char *key;              /* NULL: element `index` of an array */
	size_t index;
	struct cfg_pos pos;
};

/* One run of config_read. */
struct config_run {
	struct config_diags *diags;
	const struct config_doc *docs; /* findings of document i carry i */
	const char *node;              /* may be NULL */
	bool no_memory;                /* sticky: the run's result is -ENOMEM */
};

/* Findings. The text follows "FILE:LINE:COLUMN: PATH: ". */
void config_error(struct config_run *run, const struct config_at *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void config_warn(struct config_run *run, const struct config_at *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A value as it stands in "found …": quoted, cut, and without anything that could be a key. */
#define CONFIG_FOUND_LEN 160
const char *config_found(const struct cfg_value *v, char out[static CONFIG_FOUND_LEN]);
const char *config_found_text(const char *s, size_t len, char out[static CONFIG_FOUND_LEN]);

struct buf;
/* Appends "SOURCE:LINE:COLUMN", or "SOURCE" where the place has no line. */
void config_put_place(struct buf *b, const char *source, struct cfg_pos pos);

/* Where "FILE:LINE:COLUMN" of a place is told inside a message about another. */
const char *config_where(const struct config_doc *doc, struct cfg_pos pos,
			 char out[static CONFIG_FOUND_LEN]);

/* One key of the model. `read` stores the value at `offset` of the object (struct config_network
 * or struct config_peer) or reports why not; NULL for the keys that model.c reads itself. */
struct config_field {
	const char *name;  /* snake_case; its camelCase is accepted too */
	const char *other; /* one more accepted spelling, or NULL */
	bool not_in_node;  /* not in [network.X.nodes."NODE"] */
	void (*read)(struct config_run *run, const struct config_at *at, const struct cfg_value *v,
		     const struct config_field *f, void *object);
	size_t offset;
	union {
		struct {
			uint64_t min, max;
			bool or_zero;
			uint8_t size; /* bytes of the number */
		};
		const char *const *words; /* of an enum, in its order, NULL-terminated */
		size_t keyref;            /* offset of the struct config_keyref around the string */
	};
};

extern const struct config_field config_network_fields[]; /* end with a NULL name */
extern const struct config_field config_peer_fields[];

/* Readers of single values (scalar.c, endpoint.c). */
#define CONFIG_READER(name)                                                                        \
	void name(struct config_run *run, const struct config_at *at, const struct cfg_value *v,   \
		  const struct config_field *f, void *object)
CONFIG_READER(config_read_bool);
CONFIG_READER(config_read_tristate);
CONFIG_READER(config_read_number);
CONFIG_READER(config_read_word);
CONFIG_READER(config_read_on_delete);
CONFIG_READER(config_read_table);
CONFIG_READER(config_read_readiness);
CONFIG_READER(config_read_interface);
CONFIG_READER(config_read_name);
CONFIG_READER(config_read_keyref);
CONFIG_READER(config_read_public_key);
CONFIG_READER(config_read_addresses);
CONFIG_READER(config_read_allowed);
CONFIG_READER(config_read_guard_except);
CONFIG_READER(config_read_ip);
CONFIG_READER(config_read_dns);
CONFIG_READER(config_read_dns_search);
CONFIG_READER(config_read_endpoint);

/* A list is an array, or one value that stands for a list of one. */
size_t config_list_len(const struct cfg_value *v);
const struct cfg_value *config_list_item(const struct cfg_value *v, size_t i);

/* "a.example.com", with or without the last dot: labels of 1 to 63 letters, digits, '-', '_',
 * together at most 253, the last label not all digits (that would be an address misspelt). */
bool config_is_host_name(const char *s, size_t len);

void config_keyref_clear(struct config_keyref *r);
void config_peer_clear(struct config_peer *p);
void config_network_clear(struct config_network *n);

/* A network while it is read: the values that it came from, for the places of findings. */
struct config_peer_src {
	const struct cfg_value *table;      /* its entry of network.X.peers, or NULL */
	const struct cfg_value *node_table; /* its entry of network.X.nodes.N.peers, or NULL */
	size_t index, node_index;
	bool has_key; /* public_key was read */
};

struct config_net_src {
	struct config_network net; /* peers in the order of the document until the end */
	const struct config_doc *doc;
	const char *node;
	const struct cfg_value *table;
	const struct cfg_value *node_table; /* network.X.nodes.NODE, or NULL */
	struct config_peer_src *peers;      /* one for each of net.peers */
	size_t cap_peers, cap_src;
	size_t n_errors; /* found while it was read */
};

void config_net_src_clear(struct config_net_src *src);

/* Reads [network.NAME] into *src, which the caller clears in every case. */
void config_read_network(struct config_run *run, const struct config_at *at,
			 const struct cfg_value *table, struct config_net_src *src);

/* The entry that stands for a key in any accepted spelling; NULL: none, or null. */
const struct cfg_entry *config_find(const struct cfg_value *table,
				    const struct config_field *fields, const char *name);

/* What must hold within and between networks (of all documents). */
void config_validate(struct config_run *run, struct config_net_src *nets, size_t n);

#endif
