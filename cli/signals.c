/* SPDX-License-Identifier: MIT */
/* The signals that end a program, taken where it looks for them. */
#include "cli.h"

sigset_t signals_that_end(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	return set;
}

void block_signals(void)
{
	sigset_t set = signals_that_end();

	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);	/* the call says EFBIG */
}
