/* SPDX-License-Identifier: MIT */
/*
 * A vCPU as bytes and back (C12; the layout is in docs/engine.md). Little-endian
 * whatever the host is, field by field, and equal states give equal bytes. What
 * is loaded may come from an enemy.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include <apf/error.h>

#include "abi.h"

#define SAVE_MAGIC	0x56465041u	/* "APFV" */
#define SAVE_VERSION	1u
#define SAVE_WAKE_ALL	(1u << 0)	/* the only flag */

#define PAGE_SHIFT	12
#define GFN_LIMIT	(1ull << (64 - PAGE_SHIFT))

struct header {
	uint32_t magic, version, abi, vcpu_id;
	uint32_t counter, flags;
	uint32_t waiting, ready;	/* entries behind the control words, in this order */
};

#define HEADER_BYTES	(8 * 4u)
#define ENTRY_BYTES	(8 + 4u)

static uint8_t *put32(uint8_t *p, uint32_t x)
{
	x = htole32(x);
	memcpy(p, &x, sizeof(x));
	return p + sizeof(x);
}

static uint8_t *put64(uint8_t *p, uint64_t x)
{
	x = htole64(x);
	memcpy(p, &x, sizeof(x));
	return p + sizeof(x);
}

static const uint8_t *get32(const uint8_t *p, uint32_t *x)
{
	memcpy(x, p, sizeof(*x));
	*x = le32toh(*x);
	return p + sizeof(*x);
}

static const uint8_t *get64(const uint8_t *p, uint64_t *x)
{
	memcpy(x, p, sizeof(*x));
	*x = le64toh(*x);
	return p + sizeof(*x);
}

static uint8_t *put_list(const struct apf_vcpu *v, enum apf_node_state state, uint8_t *p)
{
	const struct apf_node *n = apf_set_first(&v->set, state);

	for (; n; n = apf_set_next(&v->set, n)) {
		p = put64(p, n->gfn);
		p = put32(p, n->token);
	}
	return p;
}

size_t apf_vcpu_save(const struct apf_vcpu *v, void *buf, size_t size)
{
	const uint32_t ctl_words = abi_of(v)->ctl_words;
	const struct apf_list *l = v->set.list;
	size_t need = HEADER_BYTES + ctl_words * 8u +
		      ((size_t)l[APF_NODE_WAITING].count + l[APF_NODE_READY].count) * ENTRY_BYTES;
	uint8_t *p = buf;

	if (need > size)
		return need;
	p = put32(p, SAVE_MAGIC);
	p = put32(p, SAVE_VERSION);
	p = put32(p, v->abi);
	p = put32(p, v->id);
	p = put32(p, v->counter);
	p = put32(p, v->wake_all ? SAVE_WAKE_ALL : 0);
	p = put32(p, l[APF_NODE_WAITING].count);
	p = put32(p, l[APF_NODE_READY].count);
	for (uint32_t i = 0; i < ctl_words; i++)
		p = put64(p, v->ctl[i]);
	p = put_list(v, APF_NODE_WAITING, p);
	put_list(v, APF_NODE_READY, p);
	return need;
}

static int load_header(const struct apf_vcpu *v, const uint8_t *p, size_t size, struct header *h)
{
	const struct apf_abi *abi = abi_of(v);
	uint64_t need = HEADER_BYTES + abi->ctl_words * 8u;

	if (size < need)
		return apf_error_set(-EINVAL, "vCPU %u: saved state is cut off", v->id);
	p = get32(p, &h->magic);
	p = get32(p, &h->version);
	p = get32(p, &h->abi);
	p = get32(p, &h->vcpu_id);
	p = get32(p, &h->counter);
	p = get32(p, &h->flags);
	p = get32(p, &h->waiting);
	get32(p, &h->ready);
	if (h->magic != SAVE_MAGIC || h->version != SAVE_VERSION)
		return apf_error_set(-EINVAL, "vCPU %u: not a saved vCPU of version %u", v->id,
				     SAVE_VERSION);
	if (h->abi != v->abi)
		return apf_error_set(-EINVAL, "vCPU %u: saved as of generation %s (%u), but this "
				     "VM offers %s (%u)", v->id,
				     apf_abi_name(h->abi) ? apf_abi_name(h->abi) : "unknown",
				     h->abi, apf_abi_name(v->abi), v->abi);
	if (h->vcpu_id != v->id)
		return apf_error_set(-EINVAL, "vCPU %u: this is the saved state of vCPU %u", v->id,
				     h->vcpu_id);
	need += ((uint64_t)h->waiting + h->ready) * ENTRY_BYTES;
	if (size != need || h->counter > UINT32_MAX >> abi->id_bits || h->flags & ~SAVE_WAKE_ALL)
		return apf_error_set(-EINVAL, "vCPU %u: saved state is damaged", v->id);
	return 0;
}

static int load_controls(struct apf_vcpu *v, const uint8_t *p, const struct header *h)
{
	const struct apf_abi *abi = abi_of(v);
	uint64_t ctl[APF_CTL_WORDS] = {0};

	for (uint32_t i = 0; i < abi->ctl_words; i++)
		p = get64(p, &ctl[i]);
	if (!abi->ctl_valid(v, ctl))
		return apf_error_set(-EINVAL, "vCPU %u: saved control registers are not valid here",
				     v->id);
	memcpy(v->ctl, ctl, sizeof(ctl));
	if (!abi->enabled(v) && (h->waiting || h->ready || h->flags))
		return apf_error_set(-EINVAL, "vCPU %u: saved as disabled, yet with faults", v->id);
	v->counter = h->counter;
	v->wake_all = h->flags & SAVE_WAKE_ALL;
	return 0;
}

static int load_entry(struct apf_vcpu *v, const uint8_t *p, enum apf_node_state state)
{
	uint64_t gfn;
	uint32_t token;

	p = get64(p, &gfn);
	get32(p, &token);
	if (!apf_vcpu_owns(v, token) || apf_set_find(&v->set, token))
		return apf_error_set(-EINVAL, "vCPU %u: saved token 0x%x is %s", v->id, token,
				     apf_vcpu_owns(v, token) ? "there twice" : "not its own");
	if (gfn >= GFN_LIMIT || !v->ops->is_ram(v->ctx, gfn << PAGE_SHIFT, 1u << PAGE_SHIFT, false))
		return apf_error_set(-EINVAL, "vCPU %u: saved page 0x%llx is not RAM", v->id,
				     (unsigned long long)gfn);
	apf_set_add(&v->set, gfn, token, state);
	return 0;
}

static int load_all(struct apf_vcpu *v, const uint8_t *p, size_t size)
{
	struct header h = {0};
	int ret;

	ret = load_header(v, p, size, &h);
	if (!ret)
		ret = load_controls(v, p + HEADER_BYTES, &h);
	if (ret)
		return ret;
	if ((uint64_t)h.waiting + h.ready > v->set.capacity)
		return apf_error_set(-ENOSPC, "vCPU %u: %llu saved faults, room for %u", v->id,
				     (unsigned long long)h.waiting + h.ready, v->set.capacity);
	p += HEADER_BYTES + abi_of(v)->ctl_words * 8u;
	for (uint32_t i = 0; !ret && i < h.waiting + h.ready; i++, p += ENTRY_BYTES)
		ret = load_entry(v, p, i < h.waiting ? APF_NODE_WAITING : APF_NODE_READY);
	return ret;
}

int apf_vcpu_load(struct apf_vcpu *v, const void *buf, size_t size)
{
	int ret;

	apf_vcpu_reset(v);
	ret = load_all(v, buf, size);
	if (ret == -EINVAL)
		apf_vcpu_reset(v);
	return ret;
}
