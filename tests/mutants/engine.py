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
    ("C1", READY_C, "v->wake_all ? APF_TOKEN_BROADCAST : n->token, at)",
     "v->wake_all ? APF_TOKEN_BROADCAST : n->token ^ 1u << 12, at)", [READY, PLAIN]),
    # C2: one ready per delivered NP, and all tokens of a page.
    ("C2", READY_C, "n->token, apf_vcpu_area(v));\n\tapf_set_remove(&v->set, n);",
     "n->token, apf_vcpu_area(v));", [READY, PLAIN]),
    ("C2", SET_C, "\t\tlist_append(s, n, APF_NODE_READY);\n",
     "\t\tlist_append(s, n, APF_NODE_READY);\n\t\tbreak;\n", [READY, SET, TWO]),
    ("C2", READY_C, "\tapf_set_page_done(&v->set, gfn);\n",
     "\tif (!out)\n\t\tapf_set_page_done(&v->set, gfn);\n", [FAULT, FOUR]),
    ("C2", SET_C, "if (n->gfn != gfn || n->state != APF_NODE_WAITING)\n\t\t\tcontinue;\n"
     "\t\tlist_unlink", "if (n->state != APF_NODE_WAITING)\n\t\t\tcontinue;\n\t\tlist_unlink",
     [SET]),
    # C3: a repeated fault halts; K tokens per page.
    ("C3", FAULT_C, "return count >= v->tokens_per_page;", "return false;", [FAULT]),
    ("C3", FAULT_C, "return count >= v->tokens_per_page;", "return count > v->tokens_per_page;",
     [FAULT]),
    ("C3", FAULT_C, "return count >= v->tokens_per_page;", "return true;", [FAULT]),
    ("C3", SET_C, "\t\tif (n->gfn != gfn || n->state != APF_NODE_WAITING)\n\t\t\tcontinue;\n"
     "\t\t*token", "\t\tif (n->gfn != gfn)\n\t\t\tcontinue;\n\t\t*token", [SET]),
    # C4: halt or wait.
    ("C4", FAULT_C, "\tif (!f->irqs_on)\n\t\treturn APF_WHY_IRQS_OFF;\n", "", [FAULT, PLAIN]),
    ("C4", FAULT_C, "\tif (f->irq_shadow)\n\t\treturn APF_WHY_SHADOW;\n", "", [FAULT]),
    ("C4 C11", FAULT_C, "\tif (f->event)\n\t\treturn APF_WHY_EVENT;\n", "", [FAULT]),
    ("C4", X86, "if (!f->user && !(v->ctl[CTL_EN] & APF_EN_SEND_ALWAYS))\n"
     "\t\treturn APF_WHY_KERNEL;\n", "", [FAULT, PLAIN]),
    ("C4 L1", X86, "!f->user && !(v->ctl[CTL_EN] & APF_EN_SEND_ALWAYS)", "!f->user", [FAULT]),
    ("C4 C7", FAULT_C, "\tcase APF_WHY_KERNEL:\n", "", [FAULT]),
    ("C4", FAULT_C, "\tdefault:\n\t\treturn APF_WAIT;", "\tdefault:\n\t\treturn APF_HALT;",
     [FAULT, PLAIN]),
    # C5: no room is no error.
    ("C5", FAULT_C, "\t\treturn APF_WHY_FULL;\n", "\t\treturn APF_WHY_ASYNC;\n", [FAULT]),
    ("C5 V5", FAULT_C, "#define TOKEN_TRIES 64", "#define TOKEN_TRIES 1", [FAULT]),
    ("C5", FAULT_C, "i < TOKEN_TRIES", "i < 1 << 21", [FAULT]),
    # C6: the wake-all.
    ("C6 N7", CTL, "\tcase APF_EFFECT_ENABLE:\n\t\tv->wake_all = true;\n\t\tbreak;\n",
     "\tcase APF_EFFECT_ENABLE:\n\t\tbreak;\n",
     [CONTROL]),
    ("C6", CTL, "\tif (apf_vcpu_enabled(v))\n\t\tv->wake_all = true;",
     "\tv->wake_all = true;", [READY]),
    ("C6", "abi/apf_abi_x86.h", "APF_TOKEN_BROADCAST	0xffffffffu",
     "APF_TOKEN_BROADCAST	0xfffffffeu", [FAULT]),
    ("C6", READY_C, "ready(v, v->wake_all ? APF_TOKEN_BROADCAST : n->token, at)",
     "ready(v, n ? n->token : APF_TOKEN_BROADCAST, at)", [READY, ONE_CPU]),
    # C7: the end of a halt tells the guest nothing.
    ("C7", READY_C, "\t\tout = APF_OUT_WAKE;\n", "", [FAULT, PLAIN]),
    ("C7", READY_C, "\t\tv->standing = false;\n\t\tout", "\t\tout", [FAULT]),
    ("C7", READY_C, "v->standing && v->fault_gfn == gfn", "v->fault_gfn == gfn", [FAULT]),
    ("C7", READY_C, "v->standing && v->fault_gfn == gfn", "v->standing", [FAULT]),
    # C8, V5: tokens.
    ("C8 V5", FAULT_C, "apf_vcpu_owns(v, token) && !apf_set_find(&v->set, token)",
     "apf_vcpu_owns(v, token)", [FAULT]),
    ("C8 V5", FAULT_C, "apf_vcpu_owns(v, token) && !apf_set_find(&v->set, token)",
     "!apf_set_find(&v->set, token)", [FAULT]),
    ("C8", INIT, "return token && token != APF_TOKEN_BROADCAST &&",
     "return token != APF_TOKEN_BROADCAST &&", [FAULT]),
    ("C8", INIT, "return token && token != APF_TOKEN_BROADCAST &&", "return token &&",
     [FAULT]),
    ("C8", FAULT_C, "v->counter << id_bits | v->id;", "v->counter << id_bits;", [FAULT]),
    ("C8", FAULT_C, "(v->counter + 1) & (UINT32_MAX >> id_bits)", "v->counter", [FAULT, PLAIN]),
    ("C8", CTL, "\tv->standing = false;\n}", "\tv->standing = false;\n\tv->counter = 1;\n}",
     [CONTROL]),
    ("C8 C12", FAULT_C, "\tif (why == APF_WHY_ASYNC && v->wake_all)\n\t\treturn APF_WHY_AREA;\n", "",
     [FAULT, EVENTS]),
    ("C8", INT, ".id_bits = 12", ".id_bits = 11", [FAULT, CONTROL]),
    # C9: an area that cannot be reached.
    ("C9", AREA, "\tif (v->ops->read32(v->ctx, word, &old))\n\t\treturn APF_BLOCKED;",
     "\tif (v->ops->read32(v->ctx, word, &old))\n\t\treturn APF_SENT;", [READY, EVENTS]),
    ("C9", AREA, "\tif (v->ops->read32(v->ctx, word, &old))\n\t\treturn APF_BLOCKED;",
     "\tif (v->ops->read32(v->ctx, word, &old))\n\t\treturn APF_HELD;", [READY, EVENTS]),
    ("C9", AREA, "write32(v->ctx, word, token))\n\t\treturn APF_BLOCKED;",
     "write32(v->ctx, word, token))\n\t\treturn APF_SENT;", [READY]),
    ("C9 C13", FAULT_C, "\t\tapf_set_remove(&v->set, n);\n\t\treturn APF_WHY_AREA;",
     "\t\treturn APF_WHY_AREA;", [FAULT]),
    ("C9", FAULT_C, "\tif (abi_of(v)->np_write(v)) {", "\tif (abi_of(v)->np_write(v) > 0) {",
     [FAULT]),
    # C10: reset and disable.
    ("C10 N7", CTL, "\tcase APF_EFFECT_DISABLE:\n\t\tdrop(v);\n", "\tcase APF_EFFECT_DISABLE:\n",
     [CONTROL, EVENTS]),
    ("C10", CTL, "\tdrop(v);\n\tmemset(v->ctl", "\tmemset(v->ctl", [CONTROL, EVENTS]),
    ("C10", CTL, "\tmemset(v->ctl, 0, sizeof(v->ctl));\n", "", [CONTROL, EVENTS]),
    ("C10", CTL, "\tapf_set_clear(&v->set);\n\tv->wake_all = false;\n",
     "\tapf_set_clear(&v->set);\n", [CONTROL]),
    ("C10", INT, "\t\ttake_back_token(v);\n", "\t\t;\n", [CONTROL, PAIRS]),
    ("C10", CTL, "sizeof(v->ctl));\n\tv->standing = false;", "sizeof(v->ctl));", [CONTROL]),
    # C12: after a restore every token gets its ready; or one wake-all.
    ("C12", SAVE_C, "\tp = put_list(v, APF_NODE_WAITING, p);\n\tput_list(v, APF_NODE_READY, p);",
     "\tp = put_list(v, APF_NODE_WAITING, p);\n\tput_list(v, APF_NODE_WAITING, p);",
     [SAVE, EVENTS]),
    ("C12", SAVE_C, "i < h.waiting ? APF_NODE_WAITING : APF_NODE_READY", "APF_NODE_WAITING",
     [SAVE]),
    ("C12", SAVE_C, "v->wake_all = h->flags & SAVE_WAKE_ALL;", "v->wake_all = true;",
     [SAVE]),
    ("C12", SAVE_C, "v->wake_all = h->flags & SAVE_WAKE_ALL;", "", [SAVE]),
    ("C12 C8", SAVE_C, "\tv->counter = h->counter;\n", "", [SAVE, EVENTS]),
    ("C12", READY_C, "\tv->wake_all = false;\n\tapf_set_clear(&v->set);\n}\n\nstatic void ready",
     "\tv->wake_all = false;\n}\n\nstatic void ready", [READY, EVENTS]),
    ("C12", READY_C, "\tv->wake_all = false;\n\tapf_set_clear(&v->set);\n}\n\nstatic void ready",
     "\tapf_set_clear(&v->set);\n}\n\nstatic void ready", [READY, EVENTS]),
    ("C12 C15", READY_C, "\tif (v->frozen || (", "\tif ((", [READY, EVENTS]),
    ("C12", AREA, " ||\n\t       token == APF_TOKEN_BROADCAST;", ";", [FAULT, EVENTS]),
    ("C12", SAVE_C, "\tif (ret == -EINVAL)\n\t\tapf_vcpu_reset(v);\n", "", [SAVE]),
    ("C12", SAVE_C, "size != need || ", "", [SAVE]),
    ("C12", SAVE_C, "h->counter > UINT32_MAX >> abi->id_bits || ", "", [SAVE]),
    ("C12", SAVE_C, "!apf_vcpu_owns(v, token) || apf_set_find(&v->set, token)",
     "!apf_vcpu_owns(v, token)", [SAVE]),
    ("C12", SAVE_C, "!apf_vcpu_owns(v, token) || apf_set_find(&v->set, token)",
     "apf_set_find(&v->set, token)", [SAVE]),
    ("C12", SAVE_C, "gfn >= GFN_LIMIT || ", "", [SAVE]),
    ("C12", SAVE_C, " || !v->ops->is_ram(v->ctx, gfn << PAGE_SHIFT, 1u << PAGE_SHIFT)", "",
     [SAVE]),
    ("C12 N5", SAVE_C, "!abi->ctl_valid(v, ctl)", "!abi", [SAVE]),
    ("C12", SAVE_C, "\tif (!abi->enabled(v) && (h->waiting || h->ready || h->flags))",
     "\tif (0)", [SAVE]),
    ("C12", SAVE_C, "h->abi != v->abi", "h->abi == 0", [SAVE]),
    ("C12", SAVE_C, "h->vcpu_id != v->id", "h->vcpu_id == 0", [SAVE]),
    # C13: reason word and exception are one.
    ("C13", FAULT_C, "\tabi_of(v)->np_undo(v);\n", "", [FAULT, EVENTS]),
    ("C13", FAULT_C, "\tapf_set_remove(&v->set, n);\n\treturn v->standing", "\treturn v->standing",
     [FAULT, EVENTS]),
    ("C13", FAULT_C, "\tv->standing = n->state == APF_NODE_WAITING;\n", "", [FAULT, EVENTS]),
    ("C13", AREA, "return write_reason(v, APF_REASON_NP);",
     "return write_reason(v, APF_REASON_NONE);", [FAULT, PLAIN]),
    # C14: x86 gates.
    ("C14", FAULT_C, "\tif (f->smm)\n\t\treturn APF_WHY_SMM;\n", "", [FAULT]),
    ("C14", FAULT_C, "\tif (f->nested)\n\t\treturn APF_WHY_NESTED;\n", "", [FAULT]),
    ("C14", X86, "f->paging ? APF_WHY_ASYNC : APF_WHY_NOPAGING", "APF_WHY_ASYNC", [FAULT]),
    # C15: first the token word, then the interrupt.
    ("C15", AREA, "\tif (v->ops->write32(v->ctx, word, token))\n\t\treturn APF_BLOCKED;\n"
     "\tif (v->ops->raise(v->ctx, v->id, vector) > 0 || vector < FIRST_VECTOR)\n"
     "\t\treturn APF_SENT;",
     "\tif (v->ops->raise(v->ctx, v->id, vector) > 0 || vector < FIRST_VECTOR)\n"
     "\t\treturn v->ops->write32(v->ctx, word, token) ? APF_BLOCKED : APF_SENT;",
     [READY, PLAIN]),
    # C16: where a vCPU stood belongs to no file.
    ("C16", CTL, "sizeof(v->ctl));\n\tv->standing = false;", "sizeof(v->ctl));", [SAVE]),
    # N1: the vector.
    ("N1", INT, "return !(value & ~APF_INT_VECTOR_MASK);", "return true;", [CONTROL, SAVE]),
    ("N1", AREA, " || vector < FIRST_VECTOR)", ")", [READY]),
    ("N1", AREA, " || vector < FIRST_VECTOR)", " || vector <= FIRST_VECTOR)", [READY]),
    ("N1", INT, "apf_area_ready_interrupt(v, token, (uint8_t)v->ctl[CTL_INT])",
     "apf_area_ready_interrupt(v, token, 0xf2)",
     [READY, PLAIN]),
    ("N1", INT, "!vector_valid(v, value) || !v->has_lapic", "!vector_valid(v, value)",
     [CONTROL]),
    # N2: no interrupt bit, no APF.
    ("N2", INT, "return (en & APF_EN_ENABLED) && (en & APF_EN_INT);",
     "return en & APF_EN_ENABLED;", [FAULT, CONTROL]),
    ("N2", INT, "return (en & APF_EN_ENABLED) && (en & APF_EN_INT);",
     "return en & APF_EN_INT;", [FAULT, CONTROL]),
    # N3: two words that never collide.
    ("N3", AREA, "\t       token == APF_TOKEN_BROADCAST;", "\t       token;", [FAULT]),
    ("N3", AREA, "\tuint64_t word = apf_area_of(v) + APF_AREA_TOKEN;",
     "\tuint64_t word = apf_area_of(v) + APF_AREA_REASON;", [READY, PLAIN]),
    # N4: the token word and the acknowledge.
    ("N4", AREA, "\tif (old)\n\t\treturn APF_HELD;\n", "", [READY, PLAIN]),
    ("N4", AREA, "\tif (old)\n\t\treturn APF_HELD;\n", "\tif (old)\n\t\treturn APF_BLOCKED;\n",
     [READY]),
    ("N4", INT, "value & APF_ACK_LOOK ? APF_EFFECT_LOOK : APF_EFFECT_NONE", "APF_EFFECT_LOOK",
     [READY]),
    ("N4", INT, "value & APF_ACK_LOOK ? APF_EFFECT_LOOK : APF_EFFECT_NONE", "APF_EFFECT_NONE",
     [READY, PLAIN]),
    ("N4", INT, "value & APF_ACK_LOOK ?", "value == APF_ACK_LOOK ?", [READY]),
    ("N4", INT, "\t\t*value = 0;\n", "\t\t*value = 1;\n", [CONTROL]),
    # N5: reserved bits and what is not offered.
    ("N5 N7", INT, "APF_EN_RESERVED | APF_EN_VMEXIT", "APF_EN_RESERVED", [CONTROL, SAVE]),
    ("N5 N7", INT, "APF_EN_RESERVED | APF_EN_VMEXIT", "APF_EN_VMEXIT", [CONTROL, SAVE]),
    ("N5", "abi/apf_abi_x86.h", "APF_EN_RESERVED		(3ull << 4)",
     "APF_EN_RESERVED		(1ull << 4)", [CONTROL]),
    # N6: the interrupt that the APIC does not take.
    ("N6", AREA, "\tv->ops->write32(v->ctx, word, 0);\n\treturn APF_BLOCKED;",
     "\treturn APF_BLOCKED;", [READY, "tests/explorer/explorer boot"]),
    ("N6", AREA, "\tv->ops->write32(v->ctx, word, 0);\n\treturn APF_BLOCKED;",
     "\tv->ops->write32(v->ctx, word, 0);\n\treturn APF_SENT;", [READY]),
    ("N6", READY_C, "\t\treturn APF_OUT_LATER;\n", "\t\treturn 0;\n",
     [READY, "tests/explorer/explorer boot"]),
    ("N6", AREA, "raise(v->ctx, v->id, vector) > 0", "raise(v->ctx, v->id, vector) >= 0",
     [READY]),
    ("N6", AREA, "raise(v->ctx, v->id, vector) > 0", "raise(v->ctx, v->id, vector)", [READY]),
    # N7: enabling and disabling.
    ("N7", INT, "\tif (en && !v->has_lapic)\n\t\treturn false;\n", "", [CONTROL, SAVE]),
    ("N7", INT, "\tif (en && !v->has_lapic)\n", "\tif (!v->has_lapic)\n", [CONTROL]),
    ("N7", AREA, " && v->ops->is_ram(v->ctx, en, APF_AREA_SIZE)", "", [CONTROL, SAVE]),
    ("N7", AREA, "en <= UINT64_MAX - APF_AREA_SIZE && ", "!", [CONTROL]),
    ("N7", INT, "\tif (!en_valid(v, en))\n\t\treturn -EINVAL;\n\tif (was",
     "\tif (!en_valid(v, en)) {\n\t\tv->ctl[CTL_EN] = en;\n\t\treturn -EINVAL;\n\t}\n\tif (was",
     [CONTROL]),
    ("N7", INT, "\tif (means_enabled(en))\n\t\treturn APF_EFFECT_ENABLE;",
     "\tif (means_enabled(en) && !was)\n\t\treturn APF_EFFECT_ENABLE;", [CONTROL]),
    ("N7", INT, "\t\t*value = v->ctl[CTL_EN];\n",
     "\t\t*value = v->ctl[CTL_EN] & APF_EN_ADDR_MASK;\n", [CONTROL]),
    # N10: a failed page leaves the set with its own token (for the engine as any page).
    ("N10", READY_C, "\tapf_set_page_done(&v->set, gfn);\n", "", [READY, EVENTS]),
    # V1: tracepoints.
    ("V1", FAULT_C, "APF_TRACE(np, APF_EV_NP, v->id, gfn, *token, apf_vcpu_area(v));", ";", [TRACE]),
    ("V1", READY_C, "APF_TRACE(ready, APF_EV_READY, v->id, n->gfn, n->token, apf_vcpu_area(v));",
     ";", [TRACE]),
    ("V1", FAULT_C, "\tAPF_TRACE(repeat, APF_EV_REPEAT, v->id, gfn, token, count);\n", "", [TRACE]),
    ("V1", FAULT_C, "\t\tAPF_TRACE(queue_full, APF_EV_QUEUE_FULL, v->id, gfn, 0, v->set.capacity);\n",
     "", [TRACE]),
    ("V1", FAULT_C, "(uint64_t)d->verdict << 8 | d->why", "d->why", [TRACE]),
    ("V1", READY_C, "\t\tAPF_TRACE(halt_end, APF_EV_HALT_END, v->id, gfn, 0, 0);\n", "", [TRACE]),
    ("V1", READY_C, "APF_TRACE(broadcast, APF_EV_BROADCAST, v->id, 0, APF_TOKEN_BROADCAST, "
     "apf_vcpu_area(v));", ";", [TRACE]),
    ("V1", CTL, "\tAPF_TRACE(control, APF_EV_CONTROL, v->id, 0, reg, value);\n", "", [TRACE]),
    ("V1", CTL, "APF_TRACE(reset, APF_EV_RESET, v->id, 0, 0,\n\t\t  apf_vcpu_outstanding(v) + "
     "v->set.list[APF_NODE_READY].count);", ";", [TRACE]),
    # Policy never_async.
    ("C4", FAULT_C, "\tif (v->never_async)\n\t\treturn APF_WHY_DISABLED;\n", "", [FAULT, CONTROL]),
]
