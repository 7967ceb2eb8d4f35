/*
 * The dump of table inet harmony: messages of nf_tables, one behind the other. What parses is
 * compared with a wish, so that the text is read as well.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "netlink/nft_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct nft_tunnel want = {
		.ifname = "wg0", .masquerade = true, .mss_clamp = true, .forward = true};
	_cleanup_nft_state_ struct nft_state s;
	_cleanup_buf_ struct buf why = BUF_INIT(1 << 16);
	uint32_t genid;

	if (size > 1 << 16)
		return 0;
	/* Aligned as a socket's buffer, and no byte longer than the input. */
	_cleanup_free_ void *copy = malloc(size ? size : 1);
	if (!copy)
		return 0;
	memcpy(copy, data, size);
	nft_state_init(&s);
	const struct nlmsghdr *nlh = copy;
	/* mnl_nlmsg_ok takes a length of 2 GiB and more for a negative one, thus as good. */
	for (int left = (int)size; mnl_nlmsg_ok(nlh, left) && nlh->nlmsg_len <= size;
	     nlh = mnl_nlmsg_next(nlh, &left)) {
		(void)nft_parse_generation(nlh, &genid, NULL);
		if (nft_parse(nlh, &s, NULL) < 0)
			break;
	}
	(void)nft_compare(&s, &want, 1, &why, NULL);
	return 0;
}
