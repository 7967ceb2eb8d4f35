/* Shared by the server (control.c), the messages (message.c) and the client (client.c). */
#ifndef CONTROL_CONTROL_PRIV_H
#define CONTROL_CONTROL_PRIV_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "control/control.h"

#define CONTROL_DEPTH_MAX 16
#define CONTROL_WHY_MAX   (1 << 20) /* six times as much in JSON, and within an answer still */

/* The protocol's name for a code, and back (-EIO for an unknown one). */
const char *control_error_type(int code);
int control_error_code(const char *type);
int control_error_status(int code); /* for HTTP */

/* One message in, one answer (with its line feed) appended to `out`. */
void control_answer(const struct control_ops *ops, void *arg, const char *text, size_t len,
		    struct buf *out);
/* An answer to nobody's message in particular: id is null. */
void control_answer_error(struct buf *out, const char *type, const char *msg);

/* One action for HTTP: appends the data or the error object, returns the status. */
int control_answer_http(const struct control_ops *ops, void *arg, const char *action,
			const char *network, struct buf *out);
/* Appends {"error":{"type","message"}} */
void control_put_error(struct buf *out, const char *type, const char *msg);

#endif
