/*
 * The subcommands of harmony-agent. Each takes its own arguments (argv[0] is its name) and
 * returns the exit status.
 */
#ifndef HARMONY_AGENT_COMMANDS_H
#define HARMONY_AGENT_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>

/* The same for all commands. */
enum {
	EXIT_OK = 0,
	EXIT_FAILED =
		1, /* the configuration is wrong, the machine differs, the agent is not ready */
	EXIT_USAGE = 2,  /* the command line is wrong, or a file cannot be read */
	EXIT_SYSTEM = 3, /* something is missing: a right, the kernel's part, the running agent */
};

int cmd_up(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_ready(int argc, char **argv);
int cmd_reload(int argc, char **argv);
int cmd_devices(int argc, char **argv);
int cmd_forget(int argc, char **argv);
int cmd_genkey(int argc, char **argv);
int cmd_pubkey(int argc, char **argv);

/* "harmony-agent CMD: message" on standard error; returns `status`. */
int cmd_fail(const char *cmd, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* respawn.c: -1 in the process in which the agent goes on; in the one that has started it the
 * agent's status, when it has ended for good. */
int up_respawn(void);

/* A list of arguments that an option collects. */
struct arg_list {
	const char *items[64];
	size_t n;
};
int arg_list_add(struct arg_list *l, const char *cmd, const char *option, const char *value);

/* The node's name: the option's value, else NODE_NAME, else the host name. */
const char *node_name(const char *option);

#define STATE_DIR_DEFAULT "/var/lib/harmony-agent"

/* forget.c: a lock on the state directory, as long as the descriptor is open: `alone`, or together
 * with other agents, for whom it is made where it is missing. The descriptor; -EWOULDBLOCK where
 * another one is in the way; -errno. */
int state_dir_lock(const char *dir, bool alone);

/* forget_wait.c: the program's exit status. */
int forget_wait(const char *daemonset, const char *kubeconfig, unsigned secs);

#endif
