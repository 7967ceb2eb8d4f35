/* Statistics as text. */
#ifndef HARMONY_WG_STATS_H
#define HARMONY_WG_STATS_H

#include "base/buf.h"
#include "control.h"

/* Lines key=value, without an end. */
void stats_format(const struct control *c, struct buf *b);

#endif
