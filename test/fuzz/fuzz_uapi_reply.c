/* uapi_reply_feed: the same answer in one piece and in pieces; what is accepted is written by the
 * serving end and read again, and gives the same text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "uapi/uapi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int parse(const char *text, size_t len, size_t step, struct wgdev *ret)
{
	struct uapi_reply r;
	struct err e = {0};
	int done = 0;

	uapi_reply_init(&r, NULL);
	for (size_t at = 0; at < len && done == 0; at += step)
		done = uapi_reply_feed(&r, text + at, len - at < step ? len - at : step, &e);
	if (done == 1)
		done = uapi_reply_finish(&r, (struct wall){INT64_C(1800000000) * NS_PER_SEC}, ret,
					 &e);
	else if (done == 0)
		done = -1000;
	if (done < 0 && done != -1000 && (e.code != done || !*e.msg))
		abort();
	uapi_reply_clear(&r);
	return done;
}

static void write_all(const struct wgdev *d, struct buf *b)
{
	struct uapi_writer w = {.dev = d};
	int r;

	while ((r = uapi_writer_fill(&w, b, b->len + 64)) > 0)
		;
	if (r < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wgdev a = {0}, b = {0};
	struct buf x = BUF_INIT(0), y = BUF_INIT(0);
	int r = parse((const char *)data, size, size ? size : 1, &a);

	if (parse((const char *)data, size, 7, &b) != r)
		abort();
	if (r == 0) {
		write_all(&a, &x);
		wgdev_clear(&b);
		if (parse(x.data, x.len, x.len, &b) != 0)
			abort();
		write_all(&b, &y);
		if (x.len != y.len || memcmp(x.data, y.data, x.len) != 0)
			abort();
	}
	wgdev_clear(&a);
	wgdev_clear(&b);
	buf_free(&x);
	buf_free(&y);
	return 0;
}
