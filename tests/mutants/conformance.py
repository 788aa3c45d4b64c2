# SPDX-License-Identifier: MIT
"""Hosts broken on purpose that `apf conformance` must see, on this machine's own KVM."""
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
    return [f"apf/apf conformance --abi {abi} --rows {row} --timeout 4"]


MUTANTS = [
    ("C1", READY_C, "v->wake_all ? APF_TOKEN_BROADCAST : n->token, at);",
     "v->wake_all ? APF_TOKEN_BROADCAST : n->token ^ 1u << 12, at);", sees("2010", "C1")),
    ("C2", READY_C, "n->token, apf_vcpu_area(v));\n\tapf_set_remove(&v->set, n);",
     "n->token, apf_vcpu_area(v));", sees("int", "C2")),
    ("C3", FAULT_C, "return count >= v->tokens_per_page;", "return false;", sees("int", "C3")),
    ("C5", FAULT_C, "\t\treturn APF_WHY_FULL;\n", "\t\treturn APF_WHY_ASYNC;\n", sees("int", "C5")),
    ("C6 N7", CONTROL, "\tcase APF_EFFECT_ENABLE:\n\t\tv->wake_all = true;\n",
     "\tcase APF_EFFECT_ENABLE:\n", sees("int", "C6")),
    ("C7", FAULT_C, "\tv->standing = d->verdict != APF_INJECT;\n",
     "\tv->standing = d->verdict != APF_INJECT;\n\tif (v->standing)\n"
     "\t\tapf_set_add(&v->set, f->gfn, new_token(v), APF_NODE_WAITING);\n", sees("2010", "C7")),
    ("C8", FAULT_C, "(UINT32_MAX >> id_bits);\n"
     "\t\tif (apf_vcpu_owns(v, token) && !apf_set_find(&v->set, token))",
     "3;\n\t\tif (apf_vcpu_owns(v, token))", sees("2010", "C8")),
    ("C10", CONTROL, "\tcase APF_EFFECT_DISABLE:\n\t\tdrop(v);\n", "\tcase APF_EFFECT_DISABLE:\n",
     sees("int", "C10")),
    ("C12", "lib/kvm/state.c", "now == APF_DELIVERY_USER && saved_as == APF_DELIVERY_USER",
     "now == APF_DELIVERY_SYNC && saved_as == APF_DELIVERY_USER", sees("int", "C12")),
    ("C16", "lib/kvm/state.c", "\tif (halted_by_us(v, *mp_state))\n"
     "\t\t*mp_state = KVM_MP_STATE_RUNNABLE;\n", "", sees("int", "C16")),
    ("L1", "lib/engine/abi_2010.c", "APF_EN_RESERVED | APF_EN_INT | APF_EN_VMEXIT",
     "APF_EN_RESERVED | APF_EN_VMEXIT", sees("2010", "L1")),
    ("L4", AREA, "\treturn write_reason(v, APF_REASON_NP);", "\treturn 0;", sees("2010", "L4")),
    ("L6", "lib/engine/abi_2010.c", "\t.failed_wakes_all = true,\n", "", sees("2010", "L6")),
    ("L11", "lib/kvm/vcpu.c",
     "mp.mp_state != KVM_MP_STATE_RUNNABLE && mp.mp_state != arch_halted",
     "mp.mp_state != KVM_MP_STATE_RUNNABLE", sees("2010", "L11")),
    ("I2", RFC, "return !(value & ~(APF_INT_VECTOR_MASK | APF_PF2_ENABLED));", "return true;",
     sees("rfc", "I2")),
    ("I3", RFC, "\tif (!pf2_on(v))\n\t\treturn APF_HELD;", "\tif (0)\n\t\treturn APF_HELD;",
     sees("rfc", "I3")),
    ("I4", RFC, "return reason ? APF_WHY_BUSY : APF_WHY_ASYNC;", "return APF_WHY_ASYNC;",
     sees("rfc", "I4")),
    ("I8", "lib/kvm/x86/setup.c", "\t\tif (k->cfg.abi == APF_ABI_X86_INT)\n", "", sees("rfc", "I8")),
    ("N1", INT, "return !(value & ~APF_INT_VECTOR_MASK);", "return true;", sees("int", "N1")),
    ("N2", INT, "return (en & APF_EN_ENABLED) && (en & APF_EN_INT);",
     "return en & APF_EN_ENABLED;", sees("int", "N2")),
    ("N4", AREA, "\tif (old)\n\t\treturn APF_HELD;\n", "", sees("int", "N4")),
    ("N6", AREA, "\tv->ops->write32(v->ctx, word, 0);\n\treturn APF_BLOCKED;",
     "\treturn APF_BLOCKED;", sees("int", "N6")),
    ("N7", INT, "return !means_enabled(en) || apf_area_is_ram(v, en);", "return true;",
     sees("int", "N7")),
    ("N10", INT, "\t.name = \"int\",\n", "\t.name = \"int\",\n\t.failed_wakes_all = true,\n",
     sees("int", "N10")),
]
