/* SPDX-License-Identifier: MIT */
/* What a VM that does not get on is made of, and readies that its guest does not take. */
#ifndef APF_STALL_H
#define APF_STALL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json_object;
struct vmm;

/* One vCPU's ready that its guest has not taken yet. */
struct late {
	uint32_t token;		/* 0: none */
	uint64_t readies;	/* delivered up to it */
	uint64_t since_ns;	/* when it was seen first */
	bool counted;
};

/* Look again: is this one not taken for a second by now, and was not counted before? Pure. */
bool late_look(struct late *l, uint32_t token, uint64_t readies, uint64_t now_ns);

/* Readies of a VM that were not taken for a second, counted once each; look every now and then. */
struct stalls {
	struct late *late;	/* of each vCPU */
	uint64_t n;
};
void stalls_look(struct stalls *s, struct vmm *vm);

/* Of a VM whose vCPUs have been stopped: what each one has and waits for. The object is the caller's. */
struct json_object *stall_describe(struct vmm *vm, const struct stalls *s);
void stall_print(struct json_object *stall, const char *command, FILE *f);

#endif
