/*
 * The choice of a backend, as a function of wish and machine. What the running agent adds to it
 * (a device that keeps ending, a launcher that is just starting) is reconcile.c's.
 */
#include "agent/backend.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int agent_backend_find(const struct device_probe *p, enum config_backend wish,
		       struct agent_backend_choice *ret, struct err *e)
{
	if (wish == CONFIG_BACKEND_UAPI)
		return err_set(
			e, -ENODEV,
			"backend \"uapi\" uses a device that is there already, and none answers");

	bool kernel = wish == CONFIG_BACKEND_KERNEL || (wish == CONFIG_BACKEND_AUTO && p->kernel);
	if (kernel && !p->kernel)
		return err_set(e, -EOPNOTSUPP, "backend \"kernel\": %s", p->why);
	if (!kernel && !p->userspace[0])
		return err_set(e, -ENOENT, "no WireGuard: %s", p->why);
	ret->kind = kernel ? DEVICE_KERNEL : DEVICE_UAPI;
	ret->program = kernel ? NULL : p->userspace;
	return 0;
}

/* Whether userspace devices can be started now, as far as can be seen without starting one. */
static int can_start(const char *program, struct err *e)
{
	if (device_is_launcher(program))
		return device_launcher_listens(program) ? 0
							: err_set(e, -ECONNREFUSED,
								  "backend \"userspace\": %s: no "
								  "launcher of devices answers",
								  program);
	if (access(program, X_OK) < 0)
		return err_sys(e, -errno, "backend \"userspace\": %s", program);
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		return err_sys(e, -errno, "backend \"userspace\": /dev/net/tun");
	return 0;
}

static int can_be_made(enum agent_made made, const struct device_probe *p, struct err *e)
{
	struct agent_backend_choice choice;
	enum config_backend wish =
		made == AGENT_MADE_KERNEL ? CONFIG_BACKEND_KERNEL : CONFIG_BACKEND_USERSPACE;
	int r = agent_backend_find(p, wish, &choice, e);

	return r == 0 && choice.kind == DEVICE_UAPI ? can_start(choice.program, e) : r;
}

void agent_backend_settle(struct agent_state *desired, const struct agent_state *observed,
			  const struct device_probe *p)
{
	for (size_t i = 0; i < desired->n_tunnels; i++) {
		struct agent_tunnel *want = &desired->tunnels[i];
		const struct agent_tunnel *have = agent_state_find(observed, want->ifname);
		struct err e = {0};

		want->problem[0] = '\0';
		if (have && agent_made_differs(want, have) && can_be_made(want->made, p, &e) < 0)
			snprintf(want->problem, sizeof(want->problem), "%.250s", e.msg);
	}
}
