/* SPDX-License-Identifier: MIT */
/* The owner's thread while the VM runs: control socket, time limit, ticks. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include <apf/error.h>

#include "control.h"
#include "vmm.h"

#define TICK_NS		100000000u
#define FDS_OWN		2u	/* events, the reader of the output; then the control socket's */
#define JOB_TICK_NS	1000000u	/* while a snapshot waits for its moment */

static void drain_events(struct vmm *vm)
{
	uint64_t n;

	while (read(vmm_event_fd(vm), &n, sizeof(n)) > 0)
		;
}

struct schedule {
	uint64_t next_tick, end;
};

/* How long poll may sleep; rounded up, so that it does not spin through the last millisecond. */
static int sleep_ms(const struct schedule *s, const struct control *c, uint64_t now)
{
	uint64_t until = s->next_tick < s->end ? s->next_tick : s->end;

	if (c->job.active && until > now + JOB_TICK_NS)
		until = now + JOB_TICK_NS;
	return until > now ? (int)((until - now + 999999u) / 1000000u) : 0;
}

static void on_time(struct vmm *vm, const struct vmm_loop_config *cfg, struct schedule *s)
{
	uint64_t now = vmm_now_ns();

	if (now >= s->end)
		vmm_finish(vm, VMM_END_TIMEOUT, "time is up");
	if (now < s->next_tick)
		return;
	vmm_console_flush(vmm_console(vm));
	if (cfg->tick)
		cfg->tick(cfg->arg);
	/* A tick that takes long comes less often: at most a tenth of the time goes into it. */
	s->next_tick = vmm_now_ns() + TICK_NS;
	if ((s->next_tick - TICK_NS - now) * 10 > TICK_NS)
		s->next_tick = now + (s->next_tick - TICK_NS - now) * 10;
}

enum vmm_end vmm_loop(struct vmm *vm, const struct vmm_loop_config *cfg)
{
	struct pollfd fds[FDS_OWN + 1 + CONTROL_CLIENTS];
	struct control control;
	uint64_t now = vmm_now_ns();
	struct schedule s = { .next_tick = now, .end = UINT64_MAX };

	if (cfg->timeout_ns && cfg->timeout_ns < UINT64_MAX - now)
		s.end = now + cfg->timeout_ns;
	if (control_open(&control, vm, cfg->control, cfg->start_ns))
		vmm_finish(vm, VMM_END_ERROR, "%s", apf_error());
	while (vmm_ended(vm) == VMM_RUNNING) {
		unsigned int n = control_fds(&control, fds + FDS_OWN);

		fds[0] = (struct pollfd){ .fd = vmm_event_fd(vm), .events = POLLIN };
		fds[1] = (struct pollfd){ .fd = vmm_console_waits_for(vmm_console(vm)), .events = POLLOUT };
		if (poll(fds, n + FDS_OWN, sleep_ms(&s, &control, vmm_now_ns())) < 0)
			continue;	/* EINTR: the descriptors were not looked at */
		if (fds[0].revents)
			drain_events(vm);
		if (fds[1].revents)
			vmm_console_flush(vmm_console(vm));
		control_serve(&control, fds + FDS_OWN, n);
		control_work(&control);
		on_time(vm, cfg, &s);
	}
	vmm_stop(vm);
	control_close(&control);
	return vmm_ended(vm);
}
