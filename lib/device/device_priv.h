/* Shared by the backends of lib/device. */
#ifndef DEVICE_PRIV_H
#define DEVICE_PRIV_H

#include "device/device.h"
#include "netlink/netlink.h"

/* The directory of the sockets is part of the cross-platform interface. */
#define DEVICE_UAPI_DIR "/var/run/wireguard"
#define DEVICE_PATH_LEN (sizeof(DEVICE_UAPI_DIR "/.sock") + IFNAMSIZ)

struct device_ops {
	int (*get)(struct device *d, struct wgdev *ret, struct err *e);
	int (*set)(struct device *d, const struct wgdev_change *c, struct err *e);
	int (*del)(struct device *d, struct err *e);
};

struct device {
	const struct device_ops *ops;
	enum device_kind kind;
	char ifname[IFNAMSIZ];
	struct nl *route, *genl; /* NETLINK_ROUTE; NETLINK_GENERIC (kernel only) */

	/* UAPI only: */
	char path[DEVICE_PATH_LEN];
	char program[32]; /* one of device_programs, or "uapi" */
	bool boringtun;
	pid_t pid; /* 0: unknown */
	int pidfd; /* of `pid`, so that no other process is ever meant; -1 */
};

extern const char *const device_programs[]; /* in order of preference, NULL at the end */

/* A device without a backend, its route socket open; -EINVAL for what is no interface name. */
int device_new(const char *ifname, enum device_kind kind, struct device **ret, struct err *e);

int device_kernel_open(struct device *d, struct err *e);
int device_kernel_create(struct device *d, struct err *e);
int device_uapi_open(struct device *d, struct err *e);
int device_uapi_create(struct device *d, const char *program, struct err *e);

/* Deletes the device's link. One of another kind has taken the name since and is another's: it
 * stays, and 0 is returned as for a link that is gone. */
int device_del_link(struct device *d, const char *kind, struct err *e);

/* A process that was started detached. */
struct device_child {
	pid_t pid;
	int pidfd;
	int output; /* memory file with the first 16 KiB of what it wrote */
};
/* `output` takes what it writes, and stays the caller's; -1: a memory file of its own. */
int device_spawn(const char *program, char *const argv[], int output, struct device_child *ret,
		 struct err *e);
int device_open_output(void);                    /* that memory file, or -errno */
void device_child_close(struct device_child *c); /* it goes on */
bool device_alive(pid_t pid, int pidfd);
void device_kill(pid_t pid, int pidfd); /* SIGTERM, one second, SIGKILL, one second */
/* The last line that is not empty, printable, cut to fit. */
void device_child_words(const struct device_child *c, char *ret, size_t size);

/* The same by a launcher: the pid is a number of its pid namespace, and the pidfd tells whether the
 * process lives, but may not be good for signals. */
int device_launch(const char *path, const char *ifname, struct device_child *ret, struct err *e);
void device_launch_stop(const char *path, const char *ifname);

/* For boringtun: `c` as a change that changes no peer in place. Peers which `c` leaves as they
 * are in `now` do not appear. Owned by the result; what it borrows from `c` stays borrowed. */
struct device_rewrite {
	struct wgdev_change change;
	struct wgdev peers;
	struct wgdev_peer_change *list;
};
int device_rewrite(const struct wgdev *now, const struct wgdev_change *c,
		   struct device_rewrite *ret, struct err *e);
void device_rewrite_clear(struct device_rewrite *w);

#endif
