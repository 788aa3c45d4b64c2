# SPDX-License-Identifier: MIT
"""The rows of arm64 that the engine carries, broken one by one."""
CALLS = "tests/engine/test-engine-arm64"
ABORT = "tests/engine/test-engine-arm64-abort"
PPI = "tests/engine/test-engine-arm64-ppi"
SAVE = "tests/engine/test-engine-arm64-save"
X_INT = "tests/explorer/explorer arm-int"
X_INT_PAIRS = "tests/explorer/explorer arm-int-pairs"
X_ABORT = "tests/explorer/explorer arm-abort"
X_ABORT_PAIRS = "tests/explorer/explorer arm-abort-pairs"

ARM = "lib/engine/abi_arm64.c"
AREA = "lib/engine/area.c"
CTL = "lib/engine/control.c"
INIT = "lib/engine/init.c"
FAULT_C = "lib/engine/fault.c"
READY_C = "lib/engine/ready.c"

MUTANTS = [
    # A1, A2, A13: arguments.
    ("A1", ARM, "what = x[0] | x[1] << 32;", "what = x[1] | x[0] << 32;", [CALLS]),
    ("A1 A16", ARM, "result[2] = APF_ARM64_OFFERS_ABORT | ", "result[2] = ", [CALLS]),
    ("A1 A16", ARM, "(v->ready_irq ? APF_ARM64_OFFERS_INT : 0)", "APF_ARM64_OFFERS_INT", [CALLS]),
    ("A1 A16", ARM, "result[3] = v->ready_irq;", "result[3] = 22;", [CALLS]),
    ("A2", ARM, "c->op = (uint8_t)(what >> APF_ARM64_OP_SHIFT);",
     "c->op = (uint8_t)(what >> APF_ARM64_OP_SHIFT) & 0xc3;", [CALLS]),
    ("A2 A13", ARM, "c->addr = what & APF_ARM64_ADDR_MASK;", "c->addr = what & 0xffffffc0;",
     [CALLS]),
    ("A13", ARM, "(x[0] | x[1] | x[2] | x[3] | x[4] | x[5]) >> 32",
     "(x[0] | x[1] | x[2] | x[3] | x[4]) >> 32", [CALLS]),
    ("A13", ARM, "(x[0] | x[1] | x[2] | x[3] | x[4] | x[5]) >> 32", "(x[0] | x[1]) >> 32", [CALLS]),
    ("A13", ARM, "c.addr & ~op->addr || ", "", [CALLS]),
    ("A13", ARM, "c.flags & ~op->flags || ", "", [CALLS]),
    ("A13", ARM, " || (!op->range && (c.start || c.size)))", ")", [CALLS]),
    ("A13", ARM, "\tif (!op)\n\t\treturn APF_ARM64_NOT_SUPPORTED;",
     "\tif (!op)\n\t\treturn APF_ARM64_INVALID_PARAMETER;", [CALLS]),
    # A3: results.
    ("A3", ARM, "result[0] = (uint64_t)(int64_t)ret;", "result[0] = (uint32_t)ret;", [CALLS]),
    ("A3", ARM, "\tif (en == v->ctl[CTL_EN])\n\t\treturn APF_ARM64_NOT_REQUIRED;\n", "", [CALLS]),
    ("A3", ARM, "\tif (!has(v, APF_ARM64_ENABLED))\n\t\treturn APF_ARM64_NOT_REQUIRED;\n", "",
     [CALLS]),
    ("A3", ARM, "\treturn apf_area_is_ram(v, en) ? APF_ARM64_SUCCESS : APF_ARM64_NOT_SUPPORTED;",
     "\treturn APF_ARM64_SUCCESS;", [CALLS, SAVE]),
    ("A3", ARM, "\tif (has(v, APF_ARM64_ENABLED))\n\t\treturn APF_ARM64_NOT_SUPPORTED;\n", "",
     [CALLS]),
    ("A3", ARM, "\tif (ret)\n\t\treturn ret;\n\tv->ctl[CTL_EN] = en;",
     "\tv->ctl[CTL_EN] = en;\n\tif (ret)\n\t\treturn ret;", [CALLS]),
    # A4: tokens.
    ("A4 L3", ARM, ".id_bits = 16", ".id_bits = 15", [CALLS, SAVE]),
    ("A4 L3", ARM, ".id_bits = 16", ".id_bits = 12", [CALLS, SAVE]),
    ("A4 C8", FAULT_C, "(v->counter + 1) & (UINT32_MAX >> id_bits)", "v->counter + 1", [CALLS]),
    ("A4 C8", INIT, "return token && token != APF_TOKEN_BROADCAST && ", "return token && ",
     [CALLS]),
    ("A4 C8", FAULT_C, " && !apf_set_find(&v->set, token))", ")", [CALLS]),
    # A5: what a notification is.
    ("A5", AREA, "return write_reason(v, APF_REASON_NP);",
     "return write_reason(v, APF_REASON_READY);",
     [ABORT]),
    ("A5", ARM, "return apf_area_ready_exception(v, token);",
     "return apf_area_ready_interrupt(v, token, v->ready_irq);", [ABORT, SAVE]),
    ("A5", ARM, "\tif (!at)\n\t\treturn APF_AT_ENTRY;", "\tif (!at)\n\t\treturn APF_HELD;",
     [ABORT, X_ABORT]),
    # A6: the gates.
    ("A6", ARM, "\tif (!arm_enabled(v))\n\t\treturn APF_WHY_DISABLED;\n", "", [ABORT]),
    ("A6", ARM, "\tif (word)\n\t\treturn APF_WHY_BUSY;\n", "", [ABORT]),
    ("A6", ARM, "\tif (word)\n\t\treturn APF_WHY_BUSY;\n",
     "\tif (word)\n\t\treturn APF_WHY_AREA;\n",
     [ABORT]),
    ("A6 C9", ARM, "area + APF_ARM64_AREA_REASON, &word))\n\t\treturn APF_WHY_AREA;",
     "area + APF_ARM64_AREA_REASON, &word))\n\t\treturn APF_WHY_BUSY;", [ABORT]),
    ("A6", ARM, "in_region(v, f->pc) ? APF_WHY_REGION : APF_WHY_ASYNC", "APF_WHY_ASYNC", [ABORT]),
    ("A6", ARM, "!f->user && !has(v, APF_ARM64_SEND_ALWAYS)", "!f->user", [ABORT, SAVE]),
    ("A6", ARM, "\tif (!f->user && !has(v, APF_ARM64_SEND_ALWAYS))\n\t\treturn APF_WHY_KERNEL;\n",
     "", [ABORT]),
    ("A6", ARM, "(!at->user && !can_hold_off(v->ctl)) ||", "!at->user ||", [ABORT, X_ABORT]),
    ("A6", ARM, " || (!at->user && !can_hold_off(v->ctl)) ||", " ||", [ABORT]),
    ("A6", ARM, " ||\n\t    abort_gate(v, at) != APF_WHY_ASYNC)", ")", [ABORT, X_ABORT_PAIRS]),
    ("A6 C11", ARM, "!at->irqs_on || ", "", [ABORT]),
    ("A6 C11", ARM, "at->event || ", "", [ABORT]),
    ("A6", ARM, "\tif (en & APF_ARM64_SEND_ALWAYS && !can_hold_off(ctl))\n"
     "\t\treturn APF_ARM64_NOT_SUPPORTED;\n", "", [CALLS, SAVE]),
    # A8: a halted vCPU is brought out for a ready.
    ("A8 L11", READY_C, "\t\treturn APF_OUT_KICK;\n", "\t\treturn 0;\n", [ABORT, X_ABORT]),
    # A9: enabling and disabling.
    ("A9", ARM, "return APF_EFFECT_RESTART;", "return APF_EFFECT_ENABLE;", [CALLS]),
    ("A9", ARM, "return APF_EFFECT_RESTART;", "return APF_EFFECT_DISABLE;", [CALLS]),
    ("A9 C10", ARM, "return APF_EFFECT_DISABLE;", "return APF_EFFECT_NONE;", [CALLS, X_INT_PAIRS]),
    ("A9", ARM, "\tv->ops->write32(v->ctx, apf_area_of(v) + APF_ARM64_AREA_REASON, "
     "APF_ARM64_REASON_NONE);\n", "", [CALLS]),
    ("A9", ARM, "\tv->ops->write32(v->ctx, apf_area_of(v) + APF_ARM64_AREA_TOKEN, 0);\n", "",
     [CALLS]),
    ("A9", CTL, "\t\tdrop(v);\n\t\tv->wake_all = true;\n", "\t\tv->wake_all = true;\n", [CALLS]),
    # A10: regions.
    ("A10", ARM, "if (pc - region[0] < region[1])", "if (pc - region[0] <= region[1])", [ABORT]),
    ("A10", ARM, "if (pc - region[0] < region[1])", "if (pc < region[0] + region[1])", [ABORT]),
    ("A10", ARM, "return size && start <= UINT64_MAX - size;", "return size;", [CALLS, SAVE]),
    ("A10", ARM, "return size && start <= UINT64_MAX - size;", "return start <= UINT64_MAX - size;",
     [CALLS, SAVE]),
    ("A10", ARM, "\t\tif (region[1])\n\t\t\tcontinue;\n\t\tregion[0]", "\t\tregion[0]", [CALLS]),
    ("A10", ARM, "\tmemset(&v->ctl[CTL_REGION], 0, 2 * APF_ARM64_REGIONS * sizeof(v->ctl[0]));\n",
     "",
     [CALLS, ABORT]),
    ("A10 C12", ARM, ".ctl_words = CTL_COUNT", ".ctl_words = 1", [SAVE]),
    ("A10 C12", ARM, "!regions_valid(&ctl[CTL_REGION]) || ", "", [SAVE]),
    ("A10 C12", ARM, "(over || !region_valid(region[0], region[1]))", "(over)", [SAVE]),
    ("A10 C12", ARM, "(over || !region_valid", "(!region_valid", [SAVE]),
    # A11: the busy word.
    ("A11", ARM, "\t\tif (word)\n\t\t\treturn APF_WHY_REGION;\n", "",
     [ABORT, X_ABORT_PAIRS, X_INT_PAIRS]),
    ("A11", ARM, "\tif (has(v, APF_ARM64_BUSY)) {", "\tif (true) {", [ABORT]),
    ("A11 A17", ARM, "area + APF_ARM64_AREA_BUSY, &word", "area + APF_ARM64_AREA_TOKEN, &word",
     [ABORT]),
    ("A11", ARM, "return ctl[CTL_EN] & APF_ARM64_BUSY || ctl[CTL_REGION + 1];",
     "return ctl[CTL_REGION + 1];", [CALLS, ABORT]),
    ("A11 A10", ARM, "return ctl[CTL_EN] & APF_ARM64_BUSY || ctl[CTL_REGION + 1];",
     "return ctl[CTL_EN] & APF_ARM64_BUSY;", [CALLS, ABORT]),
    # A14: a lost page, C13, in the common code.
    ("A14 N10", ARM, "\t.id_bits = 16,\n", "\t.id_bits = 16,\n\t.failed_wakes_all = true,\n",
     [ABORT]),
    ("A14 C13", ARM, "\t.np_undo = apf_area_np_undo,\n", "\t.np_undo = arm_lower,\n", [ABORT]),
    # A16: the second revision.
    ("A16",
     ARM, "\tif (en & APF_ARM64_INT && !v->ready_irq)\n\t\treturn APF_ARM64_NOT_SUPPORTED;\n",
     "", [CALLS, SAVE]),
    ("A16", INIT, "cfg->ready_irq < FIRST_PPI || ", "", [CALLS]),
    ("A16", INIT, " || cfg->ready_irq > LAST_PPI)", ")", [CALLS]),
    ("A16", ARM, "return has(v, APF_ARM64_INT) ? ready_ppi(v, token) : ready_abort(v, token, at);",
     "return ready_abort(v, token, at);", [PPI, X_INT]),
    ("A16", ARM, "apf_area_ready_interrupt(v, token, v->ready_irq);",
     "apf_area_ready_interrupt(v, token, 27);", [PPI]),
    ("A16", ARM, "\tif (v->ctl[CTL_UNACKED])\n\t\treturn APF_HELD;\n", "", [PPI, SAVE, X_INT]),
    ("A16", ARM, "\tif (v->ctl[CTL_UNACKED])\n\t\treturn APF_HELD;\n",
     "\tif (v->ctl[CTL_UNACKED])\n\t\treturn APF_BLOCKED;\n", [PPI]),
    ("A16", ARM, "\tv->ctl[CTL_UNACKED] = sent == APF_SENT;\n", "\tv->ctl[CTL_UNACKED] = 1;\n",
     [PPI]),
    ("A16", ARM, "\tarm_lower(v);\n\treturn APF_EFFECT_LOOK;", "\treturn APF_EFFECT_LOOK;",
     [PPI, X_INT]),
    ("A16", ARM, "\tarm_lower(v);\n\treturn APF_EFFECT_LOOK;",
     "\tarm_lower(v);\n\treturn APF_EFFECT_NONE;", [PPI, SAVE, X_INT]),
    ("A16", ARM, "\t\tv->ops->lower(v->ctx, v->id, v->ready_irq);\n", "\t\t;\n", [CALLS, PPI]),
    ("A16", ARM, "\tv->ctl[CTL_UNACKED] = 0;\n", "", [CALLS, PPI]),
    ("A16 C10", ARM, "\t.lower = arm_lower,\n", "", [CALLS]),
    ("A16", ARM, "\tif (!has(v, APF_ARM64_INT))\n\t\treturn APF_ARM64_NOT_REQUIRED;\n", "",
     [CALLS]),
    ("A16 N3 C12", ARM, "has(v, APF_ARM64_INT) && apf_area_holds_wake_all(v)", "false",
     [PPI, X_INT_PAIRS]),
    ("A16 N3", ARM, "has(v, APF_ARM64_INT) && apf_area_holds_wake_all(v)",
     "apf_area_holds_wake_all(v)", [PPI]),
    ("A16 N4", AREA, "\tif (old)\n\t\treturn APF_HELD;\n", "", [PPI]),
    ("A16 C9", AREA, "\tv->ops->write32(v->ctx, word, 0);\n\treturn APF_BLOCKED;",
     "\treturn APF_BLOCKED;", [PPI]),
    ("A16 C15", AREA, "\tif (v->ops->write32(v->ctx, word, token))\n\t\treturn APF_BLOCKED;\n"
     "\tif (v->ops->raise(v->ctx, v->id, vector) > 0",
     "\tint raised = v->ops->raise(v->ctx, v->id, vector);\n"
     "\tif (v->ops->write32(v->ctx, word, token))\n\t\treturn APF_BLOCKED;\n\tif (raised > 0",
     [PPI]),
    ("A16 C12", ARM, " || ctl[CTL_UNACKED] > 1)", ")", [SAVE]),
    ("A16 C12", ARM, "\tif (ctl[CTL_UNACKED] && !(en & APF_ARM64_INT))\n\t\treturn false;\n", "",
     [SAVE]),
    ("A13 C12", ARM, "!(en & ~(APF_ARM64_ADDR_MASK | APF_ARM64_ENABLE_FLAGS)) &&\n\t       ", "",
     [SAVE]),
    ("A3 C12", ARM, "en & APF_ARM64_ENABLED && check_enable", "check_enable", [SAVE]),
    # A17: the area.
    ("A17", "abi/apf_abi_arm64.h", "	uint8_t pad[52];", "	uint8_t pad[60];", [CALLS]),
    ("A17", "abi/apf_abi_arm64.h", "#define APF_ARM64_AREA_BUSY	8u",
     "#define APF_ARM64_AREA_BUSY	12u",
     [CALLS]),
]
