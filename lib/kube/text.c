/*
 * Small texts of the API: names, escapes, base64, and the delays between attempts.
 */
#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "kube/kube_priv.h"

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Letters, digits and '-' (and '.', which begins a new label); each label begins and ends with a
 * letter or digit. */
static bool is_dns(const char *s, size_t max, bool dots)
{
	size_t len = strlen(s);

	if (len == 0 || len > max || !is_alnum(s[0]) || !is_alnum(s[len - 1]))
		return false;
	for (size_t i = 1; i < len; i++) {
		if (s[i] == '.' && (!dots || !is_alnum(s[i - 1]) || !is_alnum(s[i + 1])))
			return false;
		if (!is_alnum(s[i]) && s[i] != '-' && s[i] != '.')
			return false;
	}
	return true;
}

bool kube_is_name(const char *s)
{
	return is_dns(s, 253, true);
}

bool kube_is_namespace(const char *s)
{
	return is_dns(s, 63, false);
}

void kube_add_escaped(struct buf *b, const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		bool plain = is_alnum(*s) || (c >= 'A' && c <= 'Z') || strchr("-._~", c);

		if (plain)
			buf_addc(b, *s);
		else
			buf_addf(b, "%%%02X", c);
	}
}

int kube_base64(const char *s, size_t len, struct buf *ret)
{
	size_t n;
	const char *end;

	buf_reset(ret);
	if (buf_reserve(ret, len / 4 * 3 + 3) < 0)
		return ret->error;
	if (sodium_base642bin((unsigned char *)ret->data, len / 4 * 3 + 3, s, len, " \t\r\n", &n,
			      &end, sodium_base64_VARIANT_ORIGINAL) != 0 ||
	    end != s + len) {
		mem_wipe(ret->data, ret->cap);
		return -EINVAL;
	}
	ret->len = n;
	ret->data[n] = '\0';
	return 0;
}

uint32_t kube_random(void *unused)
{
	return randombytes_random();
}

int64_t kube_retry_delay(unsigned attempt, unsigned retry_after)
{
	int64_t d = 800 * NS_PER_MSEC;

	while (attempt-- > 0 && d < 30 * NS_PER_SEC)
		d *= 2;
	if (d > 30 * NS_PER_SEC)
		d = 30 * NS_PER_SEC;
	d += (int64_t)((double)d * (kube_random(NULL) / 4294967296.0));
	if (retry_after > 300)
		retry_after = 300;
	return retry_after * NS_PER_SEC > d ? retry_after * NS_PER_SEC : d;
}

void kube_timer_in(struct event *timer, int64_t ns)
{
	if (ns < 0)
		ns = 0;
	if (ns > 86400 * NS_PER_SEC)
		ns = 86400 * NS_PER_SEC;
	/* Rounded up, or a timer would wake a little before its time and find nothing due. */
	int64_t us = (ns + 999) / 1000;
	struct timeval tv = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};
	evtimer_add(timer, &tv);
}
