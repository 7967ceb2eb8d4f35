/*
 * harmony-agent up --respawn: a crash of the agent is not the end of its container.
 *
 *     container of a sidecar
 *     +- harmony-agent up --respawn        the keeper, process 1: waits
 *     |    `- harmony-agent up             the agent; when a signal ends it, it is started again
 *     `- harmony-wg -f wg0                 detached, so adopted by process 1: the tunnel goes on
 *
 * A sidecar on a node without kernel WireGuard has its device in the agent's own container. Were
 * the agent process 1 there, its crash would take the device along, and the kubelet would need more
 * than a second to notice and to begin anew. The next agent adopts the device as it would the
 * kernel's.
 *
 * The keeper is forked off before anything is read or opened. It holds no key, listens to nobody,
 * hands signals on, and reaps what is left to process 1. An agent that ends by itself has a reason
 * that is told by its status, which becomes the keeper's; one that crashes again and again becomes
 * the kubelet's affair too.
 */
#include "commands.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/time.h"
#include "log/log.h"

#define SHORT_LIFE_NS (10 * NS_PER_SEC)
#define SHORT_LIVES   5   /* in a row, that is enough */
#define PAUSE_MS      500 /* after each of them but the first */

static void own_signals(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGCHLD);
	sigaddset(ret, SIGTERM);
	sigaddset(ret, SIGINT);
	sigaddset(ret, SIGHUP);
}

/* Until the agent has ended: its wait status. `end` is set where it was told to. */
static int watch(pid_t agent, const sigset_t *set, bool *end)
{
	int status, ret = 0;
	bool over = false;
	pid_t pid;

	while (!over) {
		int sig = sigwaitinfo(set, NULL);

		if (sig > 0 && sig != SIGCHLD) {
			*end |= sig != SIGHUP;
			kill(agent, sig);
		}
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
			if (pid == agent)
				ret = status, over = true;
	}
	return ret;
}

int up_respawn(void)
{
	unsigned short_lives = 0;
	sigset_t set, before;
	bool end = false;

	own_signals(&set);
	sigprocmask(SIG_BLOCK, &set, &before);
	for (;;) {
		struct mono start = mono_now();
		pid_t agent = fork();

		if (agent < 0)
			return cmd_fail("up", EXIT_SYSTEM, "fork: %s", strerror(errno));
		if (agent == 0) {
			prctl(PR_SET_PDEATHSIG, SIGTERM);
			sigprocmask(SIG_SETMASK, &before, NULL);
			return -1;
		}
		int status = watch(agent, &set, &end);

		if (WIFEXITED(status))
			return WEXITSTATUS(status);
		if (end)
			return 128 + WTERMSIG(status);
		bool brief = mono_since(mono_now(), start) < SHORT_LIFE_NS;
		short_lives = brief ? short_lives + 1 : 0;
		log_error("the agent was ended by a signal",
			  LOG_STR("signal", strsignal(WTERMSIG(status))),
			  LOG_STR("next", short_lives < SHORT_LIVES ? "it is started again"
								    : "too often, it ends"));
		if (short_lives >= SHORT_LIVES)
			return 128 + WTERMSIG(status);
		if (short_lives > 1)
			poll(NULL, 0, PAUSE_MS);
	}
}
