/*
 * harmony-agent devices: starts userspace devices for an agent in another container, so that they
 * outlive it. lib/device/launch.c has the theory.
 */
#include "commands.h"

#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <linux/capability.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "device/device.h"
#include "log/log.h"
#include "sandbox/sandbox.h"

static const char help[] =
	"usage: harmony-agent devices [OPTION…]\n"
	"\n"
	"Starts userspace devices for 'harmony-agent up --userspace SOCKET', so that they do not\n"
	"depend on the agent's container. Nothing runs until it is asked for.\n"
	"\n"
	"      --socket PATH          (default " DEVICE_LAUNCHER_PATH ")\n"
	"      --program PATH         the device (default: harmony-wg beside this program)\n"
	"      --log-format text|json (default: text on a terminal, else json)\n"
	"\n"
	"SIGTERM and SIGINT end it and its devices.\n";

enum { OPT_SOCKET = 256, OPT_PROGRAM, OPT_LOG_FORMAT };

static const struct option options[] = {
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"program", required_argument, NULL, OPT_PROGRAM},
	{"log-format", required_argument, NULL, OPT_LOG_FORMAT},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static int beside_us(char *ret, size_t size)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n <= 0)
		return -1;
	self[n] = '\0';
	int len = snprintf(ret, size, "%s/harmony-wg", dirname(self));
	return len > 0 && (size_t)len < size ? 0 : -1;
}

static void told(void *user, const char *ifname, const char *what)
{
	log_info("device", LOG_STR("device", ifname), LOG_STR("state", what));
}

/* A device needs CAP_NET_ADMIN, and gets no more. */
static void drop_privileges(void)
{
	const uint64_t keep = SANDBOX_CAP(CAP_NET_ADMIN);
	struct err e = {0};

	if (sandbox_drop_caps(keep, keep, &e) < 0 || sandbox_no_new_privs(&e) < 0)
		log_warn("privileges not dropped", LOG_STR("error", e.msg));
}

static int serve(const char *path, const char *program)
{
	struct err e = {0};
	char dir[PATH_MAX];

	if (str_copy(dir, sizeof(dir), path) < 0)
		return cmd_fail("devices", EXIT_USAGE, "--socket: the path is too long");
	(void)mkdir(dirname(dir), 0700); /* who listens there tells why it cannot */
	drop_privileges();
	/* It waits for years: nothing that the start has used is kept. */
	malloc_trim(0);
	log_info("devices are started on demand", LOG_STR("socket", path),
		 LOG_STR("program", program));
	if (device_launcher_run(path, program, told, NULL, &e) == 0)
		return EXIT_OK;
	log_error("cannot serve", LOG_STR("error", e.msg));
	return EXIT_SYSTEM;
}

int cmd_devices(int argc, char **argv)
{
	enum log_format format = isatty(STDERR_FILENO) ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON;
	const char *path = DEVICE_LAUNCHER_PATH, *program = NULL;
	char found[PATH_MAX];
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'h': fputs(help, stdout); return EXIT_OK;
		case OPT_SOCKET: path = optarg; break;
		case OPT_PROGRAM: program = optarg; break;
		case OPT_LOG_FORMAT:
			if (log_format_parse(optarg, &format) == 0)
				break;
			return cmd_fail("devices", EXIT_USAGE,
					"--log-format: found '%s', accepted: text, json", optarg);
		default:
			return cmd_fail("devices", EXIT_USAGE,
					"'harmony-agent devices --help' lists the options");
		}
	}
	if (optind < argc)
		return cmd_fail("devices", EXIT_USAGE, "found '%s', accepted are only options",
				argv[optind]);
	if (!program && beside_us(found, sizeof(found)) == 0)
		program = found;
	if (!program || *program != '/')
		return cmd_fail("devices", EXIT_USAGE, "--program: accepted is an absolute path");
	log_setup(format, LOG_LEVEL_INFO, STDERR_FILENO);
	signal(SIGPIPE, SIG_IGN);
	return serve(path, program);
}
