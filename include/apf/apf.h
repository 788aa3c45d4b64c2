/* SPDX-License-Identifier: MIT */
/*
 * Everything a VMM needs, in one include. The headers are C and C++, and want POSIX signals
 * (-std=gnu11, or _POSIX_C_SOURCE >= 200809L). apf/guest.h is for guest kernels and not here.
 */
#ifndef APF_APF_H
#define APF_APF_H

#include <apf/engine.h>
#include <apf/error.h>
#include <apf/gpa_cache.h>
#include <apf/kvm.h>
#include <apf/memory.h>
#include <apf/store.h>
#include <apf/trace.h>

#endif
