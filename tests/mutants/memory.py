# SPDX-License-Identifier: MIT
"""The rows that memory and stores carry, broken one by one."""
TRAP = "tests/memory/test-memory-trap"
FETCH = "tests/memory/test-memory-fetch"
FAILURE = "tests/memory/test-memory-failure"
CALLS = "tests/memory/test-memory-calls"
PAGES = "tests/memory/test-memory-pages"
TRACE = "tests/memory/test-memory-trace"
DISCARD = "tests/memory/test-memory-discard"
FILE = "tests/store/test-store-file"
FILTERS = "tests/store/test-store-filters"
WORKERS = "tests/store/test-store-workers"

MUTANTS = [
    # C2: a page is fetched once.
    ("C2", "lib/memory/map.c", "want", "case PAGE_WANTED: return 0;",
     "case PAGE_WANTED: put(&m->want, page); return 0;", [FETCH]),
    # C5: no queue room must not look like a page that is on its way.
    ("C5", "lib/memory/map.c", "want", "if (!promise_slot(&m->want)) return -EAGAIN;",
     "if (!promise_slot(&m->want)) return 0;", [FETCH]),
    # C9: access without side effects reaches resident pages only.
    ("C9", "lib/memory/ram.c", "check_range", "if (!apf_map_resident(m, page))",
     "if (0)", [CALLS]),
    # C15: done only after the page is visible in A, and whole.
    ("C15", "lib/memory/fetch.c", "apf_fetch_finish",
     "r = apf_trap_place(m, f->page, f->n, r == APF_IO_ZERO);",
     "for (uint32_t i = 0; i < f->n; i++) report(m, f->page + i, 0); flush(m); r = "
     "apf_trap_place(m, f->page, f->n, r == APF_IO_ZERO);", [FETCH]),
    ("C15", "lib/memory/trap.c", "register_range",
     "UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,",
     "UFFDIO_REGISTER_MODE_MISSING | (start == m->a ? UFFDIO_REGISTER_MODE_MINOR : 0),", [TRAP]),
    # A7: it is present where the slot maps it, for reads and for writes.
    ("A7 C15", "lib/memory/trap.c", "apf_trap_place",
     "UFFDIO_ZEROPAGE : UFFDIO_CONTINUE, m->a, page, n);",
     "UFFDIO_ZEROPAGE : UFFDIO_CONTINUE, m->b, page, n);", [TRAP, FETCH]),
    # C15: what is placed is the guest's, also when the rest of the page is not placed yet.
    ("C15", "lib/memory/fetch.c", "apf_fetch_finish", "failed(m, f, r);",
     "forget(m, f), f->res = r, failed(m, f, r);", [PAGES]),
    ("C15", "lib/memory/trap.c", "range_op", "done += m->host_page;",
     "done += 1u << m->page_shift;", [PAGES]),
    # Pages of several host pages: who waits for any part is told, faults know each other again.
    ("C1", "lib/memory/fetch.c", "report", "small < small_of(m, page + 1); small++",
     "small <= small_of(m, page); small++", [PAGES]),
    ("C3", "lib/memory/ram.c", "apf_mem_page_of",
     "small_of(m, offset >> m->page_shift) : UINT64_MAX", "offset >> APF_PAGE_SHIFT : UINT64_MAX",
     [PAGES]),
    # N10: a page that failed for good is told as such, takes no other along, leaves no junk.
    ("N10", "lib/memory/fetch.c", "lost", "report(m, f->page, f->res);", "report(m, f->page, 0);",
     [FAILURE]),
    ("N10", "lib/memory/fetch.c", "failed", "if (last_try(m, f)) {",
     "for (; n > 1; n--) lost(m, get(m, f->page + n - 1, 1)); if "
     "(last_try(m, f)) {", [FAILURE]),
    ("N10", "lib/memory/fetch.c", "forget",
     "apf_ram_punch(m, f->page, f->n);", ";", [FAILURE]),
    # What the guest gave back stays given back: not read again, not lost, not left out of A.
    ("C2 N10", "lib/memory/discard.c", "set_zero", "PAGE_MISSING | PAGE_ZERO", "PAGE_MISSING",
     [DISCARD]),
    ("C2", "lib/memory/fetch.c", "merge", "bool zero = apf_map_zero(m, p->wanted[i]);",
     "bool zero = false;", [DISCARD]),
    ("C2", "lib/memory/fetch.c", "drop_discarded", "if (apf_map_zero(m, f->page)) {", "if (0) {",
     [DISCARD]),
    ("N10", "lib/memory/trap.c", "is_there", "if (op != UFFDIO_ZEROPAGE || ", "if (op || ",
     [DISCARD]),
    ("N10", "lib/store/file.c", "file_submit", "bool here = io->offset + io->len <= size;",
     "bool here = size || io;", [FILE]),
    # V3: no thread waits for a page.
    ("V3", "lib/store/filter_latency.c", "latency_submit",
     "apf_loop_timer_arm(s->loop, &io->timer, apf_loop_now(s->loop) + ns);",
     "while (apf_clock_ns() < apf_loop_now(s->loop) + ns) ; apf_loop_timer_arm(s->loop, "
     "&io->timer, 0);", [FILTERS]),
    ("V3", "lib/store/loop.c", "#define MAX_WORKERS", "#define MAX_WORKERS 4u",
     "#define MAX_WORKERS 64u", [WORKERS]),
    # V1: the pager's events.
    ("V1", "lib/memory/fetch.c", "submit", "APF_TRACE(fetch, APF_EV_FETCH, APF_TRACE_NO_VCPU, "
     "small_of(m, f->page), 0, small_of(m, f->n));", "", [TRACE]),
    ("V1", "lib/memory/fetch.c", "report", "res < 0 ? (uint64_t)res :", "", [TRACE]),
    ("V1", "lib/memory/fetch.c", "report", "(uintptr_t)m->a + page_offset(m, page)", "0", [TRACE]),
]
