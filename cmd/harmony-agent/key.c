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

#include "base/secret.h"
#include "base/str.h"
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
	_cleanup_secret_ struct key *k = secret_new();
	struct key public_key;
	char text[KEY_BASE64 + 8];

	if (argc > 1)
		return cmd_fail("pubkey", EXIT_USAGE,
				"takes no arguments; usage: harmony-agent pubkey <FILE");
	if (!k)
		return cmd_fail("pubkey", EXIT_SYSTEM, "out of memory");
	int ok = fgets(text, sizeof(text), stdin) != NULL;
	text[ok ? strcspn(text, " \t\r\n") : 0] = '\0';
	ok = ok && key_from_base64(text, k) == 0;
	mem_wipe(text, sizeof(text));
	if (!ok)
		return cmd_fail(
			"pubkey", EXIT_FAILED,
			"found something else on standard input, accepted is one private key in "
			"base64");
	crypto_x25519_public(k, &public_key);
	return print_key(&public_key);
}
