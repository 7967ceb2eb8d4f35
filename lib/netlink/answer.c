/*
 * Reading the answer to one request: pure, over one datagram at a time.
 *
 * The kernel ends a request with an acknowledgement, and a dump with NLMSG_DONE; both hold an
 * error code and, with extended ACK, attributes:
 *
 *     NLMSG_ERROR  | nlmsghdr | int error | nlmsghdr of the request [ its payload ] | attributes |
 *     NLMSG_DONE   | nlmsghdr | int error | attributes |
 *
 * NLM_F_CAPPED says that the request's payload is left out (we ask for that), NLM_F_ACK_TLVS that
 * there are attributes. A dump comes in as many messages as it takes; NLM_F_DUMP_INTR in one of
 * them says that the tables changed since the dump began, so that entries may be missing or
 * stand there twice.
 *
 * Messages with another sequence number belong to a request that was given up before; they are
 * passed over.
 */
#include "netlink/netlink_priv.h"

#include <errno.h>
#include <string.h>

/* strerror() is defined for these only. */
#define MAX_ERRNO 4095

/* The kernel's own words, printable, or "". */
static void kernel_text(const void *attrs, size_t len, char *text, size_t size)
{
	static const uint8_t min_len[NLMSGERR_ATTR_MAX + 1] = {0};
	const struct nlattr *tb[NLMSGERR_ATTR_MAX + 1];

	text[0] = '\0';
	if (nl_attr_table(attrs, len, min_len, NLMSGERR_ATTR_MAX, tb, NULL) < 0)
		return;
	nl_attr_text(tb[NLMSGERR_ATTR_MSG], text, size);
	for (char *c = text; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

/* Where the attributes of an acknowledgement begin, counted from the payload. */
static size_t error_attrs(const struct nlmsghdr *nlh, const struct nlmsgerr *ack)
{
	if (nlh->nlmsg_flags & NLM_F_CAPPED || ack->msg.nlmsg_len < sizeof(ack->msg))
		return sizeof(*ack);
	return sizeof(ack->error) + MNL_ALIGN((size_t)ack->msg.nlmsg_len);
}

/* Ends the exchange with the error code in front of the payload. */
static int finish(struct nl_exchange *x, const struct nlmsghdr *nlh, size_t attrs, struct err *e)
{
	const char *payload = mnl_nlmsg_get_payload(nlh);
	size_t len = mnl_nlmsg_get_payload_len(nlh);
	char text[256] = "";
	int code = 0;

	if (len >= sizeof(code))
		memcpy(&code, payload, sizeof(code));
	x->done = true;
	if (code == 0)
		return 0;
	if (code > 0 || code < -MAX_ERRNO)
		return err_set(e, -EBADMSG, "netlink answer with error code %d", code);
	if (nlh->nlmsg_flags & NLM_F_ACK_TLVS && attrs < len)
		kernel_text(payload + attrs, len - attrs, text, sizeof(text));
	if (text[0])
		return err_set(e, code, "%s (%s)", strerror(-code), text);
	return err_set(e, code, "%s", strerror(-code));
}

static int read_error(struct nl_exchange *x, const struct nlmsghdr *nlh, struct err *e)
{
	const struct nlmsgerr *ack = mnl_nlmsg_get_payload(nlh);

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ack))
		return err_set(e, -EBADMSG, "netlink acknowledgement cut off");
	if (x->dump && ack->error == 0)
		return 0; /* a dump ends with NLMSG_DONE */
	return finish(x, nlh, error_attrs(nlh, ack), e);
}

static int read_message(struct nl_exchange *x, const struct nlmsghdr *nlh, struct err *e)
{
	x->seen = true;
	if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
		x->interrupted = true;
	switch (nlh->nlmsg_type) {
	case NLMSG_NOOP: return 0;
	case NLMSG_ERROR: return read_error(x, nlh, e);
	case NLMSG_DONE: return finish(x, nlh, sizeof(int), e);
	case NLMSG_OVERRUN: return err_set(e, -ENOBUFS, "netlink answer lost");
	default: return x->answer.message ? x->answer.message(nlh, x->answer.arg, e) : 0;
	}
}

const struct nlmsghdr *nl_message_next(const void **at, size_t *left)
{
	const struct nlmsghdr *nlh = *at;

	/* mnl_nlmsg_ok() compares as int, and so takes a length beyond 2 GiB for a good one. */
	if (*left < sizeof(*nlh) || nlh->nlmsg_len < sizeof(*nlh) || nlh->nlmsg_len > *left)
		return NULL;
	size_t step = MNL_ALIGN((size_t)nlh->nlmsg_len);
	if (step > *left) /* the last one need not be padded */
		step = *left;
	*at = (const char *)*at + step;
	*left -= step;
	return nlh;
}

int nl_answer_read(struct nl_exchange *x, const void *data, size_t len, struct err *e)
{
	const struct nlmsghdr *nlh;

	x->seen = false;
	while (!x->done && (nlh = nl_message_next(&data, &len))) {
		if (nlh->nlmsg_seq != x->seq || nlh->nlmsg_pid != x->portid)
			continue;
		int r = read_message(x, nlh, e);

		if (r < 0)
			return r;
	}
	if (len > 0 && !x->done)
		return err_set(e, -EBADMSG, "netlink message cut off");
	return 0;
}
