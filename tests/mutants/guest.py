# SPDX-License-Identifier: MIT
"""The guest half's rows, of all architectures, broken one by one in libapf-guest."""
G_TEST = "tests/guest/test_guest"
R_TEST = "tests/guest/test_ready"
X_TEST = "tests/guest/test_x86"
A_TEST = "tests/guest/test_arm64"
INT_LIB = "tests/explorer/explorer int-lib"

CORE = "guest/lib/core.c"
NOTIFY = "guest/lib/notify.c"
X86 = "guest/lib/x86.c"
ARM64 = "guest/lib/arm64.c"

MUTANTS = [
    # L8: what makes an exception a notification, and what is done first.
    ("L8 N9", NOTIFY, "\twrite_shared(&c->area.reason, APF_REASON_NONE);\n\tif (said->odd",
     "\tif (said->odd", [G_TEST, A_TEST]),
    ("L8", X86, "\tif (said.reason == APF_REASON_NONE)\n", "\tif (said.reason > 9)\n", [G_TEST]),
    ("L8", X86, "\tif (!t->irqs_on)\n", "\tif (0)\n", [G_TEST]),
    ("L8", ARM64, "return !t->irqs_on || ", "return ", [G_TEST]),
    ("L8", ARM64, "\tif (said.reason == APF_ARM64_REASON_NONE)\n", "\tif (said.reason > 9)\n",
     [G_TEST, A_TEST]),
    ("L4 A6", NOTIFY, " || (!said->user && !g->send_always)", "", [G_TEST]),
    ("L8 C8", X86, ".odd = t->error_code", ".odd = 0", [X_TEST]),
    # L9: ready before NP, and what cannot be scheduled away.
    ("L9", CORE, "\tif (n->cpu != c->id)\n", "\tif (n->cpu != c->id || n->epoch != c->epoch)\n",
     [R_TEST, INT_LIB]),
    ("L9", CORE, "\tif (!w)\n\t\treturn remember_early(g, c, token);\n",
     "\tif (!w)\n\t\treturn true;\n", [R_TEST, INT_LIB]),
    ("L9", CORE, "\t\tc->early[i] = c->early[--c->nr_early];\n", "", [R_TEST]),
    ("L9", CORE, "\tif (find_early(c, token) < c->nr_early)\n\t\treturn true;\n", "", [R_TEST]),
    ("L9", CORE, "\tif (c->nr_early == APF_GUEST_EARLY)\n\t\treturn false;\n",
     "\tif (c->nr_early == APF_GUEST_EARLY)\n\t\treturn true;\n", [R_TEST]),
    ("L9", NOTIFY, "\tapf_guest_enable(g, arch);\n", "", [R_TEST]),
    ("L9", NOTIFY, "\tapf_guest_forget_early(c);\n", "", [R_TEST]),
    ("L9", CORE, "\twhile (w->link)\n\t\tg->ops->halt", "\tif (w->link)\n\t\tg->ops->halt",
     [R_TEST]),
    ("L9", CORE, "w->halts = !g->ops->can_sleep(g->ctx);", "w->halts = false;", [R_TEST]),
    # C6, C8, C9, C10, C12: tokens and wake-alls.
    ("C1 C2", CORE, "while (w && w->token != token)", "while (w && 0)", [R_TEST]),
    ("C6", CORE, "\tif (token == APF_TOKEN_BROADCAST) {\n", "\tif (0) {\n", [R_TEST]),
    ("C6 C12", CORE, "\tc->epoch++;\n", "", [R_TEST]),
    ("C8", NOTIFY, "return address && address <= UINT32_MAX;", "return address;", [G_TEST]),
    ("C8", NOTIFY, "return address && address <= UINT32_MAX;", "return address <= UINT32_MAX;",
     [G_TEST]),
    ("C8", NOTIFY, "said->address == APF_TOKEN_BROADCAST || ", "", [G_TEST]),
    ("C8", CORE, "\tif (find_waiter(c, n->token)) {\n", "\tif (0) {\n", [G_TEST]),
    ("C9", CORE, "\tif (n->cpu != c->id)\n\t\treturn APF_GUEST_PF_RETRY;\n", "", [G_TEST]),
    ("C10", NOTIFY, "\tif (c->area.enabled)\n\t\tapf_guest_disable(g, arch);\n", "", [R_TEST]),
    # L1, I1, I2, N1, N5, I8: x86's discovery and enabling.
    ("N5", X86, "\tif (!(features & APF_CPUID_ASYNC_PF))\n\t\treturn APF_GUEST_OFF;\n", "",
     [X_TEST]),
    ("N5", X86, "\tif (features & APF_CPUID_INT)\n\t\treturn APF_GUEST_X86_INT;\n", "", [X_TEST]),
    ("I8", X86, "\twrmsr(g, APF_MSR_EN, 0);\n\treturn APF_GUEST_X86_RFC;",
     "\treturn APF_GUEST_X86_RFC;", [X_TEST]),
    ("L1", X86, "\tif (g->send_always)\n\t\ten |= APF_EN_SEND_ALWAYS;\n", "", [X_TEST]),
    ("I1 N2", X86, "\tif (g->abi != APF_GUEST_X86_2010)\n\t\ten |= APF_EN_INT;\n", "", [X_TEST]),
    ("I2", X86, "g->vector | APF_PF2_ENABLED", "g->vector", [X_TEST]),
    # I7, N2, N3: which word is whose.
    ("I7", X86, "\tif (said.reason == APF_REASON_READY && g->abi == APF_GUEST_X86_RFC)\n"
     "\t\treturn APF_GUEST_PF_ORDINARY;\n", "", [X_TEST]),
    ("I7", X86, "\tif (read_shared(&c->area.reason) != APF_REASON_READY)\n\t\treturn;\n", "",
     [X_TEST]),
    ("I7", X86, "\t\tremembered = apf_guest_take_ready(g, c, token);\n"
     "\twrite_shared(&c->area.reason, APF_REASON_NONE);\n",
     "\t\tremembered = apf_guest_take_ready(g, c, token);\n", [X_TEST]),
    ("N2 A16", NOTIFY, " || !said->may_be_ready)", ")", [G_TEST]),
    # N9, A16: EOI, wake, token word to 0, ACK; offline.
    ("N9 A16", NOTIFY, "\twrite_shared(&c->area.token, 0);\n\tarch->ack(g);\n",
     "\tarch->ack(g);\n\twrite_shared(&c->area.token, 0);\n", [R_TEST]),
    ("N9 A16", NOTIFY, "\tremembered = apf_guest_take_ready(g, c, token);\n"
     "\twrite_shared(&c->area.token, 0);\n", "\twrite_shared(&c->area.token, 0);\n"
     "\tremembered = apf_guest_take_ready(g, c, token);\n", [R_TEST]),
    ("N9", X86, "\tg->ops->eoi(g->ctx);\n", "", [G_TEST]),
    ("A16", ARM64, "\tg->ops->eoi(g->ctx);\n", "", [G_TEST]),
    ("N4 A16", NOTIFY, "\tarch->ack(g);\n", "", [R_TEST]),
    ("N9", NOTIFY, "\tarch->switch_off(g);\n\tc->area.enabled = 0;\n", "\tc->area.enabled = 0;\n",
     [R_TEST]),
    ("N9", NOTIFY, "\tapf_guest_wake_all(g, c);\n", "", [R_TEST]),
    # A1, A2, A3, A13: arm64's calls.
    ("A1", ARM64, "\tx[0] = (uint32_t)value;\n", "\tx[0] = value;\n", [A_TEST]),
    ("A1", ARM64, "\tput_halves(&x[5], size);\n", "\tput_halves(&x[5], (uint32_t)size);\n",
     [A_TEST]),
    ("A1", ARM64, "(int32_t)(uint32_t)r[0] != APF_ARM64_NOT_SUPPORTED &&\n\t       ", "",
     [A_TEST]),
    ("A1", ARM64, "r[APF_ARM64_FEATURE_BIT / 32]", "r[APF_ARM64_FEATURE_BIT / 64]", [A_TEST]),
    ("A13", ARM64, " ||\n\t    VERSION_MAJOR((uint32_t)r[1]) != VERSION_MAJOR(APF_ARM64_VERSION)",
     "", [A_TEST]),
    ("A16", ARM64, " && intid >= PPI_FIRST && intid <= PPI_LAST", "", [A_TEST]),
    ("A2", ARM64, "\t\tflags |= APF_ARM64_SEND_ALWAYS;\n", "\t\t;\n", [A_TEST]),
    ("A16", ARM64, "\t\tflags |= APF_ARM64_INT;\n", "\t\t;\n", [A_TEST]),
    ("A3", ARM64, "call(g, what, start, size, r) == APF_ARM64_SUCCESS",
     "call(g, what, start, size, r) <= APF_ARM64_SUCCESS", [A_TEST]),
    ("A3", ARM64, "\treturn (int32_t)(uint32_t)r[0];\n", "\treturn r[0] >> 63 ? -1 : 0;\n",
     [A_TEST]),
    ("A3 C10", ARM64, "\tswitch_off(g);\n\treturn tell_regions", "\treturn tell_regions",
     [A_TEST]),
    # A5, A6, A10, A11, A12: aborts.
    ("A12", ARM64, " &&\n\t       ESR_DFSC(esr) == APF_ARM64_DFSC", "", [A_TEST]),
    ("A12", ARM64, "(ESR_CLASS(esr) == CLASS_ABORT_EL0 || ESR_CLASS(esr) == CLASS_ABORT_EL1) &&"
     "\n\t       ", "", [A_TEST]),
    ("A5", ARM64, ".may_be_ready = g->abi == APF_GUEST_ARM64_ABORT", ".may_be_ready = false",
     [A_TEST, R_TEST]),
    ("A6", ARM64, "ESR_CLASS(t->esr) == CLASS_ABORT_EL0,", "true,", [G_TEST]),
    ("A10", ARM64, "\t\tif (t->pc - g->region[i].start < g->region[i].size)\n",
     "\t\tif (t->pc < g->region[i].start + g->region[i].size)\n", [A_TEST]),
    ("A10", ARM64, "start + size < start || ", "", [A_TEST]),
    ("A10", ARM64, " || g->regions == APF_ARM64_REGIONS", "", [A_TEST]),
    ("A10", ARM64, "for (uint32_t i = 0; i < g->regions; i++)\n\t\tif (!tell",
     "for (uint32_t i = 0; i < 1; i++)\n\t\tif (!tell", [A_TEST]),
    ("A11", ARM64, " || (g->keeps_busy && read_shared(&c->area_arm64.busy))", "", [A_TEST]),
    ("A11", ARM64, "read_shared(busy) + change", "change == 1", [A_TEST]),
    ("A11", ARM64, "\t\tflags |= APF_ARM64_BUSY;\n", "\t\t;\n", [A_TEST]),
    ("A11", ARM64, "\twrite_shared(&this_cpu(g)->area_arm64.busy, 0);\n", "", [A_TEST]),
    # V1: every change of state is told.
    ("V1", NOTIFY, "\tapf_guest_trace(g, APF_GUEST_EV_NP, c->id, n->token);\n", "", [G_TEST]),
    ("V1", CORE, "\tapf_guest_trace(g, w->halts ? APF_GUEST_EV_HALTED : APF_GUEST_EV_SLEPT, "
     "c->id, n->token);\n", "", [G_TEST, R_TEST]),
    ("V1", CORE, "\tapf_guest_trace(g, APF_GUEST_EV_READY, c->id, token);\n", "", [G_TEST]),
    ("V1", CORE, "\tapf_guest_trace(g, APF_GUEST_EV_WOKEN, w->cpu, w->token);\n", "",
     [G_TEST, R_TEST]),
    ("V1", CORE, "\t\tapf_guest_trace(g, APF_GUEST_EV_BROADCAST, c->id, token);\n", "", [G_TEST]),
    ("V1", CORE, "\tapf_guest_trace(g, APF_GUEST_EV_EARLY, c->id, token);\n", "", [G_TEST]),
    ("V1", CORE, "\t\tapf_guest_trace(g, APF_GUEST_EV_EARLY_NP, c->id, n->token);\n", "",
     [G_TEST, R_TEST]),
    ("V1", NOTIFY, "\tapf_guest_trace(g, APF_GUEST_EV_RESTART, c->id, 0);\n", "", [R_TEST]),
    ("V1", NOTIFY, "\tapf_guest_trace(g, APF_GUEST_EV_REJECTED, c->id, (uint32_t)address);\n", "",
     [G_TEST]),
]
