#include "base/port.h"
#include "base/str.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define TCP_LISTEN 0x0A

/* From one of /proc/net/tcp, tcp6, udp and udp6:
 *     sl  local_address rem_address   st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
 *      0: 0100007F:2572 00000000:0000 0A 00000000:00000000 00:00000000 00000000   0       0 4711 */
static bool find_socket(const char *file, enum port_kind kind, unsigned port,
			struct port_holder *ret)
{
	FILE *f = fopen(file, "re");
	char line[512];
	bool found = false;

	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f)) {
		unsigned local, state, uid;
		unsigned long inode;

		if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f:] %x %*s %*s %*s %u %*u %lu",
			   &local, &state, &uid, &inode) != 4 ||
		    local != port || (kind == PORT_TCP && state != TCP_LISTEN))
			continue;
		*ret = (struct port_holder){.inode = inode, .uid = uid};
		found = true;
	}
	fclose(f);
	return found;
}

static bool has_socket(const char *pid, unsigned long inode)
{
	char path[300], want[40], link[64];
	bool found = false;
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	snprintf(want, sizeof(want), "socket:[%lu]", inode);
	fds = opendir(path);
	if (!fds)
		return false;
	for (struct dirent *d; !found && (d = readdir(fds));) {
		ssize_t n = readlinkat(dirfd(fds), d->d_name, link, sizeof(link) - 1);

		if (n > 0) {
			link[n] = '\0';
			found = str_eq(link, want);
		}
	}
	closedir(fds);
	return found;
}

static bool is_pid(const char *name)
{
	return name[strspn(name, "0123456789")] == '\0';
}

void port_name_process(int pid, char *out, size_t size)
{
	char path[64], comm[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	f = fopen(path, "re");
	if (f && fgets(comm, sizeof(comm), f))
		comm[strcspn(comm, "\n")] = '\0';
	if (f)
		fclose(f);
	if (*comm)
		snprintf(out, size, "%s (pid %d)", comm, pid);
	else
		snprintf(out, size, "pid %d", pid);
}

bool port_holder(enum port_kind kind, unsigned port, struct port_holder *ret)
{
	DIR *proc;

	if (!find_socket(kind == PORT_TCP ? "/proc/net/tcp" : "/proc/net/udp", kind, port, ret) &&
	    !find_socket(kind == PORT_TCP ? "/proc/net/tcp6" : "/proc/net/udp6", kind, port, ret))
		return false;
	proc = opendir("/proc");
	for (struct dirent *d; proc && ret->inode && (d = readdir(proc));)
		if (is_pid(d->d_name) && has_socket(d->d_name, ret->inode)) {
			port_name_process(atoi(d->d_name), ret->name, sizeof(ret->name));
			break;
		}
	if (proc)
		closedir(proc);
	return true;
}
