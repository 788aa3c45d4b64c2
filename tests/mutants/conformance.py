# SPDX-License-Identifier: MIT
"""Hosts broken on purpose that `apf-conformance` must see, on this machine's own KVM."""
import os

SKIP = "" if os.access("/dev/kvm", os.R_OK | os.W_OK) else "no /dev/kvm"
NEEDS = ["guest/apf-test-kernel.elf"]

FAULT_C = "lib/engine/fault.c"
READY_C = "lib/engine/ready.c"
CONTROL = "lib/engine/control.c"
AREA = "lib/engine/area.c"
INT = "lib/engine/abi_int.c"
RFC = "lib/engine/abi_rfc.c"


def sees(abi, row):
    return [f"conformance/apf-conformance --abi {abi} --rows {row} --timeout 8"]


MUTANTS = [
    ("C1", READY_C, "deliver", "v->wake_all ? APF_TOKEN_BROADCAST : n->token, at);",
     "v->wake_all ? APF_TOKEN_BROADCAST : n->token ^ 1u << 12, at);", sees("2010", "C1")),
    ("C2", READY_C, "ready_sent", "n->token, apf_vcpu_area(v)); apf_set_remove(&v->set, n);",
     "n->token, apf_vcpu_area(v));", sees("int", "C2")),
    ("C3", FAULT_C, "is_repeated", "return count >= v->tokens_per_page;", "return false;",
     sees("int", "C3")),
    ("C5", FAULT_C, "start_np", "return APF_WHY_FULL;", "return APF_WHY_ASYNC;", sees("int", "C5")),
    ("C6 N7", CONTROL, "carry_out", "case APF_EFFECT_WAKE_ALL: v->wake_all = true;",
     "case APF_EFFECT_WAKE_ALL:", sees("int", "C6")),
    ("C7", FAULT_C, "apf_vcpu_fault", "v->standing = d->verdict != APF_INJECT;",
     "v->standing = d->verdict != APF_INJECT; if (v->standing) apf_set_add(&v->set, f->gfn, "
     "new_token(v), APF_NODE_WAITING);", sees("2010", "C7")),
    ("C8", FAULT_C, "new_token",
     "(UINT32_MAX >> id_bits); if (apf_vcpu_owns(v, token) && !apf_set_find(&v->set, token))",
     "3; if (apf_vcpu_owns(v, token))", sees("2010", "C8")),
    ("C10", CONTROL, "carry_out", "case APF_EFFECT_DISABLE: drop(v);", "case APF_EFFECT_DISABLE:",
     sees("int", "C10")),
    ("C12", "lib/kvm/state.c", "apf_kvm_vcpu_load",
     "now == APF_DELIVERY_USER && saved_as == APF_DELIVERY_USER",
     "now == APF_DELIVERY_SYNC && saved_as == APF_DELIVERY_USER", sees("int", "C12")),
    ("C16", "lib/kvm/state.c", "apf_kvm_vcpu_save",
     "if (apf_run_in_our_halt(v, *mp_state)) *mp_state = KVM_MP_STATE_RUNNABLE;", "", sees("int",
     "C16")),
    ("L1", "lib/engine/abi_2010.c", "l_ctl_valid", "APF_EN_RESERVED | APF_EN_INT | APF_EN_VMEXIT",
     "APF_EN_RESERVED | APF_EN_VMEXIT", sees("2010", "L1")),
    ("L4", AREA, "apf_area_np_write", "return write_reason(v, APF_REASON_NP);", "return 0;",
     sees("2010", "L4")),
    ("L6", "lib/engine/abi_2010.c", "apf_abi_2010", ".failed_wakes_all = true,", "",
     sees("2010", "L6")),
    ("L11", "lib/kvm/link.c", "op_inject",
     "mp.mp_state != KVM_MP_STATE_RUNNABLE && mp.mp_state != apf_arch_halted",
     "mp.mp_state != KVM_MP_STATE_RUNNABLE", sees("2010", "L11")),
    ("I2", RFC, "pf2_valid", "return !(value & ~(APF_INT_VECTOR_MASK | APF_PF2_ENABLED));",
     "return true;", sees("rfc", "I2")),
    ("I3", RFC, "ready_gate", "if (!pf2_on(v)) return APF_HELD;", "if (0) return APF_HELD;",
     sees("rfc", "I3")),
    ("I4", RFC, "rfc_np_gate", "return reason ? APF_WHY_BUSY : APF_WHY_ASYNC;",
     "return APF_WHY_ASYNC;", sees("rfc", "I4")),
    ("I8", "lib/kvm/x86/cpuid.c", "announce", "if (k->cfg.abi == APF_ABI_X86_INT)", "",
     sees("rfc", "I8")),
    ("N1", INT, "vector_valid", "return !(value & ~APF_INT_VECTOR_MASK);", "return true;",
     sees("int", "N1")),
    ("N2", INT, "means_enabled", "return (en & APF_EN_ENABLED) && (en & APF_EN_INT);",
     "return en & APF_EN_ENABLED;", sees("int", "N2")),
    ("N4", AREA, "apf_area_ready_interrupt", "if (old) return APF_HELD;", "", sees("int", "N4")),
    ("N6", AREA, "apf_area_ready_interrupt",
     "v->ops->write32(v->ctx, word, 0); return APF_BLOCKED;", "return APF_BLOCKED;",
     sees("int", "N6")),
    ("N7", INT, "en_valid", "return !means_enabled(en) || apf_area_is_ram(v, en);", "return true;",
     sees("int", "N7")),
    ("N10", INT, "apf_abi_int", ".name = \"int\",", ".name = \"int\", .failed_wakes_all = true,",
     sees("int", "N10")),
]
