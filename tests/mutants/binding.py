# SPDX-License-Identifier: MIT
"""The rows that the binding to KVM carries, broken one by one."""
REGISTERS = "tests/kvm/test-kvm-registers"
VCPU_TEST = "tests/kvm/test-kvm-vcpu"
STAND_IN = "tests/kvm/test-kvm-stand-in"
LOAD = "tests/kvm/test-kvm-load"
HALT_TEST = "tests/kvm/test-kvm-halt"
GPA_TEST = "tests/kvm/test-kvm-gpa_cache"
LIFE = "tests/kvm/test-kvm-life"
WALKS = "tests/kvm/test-kvm-walks"
WAITS = "tests/kvm/test-kvm-waits"

X86_VM = "lib/kvm/x86/setup.c"
X86 = "lib/kvm/x86/regs.c"
CPUID = "lib/kvm/x86/cpuid.c"
MSR = "lib/kvm/x86/msr.c"
X86_EMUL = "lib/kvm/x86/emul.c"
X86_WALKS = "lib/kvm/x86/walks.c"
LINK = "lib/kvm/link.c"
VCPU = "lib/kvm/vcpu.c"
RUN = "lib/kvm/run.c"
STATE = "lib/kvm/state.c"
HALT = "lib/kvm/x86/halt.c"
GPA = "lib/kvm/gpa_cache.c"

MUTANTS = [
    # C2, C7: nothing is waited for in vain, whatever comes in between.
    ("C2 C7", LINK, "apf_link_fault", "apf_link_act(v, apf_link_page_over(v, gfn, r));", ";",
     [VCPU_TEST]),
    ("C2", LINK, "apf_link_fault", "f->gfn = gfn.nr;", "f->gfn = page.nr;", [VCPU_TEST]),
    ("C2", "lib/kvm/vm.c", "tell", "apf_page_gfn(v->k, page), d[i].res);",
     "(struct gfn){ d[i].page }, d[i].res);", [VCPU_TEST]),
    # C3: a repeated fault halts: the same page again.
    ("C3 C4", RUN, "fault_on", "if (d.verdict == APF_HALT) return halt_for(v, page, pc);", "",
     [VCPU_TEST]),
    # C4: a halt serves interrupts, a wait does not.
    ("C4", RUN, "fault_on", "d.verdict == APF_HALT)", "d.verdict != APF_INJECT)", [VCPU_TEST]),
    ("C4", RUN, "fault_on", "d.verdict == APF_WAIT ? wait_for(v, page) : GO_ON", "GO_ON",
     [VCPU_TEST]),
    ("C4", RUN, "halt_for", "if (!v->may_halt)", "", [VCPU_TEST, HALT_TEST]),
    ("C4", RUN, "halt_for", "if (!v->may_halt)", "if (0)", [HALT_TEST]),
    ("C4", HALT, "keeps_unhalt", "|| e->eax & PV_UNHALT;", "|| true;", [HALT_TEST]),
    ("C4", HALT, "keeps_unhalt", "e->eax |= PV_UNHALT;", "", [HALT_TEST]),
    ("C4", HALT, "keeps_unhalt", "e->eax = eax;", "", [HALT_TEST]),
    ("C4", CPUID, "is_kvm_base", "e->function % BASE_STEP == 0", "e->function == FIRST_BASE",
     ["tests/kvm/test-kvm-halt"]),
    ("C4", HALT, "apf_arch_may_halt", "apf_arch_has_lapic(v) &&", "", [HALT_TEST]),
    ("I2 N7", "lib/kvm/vcpu.c", "init_engine", "apf_arch_has_lapic(v)", "true", [HALT_TEST]),
    # V2: what a cache remembers, and when that is over.
    ("V2", GPA, "find", "c->layout != k->layout ||", "", [GPA_TEST]),
    ("V2", GPA, "find", "|| len > c->size - at", "", [GPA_TEST]),
    ("V2", GPA, "look_up", "|| len > slot_end(s) - gpa", "", [GPA_TEST]),
    ("V2", GPA, "look_up", ".layout = k->layout", ".layout = 0", [GPA_TEST]),
    ("V2", "lib/kvm/pages.c", "apf_slots_set", "k->layout++;", "", [GPA_TEST]),
    ("C4", X86, "apf_arch_fault", "f->irqs_on = regs.rflags & RFLAGS_IF;", "f->irqs_on = true;",
     [REGISTERS]),
    ("C4", X86, "apf_arch_fault", "f->user = sregs.ss.dpl != 0;", "f->user = true;", [REGISTERS]),
    ("C4", X86, "apf_arch_fault", "f->irq_shadow = ev->interrupt.shadow;", "f->irq_shadow = false;",
     [REGISTERS]),
    ("C4", X86, "apf_arch_halted", "KVM_MP_STATE_HALTED", "KVM_MP_STATE_RUNNABLE", [LOAD]),
    # C5: a queue that is full is asked again.
    ("C5", RUN, "ask_for", "== -EAGAIN) {", "== -ERANGE) {", [VCPU_TEST]),
    # C7: the page that has come ends the halt.
    ("C7", RUN, "halt_is_over", "(apf_page_want(v->k, v->halt_page) != 0 || !atomic_load(&v->noted))",
     "0", [VCPU_TEST]),
    # C2: one that came and was given back at once is a new fault.
    ("C2", RUN, "halt_is_over", "|| !atomic_load(&v->noted)", "", [WAITS]),
    ("C2", RUN, "stand_at", "&& atomic_load(&v->noted)", "", [WAITS]),
    ("C7", LINK, "apf_link_act", "APF_OUT_WAKE | APF_OUT_KICK", "APF_OUT_KICK", [VCPU_TEST]),
    # C8: the token is all of CR2.
    ("C8 C1", X86, "apf_arch_inject", "ev->exception_payload = token;",
     "ev->exception_payload = (int32_t)~token;", [REGISTERS]),
    # C9: what KVM and the engine reach without a trap is there before.
    ("C9", MSR, "written_area", "value & APF_EN_ENABLED ? APF_AREA_SIZE : 0", "0", [REGISTERS]),
    ("C9", X86_VM, "our_ranges", "w, 5, MSR_WALL_CLOCK, clock_msr_bitmap",
     "w, 2, MSR_WALL_CLOCK, clock_msr_bitmap", [REGISTERS]),
    ("C9", MSR, "wrmsr", "if (len && apf_run_need(v, area, len) == -EINTR) return -EINTR;", "",
     [REGISTERS]),
    # C10: reset and INIT.
    ("C10", MSR, "efer_write", "if (!err && !(sregs.cr0 & CR0_PG)) apf_kvm_vcpu_reset(v);", "",
     [REGISTERS]),
    ("C10", MSR, "efer_write", "!err && !(sregs.cr0 & CR0_PG)", "!err", [REGISTERS]),
    ("C10", X86_VM, "efer_bitmap", "efer_bitmap[1] = { 0xff & ~(1u << 0) }",
     "efer_bitmap[1] = { 0xff }", [REGISTERS]),
    ("C10", STATE, "apf_kvm_vcpu_reset", "apf_vcpu_reset(v->engine);", "", [VCPU_TEST, REGISTERS]),
    ("C10 L5", LINK, "op_inject",
     "if (mp.mp_state != KVM_MP_STATE_RUNNABLE && mp.mp_state != apf_arch_halted) return -EAGAIN;", "",
     
     [VCPU_TEST]),
    # C11: nothing on top of another event.
    ("C11", X86, "apf_arch_fault", "ev->exception.pending || ev->exception.injected ||", "",
     [REGISTERS]),
    ("C11", X86, "apf_arch_fault", "ev->interrupt.injected ||", "", [REGISTERS]),
    ("C11", X86, "apf_arch_fault", "ev->nmi.pending ||", "", [REGISTERS]),
    ("C11", X86, "apf_arch_fault", "ev->nmi.injected ||", "", [REGISTERS]),
    # C12: a loaded vCPU.
    ("C12", STATE, "apf_kvm_vcpu_load", "return whole ? ask_again(v) : err;", "return err;",
     [LOAD]),
    ("C12", STATE, "ask_again", "apf_link_act(v, apf_link_page_over(v, l.gfn[i], r));", ";",
     [LOAD]),
    ("C12", STATE, "apf_kvm_vcpu_load", "apf_link_act(v, apf_vcpu_broadcast(v->engine));",
     ";", [LOAD]),
    ("C12", STATE, "apf_kvm_vcpu_load", "now == APF_DELIVERY_USER && saved_as == APF_DELIVERY_USER",
     "now == APF_DELIVERY_USER", [LOAD]),
    ("C12", STATE, "apf_kvm_vcpu_load", "now == APF_DELIVERY_USER && saved_as == APF_DELIVERY_USER",
     "saved_as == APF_DELIVERY_USER", [LOAD]),
    ("C12", MSR, "kernel_controls_set", "err = set_msr(v, APF_MSR_EN, en);", "err = 0;",
     [REGISTERS]),
    # C13: word and exception are one.
    ("C13", LINK, "apf_link_fault", "apf_link_act(v, apf_vcpu_undo(v->engine, d->token));", "",
     [REGISTERS]),
    ("C13", LINK, "apf_link_fault", "d->verdict = APF_WAIT;", "", [REGISTERS]),
    ("C13", X86, "apf_arch_inject", "ev->exception_has_payload = 1;",
     "ev->exception_has_payload = 0;",
     [REGISTERS]),
    ("C13", X86, "apf_x86_set_exception", "v->run->kvm_dirty_regs |= KVM_SYNC_X86_EVENTS;", ";",
     [REGISTERS, VCPU_TEST]),
    # C14: x86's own gates.
    ("C14", CPUID, "apf_kvm_cpuid", "forbid_nesting(cpuid);", ";", [STAND_IN]),
    ("C14", X86, "check_nesting", "if (!err && (has.vmx || has.svm))", "if (0)", [STAND_IN]),
    ("C14", X86, "apf_arch_fault", "f->paging = sregs.cr0 & CR0_PG;", "f->paging = true;",
     [REGISTERS]),
    ("C14", X86, "apf_arch_fault", "f->smm = ev->smi.smm;", "f->smm = false;", [REGISTERS]),
    ("C14", X86, "apf_arch_fault", "f->nested = v->run->flags & KVM_RUN_X86_GUEST_MODE;",
     "f->nested = false;", [REGISTERS]),
    # C16: a halt of ours is none of the guest's.
    ("C16", STATE, "apf_kvm_vcpu_save", "*mp_state = KVM_MP_STATE_RUNNABLE;", ";", [LOAD]),
    ("C16", RUN, "apf_run_in_our_halt", "&& !apf_arch_pc(v, &pc) && pc == v->halt_pc", "", [LOAD]),
    # L1, I2, N4: which registers there are, and #GP.
    ("L1 I2 N5", MSR, "wrmsr", "v->run->msr.error = err != 0;", "", [REGISTERS]),
    ("I2 N4", X86_VM, "apf_msr_bitmap", "~(1u << 0 | 1u << 4 | 1u << 5)", "~(1u << 0 | 1u << 5)",
     [REGISTERS]),
    ("N4", X86_VM, "apf_msr_bitmap", "~(1u << 0 | 1u << 4 | 1u << 5)", "~(1u << 0 | 1u << 4)",
     [REGISTERS]),
    ("L1 N7", LINK, "op_is_ram", "writable ? apf_gpa_is_writable : apf_gpa_is_ram",
     "apf_gpa_is_ram", [STAND_IN]),
    ("C12", LINK, "op_is_ram", "writable ? apf_gpa_is_writable : apf_gpa_is_ram",
     "apf_gpa_is_writable", [LOAD]),
    ("L1 N7", MSR, "rdmsr", "v->run->msr.data = value;", "", [REGISTERS]),
    # L5, L11: a ready that is an exception.
    ("L5", RUN, "deliver_queued", "apf_signal_vcpu(v);", ";", [LOAD]),
    ("L5", LINK, "apf_link_act", "atomic_fetch_or(&v->asked, ASK_ENTER);", ";", [VCPU_TEST]),
    ("L5", RUN, "apf_kvm_run", "whole = err == -EINTR || err == -EAGAIN;",
     "whole = err == -EAGAIN;", [VCPU_TEST]),
    ("L11", LINK, "op_inject", "if (mp.mp_state == apf_arch_halted) {", "if (0) {", [VCPU_TEST]),
    ("L11", LINK, "op_inject",
     "mp.mp_state != KVM_MP_STATE_RUNNABLE && mp.mp_state != apf_arch_halted",
     "mp.mp_state != KVM_MP_STATE_RUNNABLE", [VCPU_TEST]),
    # I5, N1, N6: the message.
    ("I5 N1", X86, "apf_arch_raise", ".data = vector,", ".data = 0xf2,", [REGISTERS]),
    ("I5", X86, "apf_arch_raise", "MSI_ADDRESS | (v->id & 0xff) << 12",
     "MSI_ADDRESS | (v->id + 1) << 12", [REGISTERS]),
    ("N6", X86, "apf_arch_raise", "KVM_SIGNAL_MSI, &msi) > 0", "KVM_SIGNAL_MSI, &msi) >= 0",
     [VCPU_TEST]),
    ("N6", LINK, "#define BACKOFF_MIN_NS", "#define BACKOFF_MIN_NS 1000000u",
     "#define BACKOFF_MIN_NS 0u", [VCPU_TEST]),
    ("N6", LINK, "timer_fired", "v->backoff_ns * 2", "v->backoff_ns", [VCPU_TEST]),
    ("N6", LINK, "timer_fired",
     "v->backoff_ns < BACKOFF_MAX_NS / 2 ? v->backoff_ns * 2 : BACKOFF_MAX_NS", "v->backoff_ns * 2",
     [VCPU_TEST]),
    ("N6", LINK, "apf_link_act", "arm_timer(v);", ";", [VCPU_TEST]),
    ("N6", RUN, "deliver_queued", "} else if (asked & ASK_POLL) {", "} else if (0) {",
     [VCPU_TEST]),
    # I8, N5: what CPUID announces.
    ("I8", CPUID, "announce", "if (k->cfg.abi == APF_ABI_X86_INT)", "", [REGISTERS]),
    ("N5", CPUID, "announce",
     "features->eax &= ~(APF_CPUID_ASYNC_PF | APF_CPUID_VMEXIT | APF_CPUID_INT);", "", [REGISTERS]),
    ("N5", CPUID, "announce", "features->eax |= APF_CPUID_ASYNC_PF;", "", [REGISTERS]),
    ("N5", CPUID, "announce", "if (k->cfg.delivery == APF_DELIVERY_SYNC) return;", "", [REGISTERS]),
    ("N5", CPUID, "apf_x86_kvm_features", "leaf(c, c->entries[i].function + 1)",
     "leaf(c, APF_CPUID_LEAF)", [STAND_IN]),
    # N10: a page that is lost for good.
    ("N10", RUN, "fault_on", "if (r < 0) return apf_run_lost(v, apf_page_gpa(v->k, page), r);", "",
     [VCPU_TEST]),
    ("N10 L6", LINK, "apf_link_page_over",
     "return res < 0 ? apf_vcpu_page_failed(v->engine, gfn.nr)",
     "return res < 0 ? 0", [VCPU_TEST]),
    # No row: a vCPU that goes from thread to thread, and away.
    ("life", VCPU, "apf_kvm_vcpu_detach", "atomic_store(&v->attached, false);", "", [LIFE]),
    ("life", VCPU, "apf_kvm_vcpu_attach", "if (atomic_load(&v->asked) & ASK_OUT)", "if (0)", [LIFE]),
    ("life", VCPU, "apf_kvm_vcpu_remove", "v->bound = false;", "", [LIFE]),
    # No row: whatever a vCPU waits for, the VMM gets its thread, and the access goes on later.
    ("waits", RUN, "took_signal", "& ASK_OUT ? -EINTR : GO_ON", "& ASK_OUT ? GO_ON : GO_ON", [WAITS]),
    ("waits", RUN, "took_signal", "cfg->on_signal(cfg->on_signal_ctx, v->id, si);", "", [WAITS]),
    ("waits", RUN, "need_page", "apf_link_fault(v, page, &f, &d);",
     "(void)f, (void)d, atomic_store(&v->noted, true);", [WAITS]),
    ("waits", RUN, "need_page", "v->fetched++;", "", [WALKS]),
    ("waits", RUN, "go_on_with", "if (r >= 0) apf_doing_step(v, RUNS);", "apf_doing_step(v, RUNS);",
     [WAITS]),
    ("waits", RUN, "interrupted", "return err == -EAGAIN ? GO_ON : err;", "return GO_ON;", [WAITS]),
    ("waits", STATE, "apf_kvm_vcpu_save", "if (apf_kvm_vcpu_pending(v)) {", "if (0) {", [WAITS]),
    ("waits", X86_EMUL, "apf_x86_mmio", "r = run->mmio.is_write ? ",
     "r = 0 ? ", [WAITS]),
    ("waits V1", "lib/engine/fault.c", "decide", "if (f->by_kvm) return APF_WHY_KVM;", "", [WAITS]),
    ("waits C5", RUN, "ask_for", "if (err) return err;", "", [WAITS]),
    # No row: what KVM reads by itself is there, or was not when it failed.
    ("walks", X86, "apf_kvm_need_sregs", "err ? err : apf_x86_need_system(k, NULL, sregs)", "err", [WALKS]),
    ("walks", X86, "apf_arch_start", "r ? r : apf_x86_need_stack(v, &sregs)", "r", [WALKS]),
    ("walks", X86, "apf_arch_exit", "return apf_x86_triple_fault(v);", "return TO_CALLER;", [WALKS]),
    ("walks", X86_WALKS, "need_tables", "r == -EIO", "0", [WALKS]),
    ("walks", X86_WALKS, "walks_fail", "k->software_walks &&", "", [WALKS]),
    ("walks", X86_WALKS, "walks_fail", "&& s->cr0 & CR0_PG", "", [WALKS]),
    ("walks", X86_EMUL, "apf_x86_run_again", "memset(&ev->exception, 0, sizeof(ev->exception));", "",
     [WALKS]),
    ("walks", X86_EMUL, "apf_x86_may_run_again", "++v->failures <= RACES_BEFORE_ERROR", "v->fetched",
     [WALKS]),
]
