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
	unsigned threads;          /* 0: not said */
	const char *log_file;      /* NULL: none; only in the background */
	const char *unknown_level; /* NULL: there is none */
	const char *no_effect[4];  /* what means nothing here */
	unsigned n_no_effect;
	bool one_queue;
	bool foreground;
	bool gso, gro, tun_offload, sandbox;
	bool silent, keep_output;
	int tun_fd, uapi_fd; /* handed over by whoever started us; -1: none */
	enum log_level level;
	enum log_format format;
};

enum options_result { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_VERSION, OPTIONS_BAD };

enum options_result options_parse(int argc, char **argv, struct options *ret, struct err *e);
/* Logs what of them is not as it was said. */
void options_tell(const struct options *o);
extern const char options_usage[];

#endif
