/* SPDX-License-Identifier: MIT */
/* userfaultfd calls that are newer than the system headers of Debian 12 (Linux 6.1). */
#ifndef MEMORY_UAPI_H
#define MEMORY_UAPI_H

#include <linux/userfaultfd.h>

#ifndef UFFDIO_POISON		/* Linux 6.6 */
#define UFFD_FEATURE_POISON	(1u << 14)
#define UFFDIO_POISON		_IOWR(UFFDIO, 0x08, struct uffdio_poison)

struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;		/* bytes, or a negative errno */
};
#endif

#endif
