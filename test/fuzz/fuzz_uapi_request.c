/* uapi_request_feed: a stream of requests, in one piece and in pieces, ends each at the same byte
 * with the same answer; what is accepted is written by the asking end and read again, and gives
 * the same text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "uapi/uapi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The length of the first request, 0 when it has no end. */
static size_t parse(struct uapi_request *q, const char *text, size_t len, size_t step)
{
	size_t at = 0, used;

	while (at < len) {
		size_t n = len - at < step ? len - at : step;
		int done = uapi_request_feed(q, text + at, n, &used);

		if (used > n || (!done && used != n))
			abort();
		at += used;
		if (done)
			return at;
	}
	return 0;
}

static void again(const struct uapi_request *q)
{
	struct buf x = BUF_INIT(0), y = BUF_INIT(0);
	struct uapi_request q2;

	if (uapi_format_set(&q->change, &x) < 0)
		abort();
	uapi_request_init(&q2, NULL);
	if (parse(&q2, x.data, x.len, x.len) != x.len || q2.err.code != 0)
		abort();
	if (uapi_format_set(&q2.change, &y) < 0 || strcmp(buf_str(&x), buf_str(&y)) != 0)
		abort();
	uapi_request_clear(&q2);
	buf_free(&x);
	buf_free(&y);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;

	for (size_t at = 0; at < size;) {
		struct uapi_request whole, pieces;
		size_t n;

		uapi_request_init(&whole, NULL);
		uapi_request_init(&pieces, NULL);
		n = parse(&whole, text + at, size - at, size);
		if (parse(&pieces, text + at, size - at, 5) != n ||
		    pieces.err.code != whole.err.code || pieces.is_set != whole.is_set)
			abort();
		if (whole.err.code < 0 && (whole.is_set || whole.change.n_peers))
			abort();
		if (n && whole.is_set)
			again(&whole);
		uapi_request_clear(&whole);
		uapi_request_clear(&pieces);
		if (n == 0)
			break;
		at += n;
	}
	return 0;
}
