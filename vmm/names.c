/* SPDX-License-Identifier: MIT */
/* What ends and delivery modes are called on the command line and in the JSON output. */
#include <errno.h>
#include <string.h>

#include "vmm.h"

static const char *const end_names[] = {
	[VMM_RUNNING] = "running", [VMM_END_UNTIL] = "until", [VMM_END_POWEROFF] = "poweroff",
	[VMM_END_DEBUG_EXIT] = "debug-exit", [VMM_END_RESET] = "reset", [VMM_END_CRASH] = "crash",
	[VMM_END_TIMEOUT] = "timeout", [VMM_END_STOP] = "stop", [VMM_END_SIGNAL] = "stop",
	[VMM_END_PAGE_LOST] = "page-lost", [VMM_END_ERROR] = "error",
};

static const char *const delivery_names[] = {
	[APF_DELIVERY_SYNC] = "sync", [APF_DELIVERY_KERNEL] = "kernel",
	[APF_DELIVERY_USER] = "user",
};

const char *vmm_end_name(enum vmm_end end)
{
	return end_names[end];
}

const char *vmm_delivery_name(enum apf_delivery d)
{
	return delivery_names[d];
}

int vmm_delivery_parse(const char *text, enum apf_delivery *d)
{
	for (unsigned int i = 0; i < sizeof(delivery_names) / sizeof(*delivery_names); i++) {
		if (strcmp(text, delivery_names[i]))
			continue;
		*d = i;
		return 0;
	}
	return -EINVAL;
}
