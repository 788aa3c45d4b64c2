/* SPDX-License-Identifier: MIT */
/* Everything a VMM needs, in one include. */
#ifndef APF_APF_H
#define APF_APF_H

#include <apf/engine.h>
#include <apf/error.h>
#include <apf/kvm.h>
#include <apf/memory.h>
#include <apf/store.h>
#include <apf/trace.h>

#endif
