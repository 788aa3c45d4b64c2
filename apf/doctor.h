/* SPDX-License-Identifier: MIT */
/* Between the files of `apf doctor`: doctor.c and one file per architecture. */
#ifndef APF_DOCTOR_H
#define APF_DOCTOR_H

#include <sys/utsname.h>

#include "commands.h"

/* Who needs a check to be fine. */
enum { FOR_RESTORE = 1, FOR_USER = 2, FOR_KERNEL = 4, FOR_LINUX = 8, FOR_NUMBERS = 16, FOR_LAZY_TABLES = 32 };

struct check {
	const char *name;
	bool ok;
	unsigned int needed;
	char detail[256];
	const char *fix;	/* what to do if it is not ok */
};

#define CHECKS_MAX 24u

struct doctor {
	struct utsname uts;
	struct check checks[CHECKS_MAX];
	unsigned int n;
	const char *kvm_kind;	/* "real", "slow", "none" */
	struct kvm_speed speed;
};

/* Note a finding, with a text about it (printf style). */
void doctor_add(struct doctor *d, const char *name, bool ok, unsigned int needed, const char *fix,
		const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* The first check that is not fine and that one of these needs, or NULL. */
const struct check *doctor_missing(const struct doctor *d, unsigned int needed);
/*
 * The best of the modes that work by these checks, for a guest that was or is to be offered this
 * generation; why: a text for the operator, what the modes before it lack included.
 */
enum apf_delivery doctor_best(const struct doctor *d, enum apf_abi_id abi, char *why, size_t size);
/* The same of this host: makes the checks, less the time measurements. */
enum apf_delivery doctor_choose(enum apf_abi_id abi, char *why, size_t size);

/* What an architecture supplies. */
struct doctor_arch {
	const char *no_kvm;	/* what to do where there is no KVM */
	const char *privileged, *user;	/* what its two levels of guest code are called */
	/* What KVM must have for modes kernel and user, and for their numbers. */
	void (*check)(struct doctor *d, const struct apf_kvm_probe *p);
	/* How the host kernel runs KVM: "VHE", "nVHE"; NULL: unknown, or there is no choice. */
	const char *(*host_mode)(void);
};
extern const struct doctor_arch doctor_arch;

#endif
