/* For sum.c and its unit test. */
#ifndef OFFLOAD_PRIV_H
#define OFFLOAD_PRIV_H

#include "offload/offload.h"

/* As offload_sum and offload_sum_copy, in plain C: for short pieces, and other processors. */
uint32_t offload_sum_plain(const void *p, size_t len);
uint32_t offload_sum_copy_plain(void *to, const void *from, size_t len);

#endif
