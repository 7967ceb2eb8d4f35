/*
 * Starts a device as who has made its interface and its control socket already:
 *
 *     wgfds IFNAME plain|vnet SOCKET COMMAND…    with the descriptors named in WG_TUN_FD,
 * WG_UAPI_FD
 */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void name_fd(const char *variable, int fd)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", fd);
	setenv(variable, text, 1);
}

int main(int argc, char **argv)
{
	struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int tun = open("/dev/net/tun", O_RDWR), s = socket(AF_UNIX, SOCK_STREAM, 0);

	if (argc < 5) {
		fputs("usage: wgfds IFNAME plain|vnet SOCKET COMMAND...\n", stderr);
		return 2;
	}
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", argv[1]);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", argv[3]);
	if (strcmp(argv[2], "vnet") == 0)
		r.ifr_flags |= IFF_VNET_HDR;
	if (tun < 0 || ioctl(tun, TUNSETIFF, &r) < 0 || s < 0 ||
	    bind(s, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(s, 16) < 0) {
		perror("wgfds");
		return 1;
	}
	name_fd("WG_TUN_FD", tun);
	name_fd("WG_UAPI_FD", s);
	execvp(argv[4], argv + 4);
	perror(argv[4]);
	return 1;
}
