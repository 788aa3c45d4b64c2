# SPDX-License-Identifier: MIT
"""The rows that the engine carries, broken one by one."""
FAULT = "tests/engine/test-engine-fault"
READY = "tests/engine/test-engine-ready"
CONTROL = "tests/engine/test-engine-control"
SAVE = "tests/engine/test-engine-save"
SET = "tests/engine/test-engine-set"
TRACE = "tests/engine/test-engine-trace"
PLAIN = "tests/explorer/explorer plain"
EVENTS = "tests/explorer/explorer events"
PAIRS = "tests/explorer/explorer pairs"
TWO = "tests/explorer/explorer two-tokens"
FOUR = "tests/explorer/explorer four"
ONE_CPU = "tests/explorer/explorer one-cpu"

INIT = "lib/engine/init.c"
FAULT_C = "lib/engine/fault.c"
READY_C = "lib/engine/ready.c"
INT = "lib/engine/abi_int.c"
X86 = "lib/engine/abi_x86.c"
AREA = "lib/engine/area.c"
CTL = "lib/engine/control.c"
SET_C = "lib/engine/set.c"
SAVE_C = "lib/engine/save.c"

MUTANTS = [
    # C1: NP and ready carry the same token.
    ("C1", READY_C, "deliver", "v->wake_all ? APF_TOKEN_BROADCAST : n->token, at)",
     "v->wake_all ? APF_TOKEN_BROADCAST : n->token ^ 1u << 12, at)", [READY, PLAIN]),
    # C2: one ready per delivered NP, and all tokens of a page.
    ("C2", READY_C, "ready_sent", "n->token, apf_vcpu_area(v)); apf_set_remove(&v->set, n);",
     "n->token, apf_vcpu_area(v));", [READY, PLAIN]),
    ("C2", SET_C, "apf_set_page_done", "list_append(s, n, APF_NODE_READY);",
     "list_append(s, n, APF_NODE_READY); break;", [READY, SET, TWO]),
    ("C2", READY_C, "apf_vcpu_page_done", "apf_set_page_done(&v->set, gfn);",
     "if (!out) apf_set_page_done(&v->set, gfn);", [FAULT, FOUR]),
    ("C2", SET_C, "apf_set_page_done",
     "if (n->gfn != gfn || n->state != APF_NODE_WAITING) continue; list_unlink",
     "if (n->state != APF_NODE_WAITING) continue; list_unlink", [SET]),
    # C3: a repeated fault halts; K tokens per page.
    ("C3", FAULT_C, "is_repeated", "return count >= v->tokens_per_page;", "return false;", [FAULT]),
    ("C3", FAULT_C, "is_repeated", "return count >= v->tokens_per_page;",
     "return count > v->tokens_per_page;", [FAULT]),
    ("C3", FAULT_C, "is_repeated", "return count >= v->tokens_per_page;", "return true;", [FAULT]),
    ("C3", SET_C, "apf_set_waiting",
     "if (n->gfn != gfn || n->state != APF_NODE_WAITING) continue; *token",
     "if (n->gfn != gfn) continue; *token", [SET]),
    # C4: halt or wait.
    ("C4", FAULT_C, "decide", "if (!f->irqs_on) return APF_WHY_IRQS_OFF;", "", [FAULT, PLAIN]),
    ("C4", FAULT_C, "decide", "if (f->irq_shadow) return APF_WHY_SHADOW;", "", [FAULT]),
    ("C4 C11", FAULT_C, "decide", "if (f->event) return APF_WHY_EVENT;", "", [FAULT]),
    ("C4", X86, "apf_x86_np_gate",
     "if (!f->user && !(v->ctl[CTL_EN] & APF_EN_SEND_ALWAYS)) return APF_WHY_KERNEL;", "",
     [FAULT, PLAIN]),
    ("C4 L1", X86, "apf_x86_np_gate", "!f->user && !(v->ctl[CTL_EN] & APF_EN_SEND_ALWAYS)",
     "!f->user", [FAULT]),
    ("C4 C7", FAULT_C, "verdict_of", "case APF_WHY_KERNEL:", "", [FAULT]),
    ("C4", FAULT_C, "verdict_of", "default: return APF_WAIT;", "default: return APF_HALT;",
     [FAULT, PLAIN]),
    # C5: no room is no error.
    ("C5", FAULT_C, "start_np", "return APF_WHY_FULL;", "return APF_WHY_ASYNC;", [FAULT]),
    ("C5 V5", FAULT_C, "#define TOKEN_TRIES", "#define TOKEN_TRIES 64", "#define TOKEN_TRIES 1",
     [FAULT]),
    ("C5", FAULT_C, "new_token", "i < TOKEN_TRIES", "i < 1 << 21", [FAULT]),
    # C6: the wake-all.
    ("C6 N7", CTL, "carry_out", "case APF_EFFECT_WAKE_ALL: v->wake_all = true; break;",
     "case APF_EFFECT_WAKE_ALL: break;", [CONTROL]),
    ("C6", CTL, "apf_vcpu_broadcast", "if (apf_vcpu_enabled(v)) v->wake_all = true;",
     "v->wake_all = true;", [READY]),
    ("C6", "abi/apf_abi_x86.h", "#define APF_TOKEN_BROADCAST", "APF_TOKEN_BROADCAST 0xffffffffu",
     "APF_TOKEN_BROADCAST 0xfffffffeu", [FAULT]),
    ("C6", READY_C, "deliver", "ready(v, v->wake_all ? APF_TOKEN_BROADCAST : n->token, at)",
     "ready(v, n ? n->token : APF_TOKEN_BROADCAST, at)", [READY, ONE_CPU]),
    # C7: the end of a halt tells the guest nothing.
    ("C7", READY_C, "apf_vcpu_page_done", "out = APF_OUT_WAKE;", "", [FAULT, PLAIN]),
    ("C7", READY_C, "apf_vcpu_page_done", "v->standing = false; out", "out", [FAULT]),
    ("C7", READY_C, "apf_vcpu_page_done", "v->standing && v->fault_gfn == gfn",
     "v->fault_gfn == gfn", [FAULT]),
    ("C7", READY_C, "apf_vcpu_page_done", "v->standing && v->fault_gfn == gfn", "v->standing",
     [FAULT]),
    # C8, V5: tokens.
    ("C8 V5", FAULT_C, "new_token", "apf_vcpu_owns(v, token) && !apf_set_find(&v->set, token)",
     "apf_vcpu_owns(v, token)", [FAULT]),
    ("C8 V5", FAULT_C, "new_token", "apf_vcpu_owns(v, token) && !apf_set_find(&v->set, token)",
     "!apf_set_find(&v->set, token)", [FAULT]),
    ("C8", INIT, "apf_vcpu_owns", "return token && token != APF_TOKEN_BROADCAST &&",
     "return token != APF_TOKEN_BROADCAST &&", [FAULT]),
    ("C8", INIT, "apf_vcpu_owns", "return token && token != APF_TOKEN_BROADCAST &&",
     "return token &&", [FAULT]),
    ("C8", FAULT_C, "new_token", "v->counter << id_bits | v->id;", "v->counter << id_bits;",
     [FAULT]),
    ("C8", FAULT_C, "new_token", "(v->counter + 1) & (UINT32_MAX >> id_bits)", "v->counter",
     [FAULT, PLAIN]),
    ("C8", CTL, "apf_vcpu_reset", "v->standing = false; }",
     "v->standing = false; v->counter = 1; }", [CONTROL]),
    ("C8 C12", FAULT_C, "decide", "if (why == APF_WHY_ASYNC && v->wake_all) return APF_WHY_AREA;",
     "", [FAULT, EVENTS]),
    ("C8", INT, "apf_abi_int", ".id_bits = 12", ".id_bits = 11", [FAULT, CONTROL]),
    # C9: an area that cannot be reached.
    ("C9", AREA, "apf_area_ready_interrupt",
     "if (v->ops->read32(v->ctx, word, &old)) return APF_BLOCKED;",
     "if (v->ops->read32(v->ctx, word, &old)) return APF_SENT;", [READY, EVENTS]),
    ("C9", AREA, "apf_area_ready_interrupt",
     "if (v->ops->read32(v->ctx, word, &old)) return APF_BLOCKED;",
     "if (v->ops->read32(v->ctx, word, &old)) return APF_HELD;", [READY, EVENTS]),
    ("C9", AREA, "apf_area_ready_interrupt", "write32(v->ctx, word, token)) return APF_BLOCKED;",
     "write32(v->ctx, word, token)) return APF_SENT;", [READY]),
    ("C9 C13", FAULT_C, "start_np", "apf_set_remove(&v->set, n); return APF_WHY_AREA;",
     "return APF_WHY_AREA;", [FAULT]),
    ("C9", FAULT_C, "start_np", "if (abi_of(v)->np_write(v, *token)) {",
     "if (abi_of(v)->np_write(v, *token) > 0) {", [FAULT]),
    # C10: reset and disable.
    ("C10 N7", CTL, "carry_out", "case APF_EFFECT_DISABLE: drop(v);", "case APF_EFFECT_DISABLE:",
     [CONTROL, EVENTS]),
    ("C10", CTL, "apf_vcpu_reset", "drop(v); memset(v->ctl", "memset(v->ctl", [CONTROL, EVENTS]),
    ("C10", CTL, "apf_vcpu_reset", "memset(v->ctl, 0, sizeof(v->ctl));", "", [CONTROL, EVENTS]),
    ("C10", CTL, "drop", "apf_set_clear(&v->set); v->wake_all = false;", "apf_set_clear(&v->set);",
     [CONTROL]),
    ("C10", INT, "write_en", "take_back_token(v);", ";", [CONTROL, PAIRS]),
    ("C10", CTL, "apf_vcpu_reset", "sizeof(v->ctl)); v->standing = false;", "sizeof(v->ctl));",
     [CONTROL]),
    # C12: after a restore every token gets its ready; or one wake-all.
    ("C12", SAVE_C, "apf_vcpu_save",
     "p = put_list(v, APF_NODE_WAITING, p); put_list(v, APF_NODE_READY, p);",
     "p = put_list(v, APF_NODE_WAITING, p); put_list(v, APF_NODE_WAITING, p);", [SAVE, EVENTS]),
    ("C12", SAVE_C, "load_all", "i < h.waiting ? APF_NODE_WAITING : APF_NODE_READY",
     "APF_NODE_WAITING", [SAVE]),
    ("C12", SAVE_C, "load_controls", "v->wake_all = h->flags & SAVE_WAKE_ALL;",
     "v->wake_all = true;", [SAVE]),
    ("C12", SAVE_C, "load_controls", "v->wake_all = h->flags & SAVE_WAKE_ALL;", "", [SAVE]),
    ("C12 C8", SAVE_C, "load_controls", "v->counter = h->counter;", "", [SAVE, EVENTS]),
    ("C12", READY_C, "wake_all_sent", "apf_set_clear(&v->set);", "", [READY, EVENTS]),
    ("C12", READY_C, "wake_all_sent", "v->wake_all = false;", "", [READY, EVENTS]),
    ("C12 C15", READY_C, "deliver", "if (v->frozen || (", "if ((", [READY, EVENTS]),
    ("C12", AREA, "apf_area_holds_wake_all", "|| token == APF_TOKEN_BROADCAST;", ";",
     [FAULT, EVENTS]),
    ("C12", SAVE_C, "apf_vcpu_load", "if (ret == -EINVAL) apf_vcpu_reset(v);", "", [SAVE]),
    ("C12", SAVE_C, "load_header", "size != need ||", "", [SAVE]),
    ("C12", SAVE_C, "load_header", "h->counter > UINT32_MAX >> abi->id_bits ||", "", [SAVE]),
    ("C12", SAVE_C, "load_entry", "!apf_vcpu_owns(v, token) || apf_set_find(&v->set, token)",
     "!apf_vcpu_owns(v, token)", [SAVE]),
    ("C12", SAVE_C, "load_entry", "!apf_vcpu_owns(v, token) || apf_set_find(&v->set, token)",
     "apf_set_find(&v->set, token)", [SAVE]),
    ("C12", SAVE_C, "load_entry", "gfn >= GFN_LIMIT ||", "", [SAVE]),
    ("C12", SAVE_C, "load_entry", "|| !v->ops->is_ram(v->ctx, gfn << PAGE_SHIFT, 1u << PAGE_SHIFT, false)",
     "", [SAVE]),
    ("C12 N5", SAVE_C, "load_controls", "!abi->ctl_valid(v, ctl)", "!abi", [SAVE]),
    ("C12", SAVE_C, "load_controls",
     "if (!abi->enabled(v) && (h->waiting || h->ready || h->flags))", "if (0)", [SAVE]),
    ("C12", SAVE_C, "load_header", "h->abi != v->abi", "h->abi == 0", [SAVE]),
    ("C12", SAVE_C, "load_header", "h->vcpu_id != v->id", "h->vcpu_id == 0", [SAVE]),
    # C13: reason word and exception are one.
    ("C13", FAULT_C, "apf_vcpu_undo", "abi_of(v)->np_undo(v);", "", [FAULT, EVENTS]),
    ("C13", FAULT_C, "apf_vcpu_undo", "apf_set_remove(&v->set, n); return v->standing",
     "return v->standing", [FAULT, EVENTS]),
    ("C13", FAULT_C, "apf_vcpu_undo", "v->standing = n->state == APF_NODE_WAITING;", "",
     [FAULT, EVENTS]),
    ("C13", AREA, "apf_area_np_write", "return write_reason(v, APF_REASON_NP);",
     "return write_reason(v, APF_REASON_NONE);", [FAULT, PLAIN]),
    # C14: x86 gates.
    ("C14", FAULT_C, "decide", "if (f->smm) return APF_WHY_SMM;", "", [FAULT]),
    ("C14", FAULT_C, "decide", "if (f->nested) return APF_WHY_NESTED;", "", [FAULT]),
    ("C14", X86, "apf_x86_np_gate", "f->paging ? APF_WHY_ASYNC : APF_WHY_NOPAGING", "APF_WHY_ASYNC",
     [FAULT]),
    # C15: first the token word, then the interrupt.
    ("C15", AREA, "apf_area_ready_interrupt",
     "if (v->ops->write32(v->ctx, word, token)) return APF_BLOCKED; if (v->ops->raise(v->ctx, "
     "v->id, vector) > 0 || vector < FIRST_VECTOR) return APF_SENT;",
     "if (v->ops->raise(v->ctx, v->id, vector) > 0 || vector < FIRST_VECTOR) return "
     "v->ops->write32(v->ctx, word, token) ? APF_BLOCKED : APF_SENT;", [READY, PLAIN]),
    # C16: where a vCPU stood belongs to no file.
    ("C16", CTL, "apf_vcpu_reset", "sizeof(v->ctl)); v->standing = false;", "sizeof(v->ctl));",
     [SAVE]),
    # N1: the vector.
    ("N1", INT, "vector_valid", "return !(value & ~APF_INT_VECTOR_MASK);", "return true;",
     [CONTROL, SAVE]),
    ("N1", AREA, "apf_area_ready_interrupt", "|| vector < FIRST_VECTOR)", ")", [READY]),
    ("N1", AREA, "apf_area_ready_interrupt", "|| vector < FIRST_VECTOR)",
     "|| vector <= FIRST_VECTOR)", [READY]),
    ("N1", INT, "int_ready", "apf_area_ready_interrupt(v, token, (uint8_t)v->ctl[CTL_INT])",
     "apf_area_ready_interrupt(v, token, 0xf2)", [READY, PLAIN]),
    ("N1", INT, "int_ctl_write", "!vector_valid(v, value) || !v->has_lapic",
     "!vector_valid(v, value)", [CONTROL]),
    # N2: no interrupt bit, no APF.
    ("N2", INT, "means_enabled", "return (en & APF_EN_ENABLED) && (en & APF_EN_INT);",
     "return en & APF_EN_ENABLED;", [FAULT, CONTROL]),
    ("N2", INT, "means_enabled", "return (en & APF_EN_ENABLED) && (en & APF_EN_INT);",
     "return en & APF_EN_INT;", [FAULT, CONTROL]),
    # N3: two words that never collide.
    ("N3", AREA, "apf_area_holds_wake_all", "token == APF_TOKEN_BROADCAST;", "token;", [FAULT]),
    ("N3", AREA, "apf_area_ready_interrupt", "uint64_t word = apf_area_of(v) + APF_AREA_TOKEN;",
     "uint64_t word = apf_area_of(v) + APF_AREA_REASON;", [READY, PLAIN]),
    # N4: the token word and the acknowledge.
    ("N4", AREA, "apf_area_ready_interrupt", "if (old) return APF_HELD;", "", [READY, PLAIN]),
    ("N4", AREA, "apf_area_ready_interrupt", "if (old) return APF_HELD;",
     "if (old) return APF_BLOCKED;", [READY]),
    ("N4", INT, "int_ctl_write", "value & APF_ACK_LOOK ? APF_EFFECT_LOOK : APF_EFFECT_NONE",
     "APF_EFFECT_LOOK", [READY]),
    ("N4", INT, "int_ctl_write", "value & APF_ACK_LOOK ? APF_EFFECT_LOOK : APF_EFFECT_NONE",
     "APF_EFFECT_NONE", [READY, PLAIN]),
    ("N4", INT, "int_ctl_write", "value & APF_ACK_LOOK ?", "value == APF_ACK_LOOK ?", [READY]),
    ("N4", INT, "int_ctl_read", "*value = 0;", "*value = 1;", [CONTROL]),
    # N5: reserved bits and what is not offered.
    ("N5 N7", INT, "en_valid", "APF_EN_RESERVED | APF_EN_VMEXIT", "APF_EN_RESERVED",
     [CONTROL, SAVE]),
    ("N5 N7", INT, "en_valid", "APF_EN_RESERVED | APF_EN_VMEXIT", "APF_EN_VMEXIT", [CONTROL, SAVE]),
    ("N5", "abi/apf_abi_x86.h", "#define APF_EN_RESERVED", "APF_EN_RESERVED (3ull << 4)",
     "APF_EN_RESERVED (1ull << 4)", [CONTROL]),
    # N6: the interrupt that the APIC does not take.
    ("N6", AREA, "apf_area_ready_interrupt",
     "v->ops->write32(v->ctx, word, 0); return APF_BLOCKED;", "return APF_BLOCKED;",
     [READY, "tests/explorer/explorer boot"]),
    ("N6", AREA, "apf_area_ready_interrupt",
     "v->ops->write32(v->ctx, word, 0); return APF_BLOCKED;",
     "v->ops->write32(v->ctx, word, 0); return APF_SENT;", [READY]),
    ("N6", READY_C, "deliver", "return APF_OUT_LATER;", "return 0;",
     [READY, "tests/explorer/explorer boot"]),
    ("N6", AREA, "apf_area_ready_interrupt", "raise(v->ctx, v->id, vector) > 0",
     "raise(v->ctx, v->id, vector) >= 0", [READY]),
    ("N6", AREA, "apf_area_ready_interrupt", "raise(v->ctx, v->id, vector) > 0",
     "raise(v->ctx, v->id, vector)", [READY]),
    # N7: enabling and disabling.
    ("N7", INT, "en_valid", "if (en && !v->has_lapic) return false;", "", [CONTROL, SAVE]),
    ("N7", INT, "en_valid", "if (en && !v->has_lapic)", "if (!v->has_lapic)", [CONTROL]),
    ("N7", AREA, "apf_area_is_ram", "&& v->ops->is_ram(v->ctx, en, APF_AREA_SIZE, true)", "",
     [CONTROL, SAVE]),
    ("N7", AREA, "apf_area_is_ram", "en <= UINT64_MAX - APF_AREA_SIZE &&", "!", [CONTROL]),
    ("N7", INT, "write_en", "if (!en_valid(v, en)) return -EINVAL; if (was",
     "if (!en_valid(v, en)) { v->ctl[CTL_EN] = en; return -EINVAL; } if (was", [CONTROL]),
    ("N7", INT, "write_en", "if (means_enabled(en)) return APF_EFFECT_WAKE_ALL;",
     "if (means_enabled(en) && !was) return APF_EFFECT_WAKE_ALL;", [CONTROL]),
    ("N7", INT, "int_ctl_read", "*value = v->ctl[CTL_EN];",
     "*value = v->ctl[CTL_EN] & APF_EN_ADDR_MASK;", [CONTROL]),
    # N10: a failed page leaves the set with its own token (for the engine as any page).
    ("N10", READY_C, "apf_vcpu_page_done", "apf_set_page_done(&v->set, gfn);", "", [READY, EVENTS]),
    # V1: tracepoints.
    ("V1", FAULT_C, "start_np", "APF_TRACE(np, APF_EV_NP, v->id, gfn, *token, apf_vcpu_area(v));",
     ";", [TRACE]),
    ("V1", READY_C, "ready_sent",
     "APF_TRACE(ready, APF_EV_READY, v->id, n->gfn, n->token, apf_vcpu_area(v));", ";", [TRACE]),
    ("V1", FAULT_C, "is_repeated", "APF_TRACE(repeat, APF_EV_REPEAT, v->id, gfn, token, count);",
     "", [TRACE]),
    ("V1", FAULT_C, "start_np",
     "APF_TRACE(queue_full, APF_EV_QUEUE_FULL, v->id, gfn, 0, v->set.capacity);", "", [TRACE]),
    ("V1", FAULT_C, "apf_vcpu_fault", "(uint64_t)d->verdict << 8 | d->why", "d->why", [TRACE]),
    ("V1", READY_C, "apf_vcpu_page_done", "APF_TRACE(halt_end, APF_EV_HALT_END, v->id, gfn, 0, 0);",
     "", [TRACE]),
    ("V1", READY_C, "wake_all_sent",
     "APF_TRACE(broadcast, APF_EV_BROADCAST, v->id, 0, APF_TOKEN_BROADCAST, apf_vcpu_area(v));",
     ";", [TRACE]),
    ("V1", CTL, "apf_vcpu_control_write",
     "APF_TRACE(control, APF_EV_CONTROL, v->id, 0, reg, value);", "", [TRACE]),
    ("V1", CTL, "drop", "APF_TRACE(reset, APF_EV_RESET, v->id, 0, 0, apf_vcpu_outstanding(v) + "
     "v->set.list[APF_NODE_READY].count);", ";", [TRACE]),
    # Policy never_async.
    ("C4", FAULT_C, "decide", "if (v->never_async) return APF_WHY_DISABLED;", "", [FAULT, CONTROL]),
]
