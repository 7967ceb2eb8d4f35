/*
 * harmony-agent: keeps WireGuard tunnels true. This file only finds the subcommand.
 */
#include "commands.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "crypto/crypto.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{"up", cmd_up, "run: bring the networks up and keep them as configured"},
	{"check", cmd_check, "validate configuration files, touching nothing"},
	{"plan", cmd_plan, "show what 'up' would change on this machine"},
	{"status", cmd_status, "ask the running agent for the state of its networks"},
	{"ready", cmd_ready, "whether the running agent is ready, and why not, for probes"},
	{"reload", cmd_reload, "have the running agent read its configuration again"},
	{"devices", cmd_devices, "start userspace devices for an agent in another container"},
	{"forget", cmd_forget, "remove the keys and what else the agent keeps on this machine"},
	{"genkey", cmd_genkey, "write a new private key to standard output"},
	{"pubkey", cmd_pubkey, "read a private key, write its public key"},
};

static void usage(FILE *to)
{
	fputs("usage: harmony-agent COMMAND [OPTION…]\n\ncommands:\n", to);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].help);
	fputs("\n'harmony-agent COMMAND --help' tells about one; --version prints the version.\n"
	      "harmony-agent(8) and harmony-agent.toml(5) have the whole.\n",
	      to);
}

int cmd_fail(const char *cmd, int status, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "harmony-agent %s: ", cmd);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

int arg_list_add(struct arg_list *l, const char *cmd, const char *option, const char *value)
{
	if (l->n == ARRAY_LEN(l->items))
		return cmd_fail(cmd, EXIT_USAGE,
				"--%s: found more than %zu, accepted are up to that", option,
				ARRAY_LEN(l->items));
	l->items[l->n++] = value;
	return 0;
}

const char *node_name(const char *option)
{
	static char host[256];

	if (option)
		return option;
	const char *env = getenv("NODE_NAME");
	if (env && *env)
		return env;
	return gethostname(host, sizeof(host) - 1) == 0 && host[0] ? host : NULL;
}

int main(int argc, char **argv)
{
	const char *names[ARRAY_LEN(commands) + 1] = {NULL};

	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (str_eq(argv[1], "--help") || str_eq(argv[1], "-h") || str_eq(argv[1], "help")) {
		usage(stdout);
		return EXIT_OK;
	}
	if (str_eq(argv[1], "--version") || str_eq(argv[1], "version")) {
		puts("harmony-agent " HARMONY_VERSION);
		return EXIT_OK;
	}
	if (crypto_init() < 0)
		return cmd_fail(argv[1], EXIT_SYSTEM,
				"the cryptographic libraries are not usable here");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (str_eq(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
		names[i] = commands[i].name;
	}
	const char *near = str_nearest(argv[1], names);
	fprintf(stderr, "harmony-agent: found command '%s'%s%s%s\n\n", argv[1],
		near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
	usage(stderr);
	return EXIT_USAGE;
}
