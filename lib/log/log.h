/*
 * Structured log: one record is a level, a message and fields. Two renderings: JSON lines
 * ({"ts","level","msg",fields…}) for machines, and text for a terminal.
 *
 *     log_info("interface up", LOG_STR("network", name), LOG_INT("mtu", mtu));
 *
 * Libraries log at debug only; whoever decides logs, once. Key material is never a field or part
 * of a message. Records go to one file descriptor with one write each. Where nobody reads them and
 * the pipe or socket is full, a record waits for at most 100 ms, those behind it do not wait, and
 * are dropped and counted; the caller never fails.
 */
#ifndef LOG_LOG_H
#define LOG_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct log_field {
	const char *name; /* NULL ends the list */
	enum { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_BOOL, LOG_FIELD_DOUBLE } type;
	union {
		const char *s; /* NULL: the field is left out */
		int64_t i;
		bool b;
		double d;
	};
};

#define LOG_STR(n, v)    ((struct log_field){.name = (n), .type = LOG_FIELD_STR, .s = (v)})
#define LOG_INT(n, v)    ((struct log_field){.name = (n), .type = LOG_FIELD_INT, .i = (v)})
#define LOG_BOOL(n, v)   ((struct log_field){.name = (n), .type = LOG_FIELD_BOOL, .b = (v)})
#define LOG_DOUBLE(n, v) ((struct log_field){.name = (n), .type = LOG_FIELD_DOUBLE, .d = (v)})

/* Before the first record; defaults: text, info, standard error. `fd` is borrowed. */
void log_setup(enum log_format format, enum log_level least, int fd);
/* From now on records go where `fd` leads, and of a pipe or terminal before nothing stays open here
 * (standard error is the caller's own matter). Also while other threads write. 0 or -errno. */
int log_redirect(int fd);
bool log_enabled(enum log_level level);
uint64_t log_dropped(void);

/* "debug" … "error", "text" or "json"; 0 or -EINVAL. */
int log_level_parse(const char *s, enum log_level *ret);
int log_format_parse(const char *s, enum log_format *ret);

void log_write(enum log_level level, const char *msg, const struct log_field *fields);

#define LOG_AT(level, msg, ...)                                                                    \
	do {                                                                                       \
		if (log_enabled(level))                                                            \
			log_write(level, msg,                                                      \
				  (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){0}});      \
	} while (0)
#define log_debug(msg, ...) LOG_AT(LOG_LEVEL_DEBUG, msg, __VA_ARGS__)
#define log_info(msg, ...)  LOG_AT(LOG_LEVEL_INFO, msg, __VA_ARGS__)
#define log_warn(msg, ...)  LOG_AT(LOG_LEVEL_WARN, msg, __VA_ARGS__)
#define log_error(msg, ...) LOG_AT(LOG_LEVEL_ERROR, msg, __VA_ARGS__)

#endif
