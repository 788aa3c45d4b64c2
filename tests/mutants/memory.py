# SPDX-License-Identifier: MIT
"""The rows that memory and stores carry, broken one by one."""
TRAP = "tests/memory/test-memory-trap"
FETCH = "tests/memory/test-memory-fetch"
FAILURE = "tests/memory/test-memory-failure"
CALLS = "tests/memory/test-memory-calls"
PAGES = "tests/memory/test-memory-pages"
FILE = "tests/store/test-store-file"
FILTERS = "tests/store/test-store-filters"
WORKERS = "tests/store/test-store-workers"

PLACE = "\t\t\tr = apf_trap_place(m, f->page, f->n, r == APF_IO_ZERO);\n"

MUTANTS = [
    # C2: a page is fetched once.
    ("C2", "lib/memory/map.c", "\t\tcase PAGE_WANTED:\n\t\t\treturn 0;\n",
     "\t\tcase PAGE_WANTED:\n\t\t\tput(&m->want, page);\n\t\t\treturn 0;\n", [FETCH]),
    # C5: no queue room must not look like a page that is on its way.
    ("C5", "lib/memory/map.c", "\t\tif (!promise_slot(&m->want))\n\t\t\treturn -EAGAIN;\n",
     "\t\tif (!promise_slot(&m->want))\n\t\t\treturn 0;\n", [FETCH]),
    # C9: access without side effects reaches resident pages only.
    ("C9", "lib/memory/ram.c", "\t\tif (!apf_map_resident(m, page))\n\t\t\treturn -EFAULT;\n",
     "\t\t;\n", [CALLS]),
    # C15: done only after the page is visible in A, and whole.
    ("C15", "lib/memory/fetch.c", PLACE,
     "\t\t\tfor (uint32_t i = 0; i < f->n; i++)\n\t\t\t\treport(m, f->page + i, 0);\n"
     "\t\t\tflush(m);\n" + PLACE, [FETCH]),
    ("C15", "lib/memory/trap.c", "UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,",
     "UFFDIO_REGISTER_MODE_MISSING | (view == m->a ? UFFDIO_REGISTER_MODE_MINOR : 0),", [TRAP]),
    # A7: it is present where the slot maps it, for reads and for writes.
    ("A7 C15", "lib/memory/trap.c", "UFFDIO_ZEROPAGE : UFFDIO_CONTINUE, m->a, page, n);",
     "UFFDIO_ZEROPAGE : UFFDIO_CONTINUE, m->b, page, n);", [TRAP, FETCH]),
    # C15: what is placed is the guest's, also when the rest of the page is not placed yet.
    ("C15", "lib/memory/fetch.c", "\t\t\tfailed(m, f, r);\n",
     "\t\t\tforget(m, f), f->res = r, failed(m, f, r);\n", [PAGES]),
    ("C15", "lib/memory/trap.c", "\t\tdone += errno == EEXIST ? m->host_page : 0;",
     "\t\tdone += errno == EEXIST ? 1u << m->page_shift : 0;", [PAGES]),
    # Pages of several host pages: who waits for any part is told, faults know each other again.
    ("C1", "lib/memory/fetch.c", "small < small_of(m, page + 1); small++",
     "small <= small_of(m, page); small++", [PAGES]),
    ("C3", "lib/memory/ram.c", "small_of(m, offset >> m->page_shift) : UINT64_MAX",
     "offset >> APF_PAGE_SHIFT : UINT64_MAX", [PAGES]),
    # N10: a page that failed for good is told as such, takes no other along, leaves no junk.
    ("N10", "lib/memory/fetch.c", "\treport(m, f->page, f->res);\n", "\treport(m, f->page, 0);\n",
     [FAILURE]),
    ("N10", "lib/memory/fetch.c", "\tif (n == 1 && f->tries == m->cfg.retries) {",
     "\tfor (; n > 1; n--)\n\t\tlost(m, get(m, f->page + n - 1, 1));\n"
     "\tif (n == 1 && f->tries == m->cfg.retries) {", [FAILURE]),
    ("N10", "lib/memory/fetch.c", "\tfallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,\n",
     "\t(void)(m->fd, FALLOC_FL_PUNCH_HOLE,\n", [FAILURE]),
    ("N10", "lib/store/file.c", "bool here = io->offset + io->len <= size;", "bool here = size || io;",
     [FILE]),
    # V3: no thread waits for a page.
    ("V3", "lib/store/filter_latency.c",
     "\tapf_loop_timer_arm(s->loop, &io->timer, apf_loop_now(s->loop) + ns);",
     "\twhile (apf_clock_ns() < apf_loop_now(s->loop) + ns)\n\t\t;\n"
     "\tapf_loop_timer_arm(s->loop, &io->timer, 0);", [FILTERS]),
    ("V3", "lib/store/loop.c", "#define MAX_WORKERS\t4u", "#define MAX_WORKERS\t64u", [WORKERS]),
]
