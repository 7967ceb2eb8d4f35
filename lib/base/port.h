/*
 * Who has a port, for the message that it is taken. What is known of a process that is not one's
 * own depends on one's rights: without CAP_SYS_PTRACE little more than its user.
 */
#ifndef BASE_PORT_H
#define BASE_PORT_H

#include <stdbool.h>
#include <stddef.h>

enum port_kind { PORT_TCP, PORT_UDP }; /* TCP: who listens at it */

struct port_holder {
	unsigned long inode; /* of the socket: the same one as long as it is open */
	unsigned uid;
	char name[64]; /* "NAME (pid N)", "pid N", or "" where the process cannot be seen */
};

/* Of the process's network namespace. False where nobody has the port, or /proc cannot be read. */
bool port_holder(enum port_kind kind, unsigned port, struct port_holder *ret);

/* "NAME (pid N)", or "pid N" where the name cannot be read. */
void port_name_process(int pid, char *out, size_t size);

#endif
