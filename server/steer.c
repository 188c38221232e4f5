/* SPDX-License-Identifier: MIT */
#include "server/steer.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "gen/bpf/steer.skel.h"

/* Its maps are those of the statistics, and an array of its own. NULL: errno says why. */
static struct steer_bpf *load(int rows_fd, int header_fd, u32 nr_slots)
{
	struct steer_bpf *bpf = steer_bpf__open();
	int err;

	if (!bpf)
		return NULL;
	err = bpf_map__reuse_fd(bpf->maps.steer, rows_fd);
	if (!err)
		err = bpf_map__reuse_fd(bpf->maps.header, header_fd);
	if (!err)
		err = bpf_map__set_max_entries(bpf->maps.listeners, nr_slots);
	if (!err)
		err = steer_bpf__load(bpf);
	if (!err)
		return bpf;
	steer_bpf__destroy(bpf);
	errno = -err;
	return NULL;
}

int steer_open(struct steer *s, const bool *wanted, u32 nr_groups, int rows_fd, int header_fd,
	       u32 nr_slots)
{
	*s = (struct steer){ .nr_slots = nr_slots, .nr_groups = nr_groups };
	for (u32 b = 0; b < nr_groups; b++) {
		int err;

		if (!wanted[b])
			continue;
		s->groups[b] = load(rows_fd, header_fd, nr_slots);
		if (s->groups[b])
			continue;
		err = errno ? -errno : -ENOMEM;
		steer_close(s);
		return err;
	}
	return 0;
}

void steer_close(struct steer *s)
{
	for (u32 b = 0; b < s->nr_groups; b++)
		if (s->groups[b])
			steer_bpf__destroy(s->groups[b]);
	*s = (struct steer){ 0 };
}

int steer_prog(const struct steer *s, u32 group)
{
	return group < s->nr_groups && s->groups[group]
		       ? bpf_program__fd(s->groups[group]->progs.pick)
		       : -1;
}

int steer_put(struct steer *s, u32 group, u32 slot, int fd)
{
	u64 value = (u64)fd;

	return bpf_map_update_elem(bpf_map__fd(s->groups[group]->maps.listeners), &slot, &value,
				   BPF_ANY);
}

void steer_remove(struct steer *s, u32 group, u32 slot)
{
	/* A listener that was shut down has left it by itself. */
	bpf_map_delete_elem(bpf_map__fd(s->groups[group]->maps.listeners), &slot);
}

void steer_bound(struct steer *s, u32 nr)
{
	for (u32 b = 0; b < s->nr_groups; b++)
		if (s->groups[b])
			s->groups[b]->bss->nr_slots = min(nr, s->nr_slots);
}
