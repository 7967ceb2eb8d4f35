/* The command line and the environment. */
#ifndef HARMONY_WG_OPTIONS_H
#define HARMONY_WG_OPTIONS_H

#include <stdbool.h>

#include "base/err.h"
#include "log/log.h"

struct options {
	const char *ifname;
	const char *user;      /* NULL: stay what we are */
	const char *state_dir; /* "": none */
	const char *aead;      /* NULL: the fastest */
	unsigned queues;
	bool foreground;
	bool gso, gro, tun_offload, sandbox;
	bool silent, keep_output;
	int tun_fd, uapi_fd; /* handed over by whoever started us; -1: none */
	enum log_level level;
	enum log_format format;
};

enum options_result { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_VERSION, OPTIONS_BAD };

enum options_result options_parse(int argc, char **argv, struct options *ret, struct err *e);
extern const char options_usage[];

#endif
