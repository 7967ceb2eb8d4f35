/*
 * Giving up what a process does not need. Each step stands alone, can't be undone, and is
 * inherited by what the process starts. The order that works:
 *
 *     sandbox_not_dumpable        before the first key is read
 *     sandbox_mlock               while CAP_IPC_LOCK or the limit allows it
 *     (open what needs privileges)
 *     sandbox_drop_caps           needs CAP_SETPCAP for the bounding set, thus before it is gone
 *     sandbox_no_new_privs        from here no program started gains anything
 *     sandbox_landlock            needs the step before
 *     sandbox_seccomp             last: it may forbid the calls of the steps above
 *
 * Capabilities are per thread: call these before there is a second one. (sandbox_seccomp alone
 * reaches all threads.)
 */
#ifndef SANDBOX_SANDBOX_H
#define SANDBOX_SANDBOX_H

#include <linux/capability.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A set of capabilities: bit N is capability N of <linux/capability.h>. */
#define SANDBOX_CAP(cap) (UINT64_C(1) << (cap))

/* Whether the calling thread has it in force. */
bool sandbox_has_cap(unsigned cap);

/* Puts in force what is permitted and not yet in force: a file capability without the effective
 * flag leaves that to the program. Whether the capability is in force now. */
bool sandbox_raise_cap(unsigned cap);

/* Puts a capability out of force until sandbox_raise_cap. */
void sandbox_lower_cap(unsigned cap);

/* Keeps `keep` permitted and in force, nothing else; nothing stays inheritable or ambient.
 *
 * The bounding set becomes `bounding` at most: what a program started as root may get. 0 where
 * none is started; the same as `keep` where one is that needs it (a userspace WireGuard device).
 * Without CAP_SETPCAP the bounding set stays as it is; in a container the runtime has cut it down
 * already, and after sandbox_no_new_privs no program gets more than its starter has.
 *
 * -EPERM, with nothing changed, where a capability of `keep` is not held: the message names it. */
int sandbox_drop_caps(uint64_t keep, uint64_t bounding, struct err *e);

/* No setuid bits, no file capabilities for anything started from here (PR_SET_NO_NEW_PRIVS). */
int sandbox_no_new_privs(struct err *e);

/* No core dump, and no ptrace or /proc/PID/mem for processes of the same user
 * (PR_SET_DUMPABLE, RLIMIT_CORE). */
int sandbox_not_dumpable(struct err *e);

/* Nothing of this process goes to swap, now and later, as far as it is in use (mlockall,
 * MCL_ONFAULT). -EPERM or -ENOMEM where the limit is too low: the message names limit and
 * capability. Then base/secret.h still locks the keys themselves. */
int sandbox_mlock(struct err *e);

/* What may be done with regular files below a directory: removed; or also made, written and
 * renamed inside it. Never read. */
enum sandbox_files { SANDBOX_FILES_REMOVE, SANDBOX_FILES_REPLACE };

struct sandbox_dir {
	int fd;
	enum sandbox_files may;
};

/* From here on this thread, and what it starts, reaches no file by name but below `dirs`, as said
 * there; nor, as far as the kernel knows of these, a TCP port, an abstract socket, or a process
 * beside its own by a signal. What is open stays usable. *ret_version: of the kernel's Landlock.
 * -EOPNOTSUPP where there is none. */
int sandbox_landlock(const struct sandbox_dir *dirs, size_t n, unsigned *ret_version,
		     struct err *e);

/* System calls by name, NULL at the end. The base is what any program of ours needs once it runs:
 * memory, time, signals, threads, reading and writing, sockets, the event loop, the end. */
extern const char *const sandbox_calls_base[];
/* Opening, renaming and watching files. */
extern const char *const sandbox_calls_files[];
/* Starting and awaiting other programs. */
extern const char *const sandbox_calls_processes[];

enum sandbox_denied {
	SANDBOX_DENY_ERROR, /* the call fails with EPERM */
	SANDBOX_DENY_KILL,  /* the process is killed (SIGSYS) */
};

/* Allows the calls of the lists (NULL at the end of the lists) and no other; implies
 * sandbox_no_new_privs. A name that this machine does not have as a system call is passed over;
 * one that libseccomp has never heard of is -EINVAL. -EOPNOTSUPP where the kernel has no
 * seccomp. */
int sandbox_seccomp(const char *const *const *lists, enum sandbox_denied denied, struct err *e);

#endif
