#include "own_told.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "log/log.h"
#include "metrics/metrics.h"

static const char *const names[] = {
	[OWN_SECRET_READ] = "Secret: read",
	[OWN_SECRET_CONTENT] = "Secret: content",
	[OWN_SECRET_WRITE] = "Secret: write",
	[OWN_LEASE] = "Lease",
	[OWN_WEBHOOK_READ] = "webhook configuration: read",
	[OWN_WEBHOOK_WRITE] = "webhook configuration: write",
};

static void set(struct own_told *t, enum own_part part, const char *text)
{
	char why[OWN_PARTS * ERR_MSG_MAX] = "";
	size_t n = 0;

	snprintf(t->error[part], sizeof(t->error[part]), "%s", text);
	for (size_t i = 0; i < OWN_PARTS && n < sizeof(why); i++)
		if (t->error[i][0])
			n += (size_t)snprintf(why + n, sizeof(why) - n, "%s: %s\n", names[i],
					      t->error[i]);
	t->changed(t->arg, why);
}

void own_failed(struct own_told *t, enum own_part part, const char *what, const char *why)
{
	char text[ERR_MSG_MAX];

	metrics_inc(t->failures);
	snprintf(text, sizeof(text), "%.100s%s%.400s", what ? what : "", what ? ": " : "", why);
	if (str_eq(text, t->error[part]))
		return;
	log_error("own CA", LOG_STR("of", names[part]), LOG_STR("error", text));
	set(t, part, text);
}

void own_worked(struct own_told *t, enum own_part part)
{
	if (!t->error[part][0])
		return;
	log_info("own CA: in order again", LOG_STR("of", names[part]));
	set(t, part, "");
}

void own_forget(struct own_told *t, enum own_part part)
{
	if (t->error[part][0])
		set(t, part, "");
}
