/* The serving end of the control socket: the cross-platform interface, and statistics. */
#ifndef HARMONY_WG_UAPI_SERVER_H
#define HARMONY_WG_UAPI_SERVER_H

#include <stdint.h>

#include "base/err.h"
#include "control.h"

#define UAPI_DIR "/var/run/wireguard"

struct uapi_server;

/* Listens at DIR/IFNAME.sock (0600). A socket that nobody answers is replaced; -EADDRINUSE where
 * somebody does. `watch`: an inotify of DIR, or -1; what it has after this is of this socket. */
int uapi_server_bind(const char *ifname, int watch, int *ret_fd, struct err *e);

/* Serves on a socket, which it owns from here. NULL: memory has run out. */
struct uapi_server *uapi_server_new(struct control *c, int fd);
/* Begins: whoever connects to it where it listens; else (boringtun-cli's WG_UAPI_FD) the one that
 * it is connected to, whose end is the device's. */
int uapi_server_start(struct uapi_server *s, struct err *e);
void uapi_server_free(struct uapi_server *s);

void uapi_server_accept(struct uapi_server *s);
/* `what` is CONTROL_CLIENT and up. */
void uapi_server_client(struct uapi_server *s, uint32_t what, uint32_t events);

#endif
