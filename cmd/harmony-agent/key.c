/*
 * harmony-agent genkey and pubkey: as wg(8) has them, for machines without it. Keys go through
 * standard input and output only, never through arguments.
 */
#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"
#include "config/keys.h"
#include "crypto/crypto.h"

static int print_key(const struct key *k)
{
	char text[KEY_BASE64];
	int ok = puts(key_to_base64(k, text)) >= 0 && fflush(stdout) == 0;

	mem_wipe(text, sizeof(text));
	return ok ? EXIT_OK : EXIT_SYSTEM;
}

int cmd_genkey(int argc, char **argv)
{
	_cleanup_secret_ struct key *k = secret_new();
	struct stat st;

	if (argc > 1)
		return cmd_fail("genkey", EXIT_USAGE,
				"takes no arguments; usage: harmony-agent genkey >FILE");
	if (!k || getrandom(k->b, KEY_LEN, 0) != KEY_LEN)
		return cmd_fail("genkey", EXIT_SYSTEM, "no random bytes: %s", strerror(errno));
	if (fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 077))
		fputs("harmony-agent genkey: others may read this file; 'umask 077' before it\n",
		      stderr);
	crypto_x25519_clamp(k);
	return print_key(k);
}

int cmd_pubkey(int argc, char **argv)
{
	_cleanup_secret_ struct key *k = NULL;
	struct key public_key;
	struct err e = {0};

	if (argc > 1)
		return cmd_fail("pubkey", EXIT_USAGE,
				"takes no arguments; usage: harmony-agent pubkey <FILE");

	/* Without stdio, whose buffer would keep a copy. */
	int r = config_key_read(STDIN_FILENO, "standard input", &k, &e);
	if (r < 0)
		return cmd_fail("pubkey", r == -ENOMEM ? EXIT_SYSTEM : EXIT_FAILED, "%s", e.msg);
	crypto_x25519_public(k, &public_key);
	return print_key(&public_key);
}
