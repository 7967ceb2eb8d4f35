/*
 * One WireGuard interface, whatever stands behind it: the kernel (generic netlink), or a
 * userspace program that serves the cross-platform UAPI socket /var/run/wireguard/NAME.sock
 * (harmony-wg, wireguard-go, boringtun-cli), found running or started and supervised here.
 *
 * All calls are bounded in time and leave the device usable. A UAPI program that is silent for two
 * seconds gives -ETIMEDOUT. Reading its state may take half a second more, and a millisecond for
 * each peer that it has told of, half a minute at most; a change gets half a minute and a
 * millisecond for each peer. One that has died gives -ENODEV (no socket) or
 * -ECONNREFUSED (a socket file left behind): the caller creates the device again.
 *
 * Not thread-safe: a device belongs to one thread.
 */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "wgdev/wgdev.h"

enum device_kind { DEVICE_KERNEL, DEVICE_UAPI };

struct device;

/* What this machine has; nothing is created to find out. `why` is a sentence for the log and for
 * status, e.g. "kernel has no WireGuard (generic netlink family not found; module not loadable),
 * found wireguard-go". Programs are looked for on PATH, in this order: harmony-wg, wireguard-go,
 * boringtun-cli. */
struct device_probe {
	bool kernel;
	char userspace[256]; /* program that would be started, or launcher; "": none, or no TUN */
	char why[512];
};
/* `given` is what the user wants userspace devices to be started with: a program, or the socket of
 * a launcher, which need not be there yet; NULL: look for one. */
int device_probe(const char *given, struct device_probe *ret, struct err *e);

/* Opens a device that exists: kernel link of kind "wireguard", or a UAPI socket that answers.
 * -ENODEV when there is none by that name (or only a socket file that was left behind),
 * -EPROTOTYPE when the link is of another kind, -ETIMEDOUT when the program hangs. */
int device_open(const char *ifname, enum device_kind kind, struct device **ret, struct err *e);
void device_free(struct device *d); /* the interface stays */

MEM_CLEANUP(struct device, device_free);
#define _cleanup_device_ _cleanup_(device_free_p)

/* Creates the interface, down. DEVICE_KERNEL: a link of kind wireguard, `program` is not looked at.
 * DEVICE_UAPI: starts `program` (an absolute path, as from device_probe) detached from the agent,
 * so that the agent's end does not end the tunnel, or has it started by a launcher, whose socket
 * `program` is then; and waits up to five seconds for the device's socket to answer. -EEXIST when
 * the name is taken, by a link or by a program that serves or holds its socket; what the program
 * said last is in the message when it did not come up.
 *
 * The program keeps CAP_NET_ADMIN and loses the environment (it may hold keys). It has no parent
 * to wait for it: an agent that is process 1 reaps children that it does not know. */
int device_create(const char *ifname, enum device_kind kind, const char *program,
		  struct device **ret, struct err *e);

/* Removes the interface, and so ends a userspace program: one that stays is told to (SIGTERM, then
 * SIGKILL) if its pid is known. 0 also when it was gone already. */
int device_delete(struct device *d, struct err *e);

enum device_kind device_kind(const struct device *d);
const char *device_backend_name(const struct device *d); /* "kernel", "wireguard-go", "uapi", … */
pid_t device_pid(const struct device *d);                /* of the userspace program, 0: unknown */

/* The whole state into *ret (initialised by the caller; replaced on success only). */
int device_get(struct device *d, struct wgdev *ret, struct err *e);

/* Appends a harmony-wg's own statistics as text: see uapi/client.h. Waits for 200 ms at most.
 * -EOPNOTSUPP for what is no harmony-wg. */
int device_stats(struct device *d, struct buf *ret, struct err *e);

/* Applies a change: one request where the format can, several in order where it can not.
 * boringtun cannot change a peer, so one that does change is removed and added. */
int device_set(struct device *d, const struct wgdev_change *change, struct err *e);

/* ---- the launcher: starts userspace devices for an agent whose end would take them with it ----
 */

/* Where it listens when nothing else is said: beside the sockets of its devices. */
#define DEVICE_LAUNCHER_PATH "/var/run/wireguard/launcher"

/* Whether there is a launcher's socket at `path`, and whether somebody listens there: a container
 * that has ended leaves its socket behind. */
bool device_is_launcher(const char *path);
bool device_launcher_listens(const char *path);

/* "started", "ended with status 1", …; for the log. */
typedef void (*device_launcher_fn)(void *user, const char *ifname, const char *what);

/* Serves the socket `path` (0600; its directory is there) until SIGTERM or SIGINT, and ends its
 * devices then. `program` is harmony-wg, an absolute path. It blocks those signals and SIGCHLD, and
 * takes in and reaps all that its descendants leave behind: a process of its own is meant.
 * -EADDRINUSE where another one answers at `path`. */
int device_launcher_run(const char *path, const char *program, device_launcher_fn tell, void *user,
			struct err *e);

#endif
