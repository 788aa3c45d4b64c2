/* SPDX-License-Identifier: MIT */
/* The rows of docs/protocol.md as this suite sees them. */
#include "conformance.h"

#define GUEST_SIDE "the guest's side: test-guest, the explorer and the lab's guests"

const struct conf_row conf_rows[] = {
	{ "C1", "NP and ready of a fault carry the same token", NULL, NULL },
	{ "C2", "a page is fetched once, each NP gets one answer", NULL,
	  "KVM keeps faults across enabling again: their readies come after the wake-all" },
	{ "C3", "a repeated fault gets no second token and halts", NULL, NULL },
	{ "C4", "in privileged code interrupts are served, with interrupts off none", NULL, NULL },
	{ "C5", "more faults than the host has room for: none refused, none lost", NULL, NULL },
	{ "C6", "the token ~0 wakes every waiter", NULL, NULL },
	{ "C7", "a page whose NP was not delivered is not told of", NULL, NULL },
	{ "C8", "live tokens are unique, neither 0 nor ~0, and carry the vCPU", NULL, NULL },
	{ "C9", NULL, "the area is here as soon as it is enabled; unreachable ones: "
	  "test-engine-fault, test-engine-ready", NULL },
	{ "C10", "disabling forgets all; resets and INIT: test-engine-control, tests/lab", NULL,
	  "KVM does not take a token back that the guest has not read when it disables" },
	{ "C11", "the access that faulted runs again and gives the right data", NULL, NULL },
	{ "C12", "after a restore each NP has one answer", NULL, NULL },
	{ "C13", "no NP lost, doubled or made a panic by interrupted runs", NULL, NULL },
	{ "C14", NULL, "the test kernel never runs without paging, in SMM or nested: "
	  "test-engine-fault", NULL },
	{ "C15", "the page is there when its ready comes", NULL, NULL },
	{ "C16", "a snapshot has our halt as runnable, a real HLT as halted", NULL, NULL },

	{ "L1", "bits of EN, its reserved ones and its address", NULL, NULL },
	{ "L2", "the host touches only its words of the area", NULL, NULL },
	{ "L3", "the token's low 12 bits are the vCPU; wrapping: test-engine-fault", NULL, NULL },
	{ "L4", "NP: reason 1, #PF with error code 0, only in user mode", NULL, NULL },
	{ "L5", "ready: reason 2, #PF with error code 0", NULL, NULL },
	{ "L6", "a lost page wakes all, then stops the VM with a message", NULL, NULL },
	{ "L7", "pages that come after disabling are not told", NULL, NULL },
	{ "L8", NULL, GUEST_SIDE, NULL },
	{ "L9", NULL, GUEST_SIDE, NULL },
	{ "L10", "enabling sends one wake-all", NULL, NULL },
	{ "L11", "a ready ends a HLT", NULL, NULL },

	{ "I1", "EN bit 3 is taken, 2, 4 and 5 raise #GP", NULL, NULL },
	{ "I2", "bits of PF2; it reads back; ACK does not exist", NULL, NULL },
	{ "I3", "nothing before PF2 is on, then the wake-all of enabling", NULL, NULL },
	{ "I4", "with the area taken NPs become waits and readies queue", NULL, NULL },
	{ "I5", "ready: reason 2, token, interrupt", NULL, NULL },
	{ "I6", "without bit 3 a guest of 2010 runs", NULL, NULL },
	{ "I7", NULL, GUEST_SIDE, NULL },
	{ "I8", "CPUID bit 4 without 14, and EN takes bit 3", NULL, NULL },

	{ "N1", "bits of INT; a vector below 16 is dropped without spinning", NULL, NULL },
	{ "N2", "without EN bit 3 nothing is delivered", NULL, NULL },
	{ "N3", "NPs go out while the reason is old and a ready waits", NULL, NULL },
	{ "N4", "no ready while the token word is taken; ACK bit 0 makes the host look", NULL, NULL },
	{ "N5", "CPUID bits 4 and 14, never 10; EN bits 2, 4, 5 raise #GP", NULL,
	  "KVM holds a guest to its CPUID bits only with KVM_CAP_ENFORCE_PV_FEATURE_CPUID" },
	{ "N6", "readies wait for the local APIC, without spinning", NULL, NULL },
	{ "N7", "one wake-all per enabling; disabling forgets; a bad area changes nothing", NULL,
	  "KVM raises #GP for an area that is not RAM and keeps the value all the same" },
	{ "N8", NULL, "needs Linux: tests/lab", NULL },
	{ "N9", NULL, GUEST_SIDE, NULL },
	{ "N10", "a lost page's own token is told, then the VM stops with a message", NULL, NULL },
	{ NULL, NULL, NULL, NULL },
};
