/* SPDX-License-Identifier: MIT */
/* See stall.h. */
#include "stall.h"

#include <inttypes.h>
#include <stdlib.h>

#include <linux/kvm.h>

#include <json-c/json.h>

#include <apf/kvm.h>
#include <apf/memory.h>

#include <vmm/vmm.h>

#include "commands.h"

#define LATE_NS	1000000000u

bool late_look(struct late *l, uint32_t token, uint64_t readies, uint64_t now_ns)
{
	if (!token || token != l->token || readies != l->readies) {
		*l = (struct late){ .token = token, .readies = readies, .since_ns = now_ns };
		return false;
	}
	if (l->counted || now_ns - l->since_ns < LATE_NS)
		return false;
	l->counted = true;
	return true;
}

void stalls_look(struct stalls *s, struct vmm *vm)
{
	const unsigned int cpus = vmm_get_config(vm)->cpus;
	struct apf_vcpu_stats stats;
	uint32_t reason, token;

	if (!s->late)
		s->late = calloc(cpus, sizeof(*s->late));
	for (unsigned int i = 0; s->late && i < cpus; i++) {
		apf_kvm_vcpu_words(vmm_vcpu_apf(vm, i), &reason, &token);
		apf_kvm_vcpu_stats(vmm_vcpu_apf(vm, i), &stats);
		s->n += late_look(&s->late[i], token, stats.ready + stats.broadcasts, vmm_now_ns());
	}
}

static void add(struct json_object *o, const char *key, int64_t value)
{
	json_object_object_add(o, key, value < 0 ? NULL : json_object_new_int64(value));
}

static void add_hex(struct json_object *o, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	json_object_object_add(o, key, json_object_new_string(text));
}

static const char *mp_state_name(uint32_t state)
{
	switch (state) {
	case KVM_MP_STATE_RUNNABLE:
		return "runnable";
	case KVM_MP_STATE_HALTED:
		return "halted";
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_STOPPED:
		return "not started";
	default:
		return "other";
	}
}

static struct json_object *describe_vcpu(struct vmm *vm, unsigned int id)
{
	struct json_object *o = json_object_new_object();
	struct apf_kvm_vcpu_view v;

	add(o, "id", id);
	if (apf_kvm_vcpu_inspect(vmm_vcpu_apf(vm, id), &v))
		return o;
	add(o, "outstanding", v.engine.outstanding);
	add(o, "queued", v.engine.queued);
	json_object_object_add(o, "enabled", json_object_new_boolean(v.enabled));
	add_hex(o, "area", v.area);
	add_hex(o, "reason", v.reason);
	add_hex(o, "token", v.token);
	json_object_object_add(o, "mp_state", json_object_new_string(mp_state_name(v.mp_state)));
	add_hex(o, "pc", v.pc);
	json_object_object_add(o, "interrupts", json_object_new_boolean(v.interrupts));
	add(o, "vector", v.vector ? v.vector : -1);
	add(o, "irr", v.irr);
	add(o, "isr", v.isr);
	return o;
}

struct json_object *stall_describe(struct vmm *vm, const struct stalls *s)
{
	struct json_object *o = json_object_new_object(), *vcpus = json_object_new_array();
	struct apf_mem_stats m;

	apf_mem_stats(vmm_mem(vm), &m);
	add(o, "in_flight", m.in_flight);
	add(o, "late_readies", (int64_t)s->n);
	for (unsigned int i = 0; i < vmm_get_config(vm)->cpus; i++)
		json_object_array_add(vcpus, describe_vcpu(vm, i));
	json_object_object_add(o, "vcpus", vcpus);
	return o;
}

static void print_vcpu(struct json_object *v, const char *command, FILE *f)
{
	fprintf(f, "apf %s: vCPU %s: %s outstanding, %s ready but not told; area %s (%s): reason %s, token %s; "
		"%s at %s, interrupts %s; ready vector %s: IRR %s, ISR %s\n", command,
		member_text(v, "id"), member_text(v, "outstanding"), member_text(v, "queued"),
		member_text(v, "area"), member_is_true(v, "enabled") ? "on" : "off", member_text(v, "reason"),
		member_text(v, "token"), member_text(v, "mp_state"), member_text(v, "pc"),
		member_is_true(v, "interrupts") ? "on" : "off",
		member_text(v, "vector"), member_text(v, "irr"), member_text(v, "isr"));
}

void stall_print(struct json_object *stall, const char *command, FILE *f)
{
	struct json_object *vcpus = json_object_object_get(stall, "vcpus");

	fprintf(f, "apf %s: %s pages on their way; %s readies that the guest did not take for a second\n",
		command, member_text(stall, "in_flight"), member_text(stall, "late_readies"));
	for (size_t i = 0; i < json_object_array_length(vcpus); i++)
		print_vcpu(json_object_array_get_idx(vcpus, i), command, f);
}
