# SPDX-License-Identifier: MIT
"""The rows of 2010 and of the 2020 RFC, broken one by one."""
L_TEST = "tests/engine/test-engine-2010"
I_TEST = "tests/engine/test-engine-rfc"
L_ALL = "tests/explorer/explorer 2010"
L_PAIRS = "tests/explorer/explorer 2010-pairs"
I_ALL = "tests/explorer/explorer rfc"
I_BOOT = "tests/explorer/explorer rfc-boot"
I_PAIRS = "tests/explorer/explorer rfc-pairs"
I_AS_L = "tests/explorer/explorer rfc-as-2010"

READY_C = "lib/engine/ready.c"
X86 = "lib/engine/abi_x86.c"
AREA = "lib/engine/area.c"
L = "lib/engine/abi_2010.c"
I = "lib/engine/abi_rfc.c"

MUTANTS = [
    # L1, I8: what EN takes.
    ("L1", L, "l_ctl_valid", "APF_EN_RESERVED | APF_EN_INT | APF_EN_VMEXIT",
     "APF_EN_INT | APF_EN_VMEXIT", [L_TEST]),
    ("L1 I8", L, "l_ctl_valid", "APF_EN_RESERVED | APF_EN_INT | APF_EN_VMEXIT",
     "APF_EN_RESERVED | APF_EN_VMEXIT", [L_TEST]),
    ("L1", L, "l_ctl_valid", "APF_EN_RESERVED | APF_EN_INT | APF_EN_VMEXIT",
     "APF_EN_RESERVED | APF_EN_INT", [L_TEST]),
    ("L1", L, "l_ctl_valid", "!is_on(ctl[CTL_EN]) || apf_area_is_ram(v, ctl[CTL_EN])", "true",
     [L_TEST]),
    ("L1", L, "l_ctl_valid", "!is_on(ctl[CTL_EN]) ||", "", [L_TEST]),
    ("L1", L, "l_ctl_write", "reg != APF_MSR_EN || !l_ctl_valid", "!l_ctl_valid", [L_TEST]),
    ("L1", L, "l_ctl_read", "if (reg != APF_MSR_EN) return -EINVAL;", "", [L_TEST]),
    # L2: the area.
    ("L2 L4", AREA, "write_reason", "apf_area_of(v) + APF_AREA_REASON, reason);",
     "apf_area_of(v) + APF_AREA_TOKEN, reason);", [L_TEST, L_ALL]),
    # L3: tokens.
    ("L3", L, "apf_abi_2010", ".id_bits = 12", ".id_bits = 11", [L_TEST]),
    ("L3", I, "apf_abi_rfc", ".id_bits = 12", ".id_bits = 13", [L_TEST]),
    # L4: the gate of NP.
    ("L4", L, "l_np_gate", "l_enabled(v) ? apf_x86_np_gate(v, f) : APF_WHY_DISABLED",
     "apf_x86_np_gate(v, f)", [L_TEST]),
    # L5: ready as an exception, where the vCPU enters.
    ("L5", X86, "apf_x86_ready_pf", "if (!at) return APF_AT_ENTRY;", "if (!at) return APF_HELD;",
     [L_TEST, L_ALL]),
    ("L5 L11", READY_C, "deliver", "return APF_OUT_KICK;", "return APF_OUT_LATER;",
     [L_TEST, L_ALL]),
    ("L5", X86, "apf_x86_takes_exceptions", "at->irqs_on &&", "", [L_TEST]),
    ("L5", X86, "apf_x86_takes_exceptions", "!at->irq_shadow &&", "", [L_TEST]),
    ("L5 C11", X86, "apf_x86_takes_exceptions", "!at->event &&", "", [L_TEST, L_ALL]),
    ("L5 C14", X86, "apf_x86_takes_exceptions", "at->paging &&", "", [L_TEST]),
    ("L5 C14", X86, "apf_x86_takes_exceptions", "!at->smm &&", "", [L_TEST]),
    ("L5 C14", X86, "apf_x86_takes_exceptions", "&& !at->nested", "", [L_TEST]),
    ("L5", X86, "apf_x86_takes_exceptions", "return at->irqs_on", "return at->user && at->irqs_on",
     [L_TEST]),
    ("L5 C9 C13", AREA, "apf_area_ready_exception",
     "if (write_reason(v, APF_REASON_READY)) return APF_BLOCKED;", "", [L_TEST, L_ALL]),
    ("L5 C13", AREA, "apf_area_ready_exception",
     "APF_SENT_SILENT; write_reason(v, APF_REASON_NONE);", "APF_SENT_SILENT;", [L_TEST, L_PAIRS]),
    ("L5", AREA, "apf_area_ready_exception",
     "write_reason(v, APF_REASON_NONE); return APF_BLOCKED;",
     "write_reason(v, APF_REASON_NONE); return APF_HELD;", [L_TEST, L_PAIRS]),
    ("L5 I4", READY_C, "deliver",
     "sent == APF_SENT || !v->set.list[APF_NODE_READY].count ? 0 : APF_OUT_LATER", "0",
     [L_TEST, L_ALL]),
    # L6: a page that failed for good.
    ("L6", L, "apf_abi_2010", ".failed_wakes_all = true,", "", [L_TEST]),
    ("L6", I, "apf_abi_rfc", ".failed_wakes_all = true,", "", [L_TEST]),
    ("L6", READY_C, "apf_vcpu_page_failed", "&& apf_set_waiting(&v->set, gfn, &token))", ")",
     [L_TEST]),
    ("L6", READY_C, "apf_vcpu_page_failed",
     "v->wake_all = true; return apf_vcpu_page_done(v, gfn);",
     "v->wake_all = true; return deliver(v, NULL);", [L_TEST, L_PAIRS]),
    # L7, L10: disabling and enabling.
    ("L7 C10", L, "l_ctl_write", "was ? APF_EFFECT_DISABLE : APF_EFFECT_NONE", "APF_EFFECT_NONE",
     [L_TEST, L_PAIRS]),
    ("L10", L, "l_ctl_write", "if (is_on(value))", "if (is_on(value) && !was)", [L_TEST]),
    # I1: EN.
    ("I1", I, "en_valid", "APF_EN_RESERVED | APF_EN_VMEXIT", "APF_EN_RESERVED", [I_TEST]),
    ("I1", I, "en_valid", "APF_EN_RESERVED | APF_EN_VMEXIT", "APF_EN_VMEXIT", [I_TEST]),
    ("I1", I, "en_valid", "!is_on(en) || apf_area_is_ram(v, en)", "true", [I_TEST]),
    # I2: PF2.
    ("I2", I, "pf2_valid", "~(APF_INT_VECTOR_MASK | APF_PF2_ENABLED)", "~APF_INT_VECTOR_MASK",
     [I_TEST]),
    ("I2", I, "pf2_valid", "return !(value & ~(APF_INT_VECTOR_MASK | APF_PF2_ENABLED));",
     "return true;", [I_TEST]),
    ("I2", I, "rfc_ctl_write", "!pf2_valid(value) || !v->has_lapic", "!pf2_valid(value)", [I_TEST]),
    ("I2", I, "rfc_ctl_valid", "(v->has_lapic || !ctl[CTL_INT])", "true", [I_TEST]),
    ("I2", I, "rfc_ctl_valid", "&& pf2_valid(ctl[CTL_INT])", "", [I_TEST]),
    ("I2", I, "apf_abi_rfc", ".ctl_words = 2", ".ctl_words = 1", [I_TEST]),
    ("I2", I, "rfc_ctl_read", "reg != APF_MSR_EN && reg != APF_MSR_INT", "0", [I_TEST]),
    ("I2", I, "rfc_ctl_read", "reg == APF_MSR_EN ? CTL_EN : CTL_INT", "CTL_EN", [I_TEST]),
    # I3: nothing while PF2 is off.
    ("I3", I, "rfc_ctl_write", "APF_EFFECT_WAKE_ALL : APF_EFFECT_NONE", "0 : 0", [I_TEST]),
    ("I3", I, "rfc_ctl_write", "APF_EFFECT_WAKE_ALL : APF_EFFECT_NONE",
     "APF_EFFECT_LOOK : APF_EFFECT_NONE", [I_TEST]),
    ("I3", I, "rfc_ctl_write", "pf2_on(v) && rfc_enabled(v)", "rfc_enabled(v)", [I_TEST]),
    ("I3 C10", I, "rfc_ctl_write", "pf2_on(v) && rfc_enabled(v)", "pf2_on(v)", [I_TEST]),
    ("I3", I, "ready_gate", "if (!pf2_on(v)) return APF_HELD;", ";", [I_TEST]),
    ("I3", I, "ready_gate", "if (!pf2_on(v)) return APF_HELD;", "if (!pf2_on(v)) return APF_BLOCKED;",
     [I_TEST]),
    ("I3", I, "rfc_np_gate", "|| (by_interrupt(en) && !pf2_on(v))", "", [I_TEST]),
    # I4: the area must be free.
    ("I4", I, "rfc_np_gate", "return reason ? APF_WHY_BUSY : APF_WHY_ASYNC;",
     "return APF_WHY_ASYNC;", [I_TEST, I_ALL]),
    ("I4", I, "rfc_np_gate", "return reason ? APF_WHY_BUSY : APF_WHY_ASYNC;",
     "return reason ? APF_WHY_AREA : APF_WHY_ASYNC;", [I_TEST]),
    ("I4", I, "ready_gate", "APF_AREA_REASON, &reason) || reason)", "APF_AREA_REASON, &reason))",
     [I_TEST, I_ALL]),
    ("I4", I, "ready_gate", "|| reason) return APF_BLOCKED;", "|| reason) return APF_HELD;",
     [I_TEST, I_ALL]),
    ("I4 C9", I, "rfc_np_gate",
     "if (v->ops->read32(v->ctx, apf_area_of(v) + APF_AREA_REASON, &reason)) return APF_WHY_AREA;",
     "v->ops->read32(v->ctx, apf_area_of(v) + APF_AREA_REASON, &reason);", [I_TEST]),
    # I5: both words, then the interrupt; all or nothing.
    ("I5 C15", I, "write_words",
     "if (v->ops->write32(v->ctx, area + APF_AREA_TOKEN, token)) return -EFAULT;", "",
     [I_TEST, I_ALL]),
    ("I5", I, "rfc_ready", "write_words(v, APF_REASON_READY, token)",
     "write_words(v, APF_REASON_NP, token)", [I_TEST, I_ALL]),
    ("I5", I, "rfc_np_write", "return write_words(v, APF_REASON_NP, token);",
     "return apf_area_np_write(v, token);", [I_TEST, I_ALL]),
    ("I5 C13", I, "write_words",
     "v->ops->write32(v->ctx, area + APF_AREA_TOKEN, 0); return -EFAULT;", "return -EFAULT;",
     [I_TEST]),
    ("I5", I, "rfc_ready", "clear_words(v);", "", [I_TEST, I_BOOT]),
    ("I5", I, "clear_words", "v->ops->write32(v->ctx, area + APF_AREA_TOKEN, 0);", "", [I_TEST]),
    ("I5", I, "carry", "raise(v->ctx, v->id, vector) > 0", "raise(v->ctx, v->id, vector) >= 0",
     [I_TEST, I_BOOT]),
    ("I5 N1", I, "carry", "|| vector < FIRST_VECTOR", "", [I_TEST]),
    # I6: without bit 3.
    ("I6", I, "ready_gate", "if (by_interrupt(v->ctl[CTL_EN]))", "if (1)", [I_TEST, I_AS_L]),
    ("I6", I, "carry", "if (!by_interrupt(v->ctl[CTL_EN])) return !v->ops->inject(v->ctx, token);",
     "", [I_TEST, I_AS_L]),
    ("I5 I6", I, "rfc_ready", "if (gate != APF_SENT) return gate;",
     "if (gate != APF_SENT) return gate; "
     "if (!by_interrupt(v->ctl[CTL_EN])) return apf_x86_ready_pf(v, token, at);", [I_TEST, I_AS_L]),
    ("I6 L5", I, "ready_gate", "apf_x86_takes_exceptions(at) ? APF_SENT : APF_BLOCKED", "APF_SENT",
     [I_TEST]),
    ("I6 L5", I, "ready_gate", "apf_x86_takes_exceptions(at) ? APF_SENT : APF_BLOCKED",
     "apf_x86_takes_exceptions(at) ? APF_SENT : APF_HELD", [I_TEST]),
    ("I6", I, "rfc_np_gate", "why != APF_WHY_ASYNC || !by_interrupt(en)", "why != APF_WHY_ASYNC",
     [I_TEST]),
    ("I6 C10", I, "write_en", "by_interrupt(v->ctl[CTL_EN]) && !by_interrupt(en)",
     "was && !is_on(en)", [I_TEST]),
    # C10: what was not consumed.
    ("C10 I4", I, "write_en", "take_back_ready(v);", ";", [I_TEST]),
    ("C10", I, "write_en", "was ? APF_EFFECT_DISABLE : APF_EFFECT_NONE", "APF_EFFECT_NONE",
     [I_TEST, I_PAIRS]),
]
