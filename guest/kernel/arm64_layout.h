/* SPDX-License-Identifier: MIT */
/* Numbers that arm64's assembler and C share. */
#ifndef KERNEL_ARM64_LAYOUT_H
#define KERNEL_ARM64_LAYOUT_H

#include "layout.h"

/* struct frame */
#define FRAME_SIZE	288
#define FRAME_SP	248
#define FRAME_ELR	256
#define FRAME_SPSR	264
#define FRAME_ESR	272
#define FRAME_FAR	280

#endif
