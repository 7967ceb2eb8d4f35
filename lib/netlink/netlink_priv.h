/*
 * For the files of lib/netlink, its unit tests and its fuzz targets.
 *
 * The I/O stands in socket.c and monitor.c alone. All that reads the kernel's bytes is a pure
 * function over a buffer, declared here.
 */
#ifndef NETLINK_NETLINK_PRIV_H
#define NETLINK_NETLINK_PRIV_H

#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/ip.h"
#include "netlink/addr.h"
#include "netlink/link.h"
#include "netlink/monitor.h"
#include "netlink/netlink.h"
#include "netlink/route.h"
#include "netlink/rule.h"
#include "wgdev/wgdev.h"

/* ---- one request and its answer (socket.c, answer.c) ------------------------------------- */

/* Called for each message of the answer that is neither an acknowledgement nor the end. An error
 * ends the request. */
typedef int (*nl_message_fn)(const struct nlmsghdr *nlh, void *arg, struct err *e);

struct nl_answer {
	nl_message_fn message;      /* NULL: messages are ignored, only the outcome counts */
	void (*restart)(void *arg); /* a dump begins anew: forget what was collected. Or NULL */
	void *arg;
	bool secret; /* the answer holds keys: the buffer is wiped after each datagram */
};

/* Where the reading of an answer stands. */
struct nl_exchange {
	struct nl_answer answer;
	uint32_t seq, portid; /* of the request: everything else is another's, or stale */
	bool dump;            /* ends with NLMSG_DONE; else with an acknowledgement */
	bool seen;            /* this datagram held something of the answer */
	bool interrupted;     /* NLM_F_DUMP_INTR stood in a message: the dump is not consistent */
	bool done;
};

/* The message at *at, of *left bytes, both of which then go on to the next one. NULL at the end,
 * and where a message is cut off: then *left is not 0. */
const struct nlmsghdr *nl_message_next(const void **at, size_t *left);

/* Reads one datagram. 0, or the error that the kernel or the callback gave. */
int nl_answer_read(struct nl_exchange *x, const void *data, size_t len, struct err *e);

/* Requests are built in a buffer of this size, of which they need less than half. */
#define NL_REQUEST_MAX 1024

union nl_request {
	struct nlmsghdr h;
	char bytes[NL_REQUEST_MAX];
};

/* Starts a message of `type` in buf; *ret_header (a pointer to the family's header) then points to
 * that header, `size` zeroed bytes. */
struct nlmsghdr *nl_request_init(void *buf, uint16_t type, uint16_t flags, size_t size,
				 void *ret_header);

/* Sends the request (its sequence number and NLM_F_REQUEST are set here, and NLM_F_ACK where
 * it is no dump) and reads the answer. */
int nl_request(struct nl *nl, struct nlmsghdr *request, const struct nl_answer *answer,
	       struct err *e);

/* Sends a batch of messages as one datagram; their sequence numbers are set here, to one and the
 * same, and the first answer is the outcome: the error of the first message that failed (then the
 * kernel has changed nothing), or the acknowledgement, for which the last message asks. */
int nl_transaction(struct nl *nl, void *batch, size_t len, struct err *e);

/* Sends questions as one datagram, each of which is answered by one message (NLMSG_ERROR where
 * there is none); NLM_F_REQUEST and sequence numbers are set here. `told` hears of each answer,
 * with the number of its question. As many as the receive buffer holds the answers of: NL_ASK_MAX.
 */
#define NL_ASK_MAX 32
typedef void nl_answered_fn(unsigned i, const struct nlmsghdr *nlh, void *arg);
int nl_ask(struct nl *nl, void *batch, size_t len, nl_answered_fn *told, void *arg, struct err *e);

/* A bound, non-blocking socket with a large receive buffer; and one datagram from it: its length,
 * 0 for one that did not come from the kernel, -EMSGSIZE for one that was cut, -EAGAIN for none,
 * -ENOBUFS where some were lost. */
int nl_socket_open(int protocol, struct mnl_socket **ret, struct err *e);
ssize_t nl_socket_receive(struct mnl_socket *sock, void *buffer, size_t size);

/* Whether the kernel takes the filters of a dump's header and attributes. */
bool nl_strict(const struct nl *nl);

/* The generic netlink family id that wg.c has looked up; 0: not yet. */
uint16_t nl_family(const struct nl *nl);
void nl_set_family(struct nl *nl, uint16_t family);

/* ---- attributes (attr.c) ----------------------------------------------------------------- */

/* Sorts the attributes into tb[0 … max]; later ones win, unknown ones are left out. min_len[type]
 * is the least size of the payload (a missing entry: 0). -EBADMSG where an attribute is cut off,
 * too short, or where the message has a tail that is none. */
int nl_attr_table(const void *data, size_t len, const uint8_t *min_len, size_t max,
		  const struct nlattr **tb, struct err *e);
/* The same for what stands behind a message's fixed header of `header` bytes, and in a nest. */
int nl_attr_table_msg(const struct nlmsghdr *nlh, size_t header, const uint8_t *min_len, size_t max,
		      const struct nlattr **tb, struct err *e);
int nl_attr_table_nest(const struct nlattr *nest, const uint8_t *min_len, size_t max,
		       const struct nlattr **tb, struct err *e);

/* A text, cut to fit; "" for NULL. */
void nl_attr_text(const struct nlattr *a, char *dst, size_t size);
/* An address of 4 or 16 bytes. -EBADMSG where the size is not the family's. */
int nl_attr_ip(const struct nlattr *a, sa_family_t family, struct ip_addr *ret, struct err *e);
void nl_attr_put_ip(struct nlmsghdr *nlh, uint16_t type, const struct ip_addr *a);

/* ---- messages of the kernel -------------------------------------------------------------- */

/* 1: *ret is filled; 0: a message of another kind, nothing done; -EBADMSG. */
int nl_link_parse(const struct nlmsghdr *nlh, struct nl_link *ret, struct err *e);
int nl_addr_parse(const struct nlmsghdr *nlh, struct nl_addr *ret, struct err *e);
int nl_route_parse(const struct nlmsghdr *nlh, struct nl_route *ret, bool *ret_cloned,
		   struct err *e);
int nl_rule_parse(const struct nlmsghdr *nlh, struct nl_rule *ret, struct err *e);

/* One message of a device dump, added to *dev (unsorted; a peer that goes on from the message
 * before gets its allowed IPs appended). */
int nl_wg_parse(const struct nlmsghdr *nlh, struct wgdev *dev, struct err *e);
/* The answer to CTRL_CMD_GETFAMILY. */
int nl_genl_family_parse(const struct nlmsghdr *nlh, uint16_t *ret, struct err *e);

/* Where the writing of a change to a device stands: which peer, which of its allowed IPs. */
struct nl_wg_cursor {
	bool begun;
	size_t peer, allowed;
};
/* Writes the next message into buf. 1: written, more to come; 0: written, that was the last;
 * -EMSGSIZE where not even one peer fits into `size`. */
int nl_wg_build(void *buf, size_t size, uint16_t family, const char *ifname,
		const struct wgdev_change *change, struct nl_wg_cursor *cursor);

/* One datagram of a monitor; own_portid 0: nothing is left out. */
void nl_monitor_parse(int protocol, const void *data, size_t len, uint32_t own_portid,
		      nl_event_fn fn, void *arg);

#endif
