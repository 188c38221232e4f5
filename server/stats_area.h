/* SPDX-License-Identifier: MIT */
/*
 * Where the shared maps of an instance live, seen from the supervisor, which
 * owns them: BPF maps pinned under /sys/fs/bpf/hyperion/INSTANCE/; where that is
 * refused, files of shared memory under /run/hyperion/INSTANCE/ (or, for who may
 * not write there, $XDG_RUNTIME_DIR/hyperion or /dev/shm/hyperion-UID); else
 * memory without a name, which only the workers see. The folder also holds the
 * lock by which an instance has its name alone.
 */
#ifndef HYPERION_SERVER_STATS_AREA_H
#define HYPERION_SERVER_STATS_AREA_H

#include "bpf/abi.h"
#include "server/base.h"
#include "server/stats.h"

struct stats_area {
	char pins[128]; /* folder of the pins; "" = none */
	char folder[160]; /* of the lock, and of the files if there are no pins; "" = none */
	int lock_fd;
	int fds[NR_STATS_MAPS]; /* CLOEXEC; -1 = there are no maps at all */
	bool bpf; /* the maps are BPF's, pinned or not */
	bool files; /* the maps are files in the folder */
	struct stats_maps maps; /* ours, to empty the rows of the dead */
};

struct stats_area_config {
	const char *instance, *version;
	bool no_bpf;
	gid_t group; /* may read */
	u32 nr_workers, nr_threads;
};

/* Nothing is open. */
void stats_area_init(struct stats_area *a);

/*
 * Takes the name, cleans up what a killed instance of it left behind, makes the
 * maps. -EBUSY: the name is taken; what is wrong was said. Where maps are
 * impossible it goes without, which was said, too.
 */
int stats_area_open(struct stats_area *a, const struct stats_area_config *config) __must_check;

/* The process of that slot has ended: what it was and had is no more. What it counted stays. */
void stats_area_worker_gone(struct stats_area *a, u32 slot);

/* Unpins or unlinks; what is mapped lives on with its users. */
void stats_area_close(struct stats_area *a);

#endif
