/* SPDX-License-Identifier: MIT */
#include "server/stats_area.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "gen/bpf/stats.skel.h"
#include "server/clock.h"
#include "server/guard.h"
#include "server/log.h"
#include "server/privileges.h"
#include "server/stats.h"

#define BPF_FOLDER "/sys/fs/bpf"
#define PINS_FOLDER BPF_FOLDER "/hyperion"
#define RUN_FOLDER "/run/hyperion"

static const char *const names[NR_STATS_MAPS] = STATS_MAP_NAMES;

void stats_area_init(struct stats_area *a)
{
	memset(a, 0, sizeof(*a));
	a->lock_fd = -1;
	for (int i = 0; i < NR_STATS_MAPS; i++)
		a->fds[i] = -1;
}

/* Where instances have their folders: our own, or one that root has made for all. 0 or -errno. */
static int base_folder(const char *path);

/* A folder of our own: made, or found with us as its owner. 0 or -errno. */
static int own_folder(const char *path, mode_t mode, gid_t group)
{
	struct stat st;

	if (mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	if (lstat(path, &st))
		return -errno;
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || access(path, W_OK))
		return -EACCES;
	if (st.st_gid != group && chown(path, (uid_t)-1, group))
		return -errno;
	return chmod(path, mode) ? -errno : 0;
}

/* Where instances have their folders: our own, or one that root has made for all. 0 or -errno. */
static int base_folder(const char *path)
{
	struct stat st;

	if (geteuid() != 0 && lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == 0 &&
	    !(st.st_mode & (S_IWGRP | S_IWOTH)))
		return 0;
	return own_folder(path, 0755, getegid());
}

static void unlink_maps(const char *folder)
{
	char path[PATH_MAX];

	for (int i = 0; i < NR_STATS_MAPS; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		unlink(path);
	}
}

static void close_maps(struct stats_area *a)
{
	for (int i = 0; i < NR_STATS_MAPS; i++) {
		if (a->fds[i] >= 0)
			close(a->fds[i]);
		a->fds[i] = -1;
	}
}

/* --- the name --- */

/* Where files of ours may lie, best first. false: there is no such place. */
static bool candidate(int i, char *out, size_t room)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	switch (i) {
	case 0:
		snprintf(out, room, "%s", RUN_FOLDER);
		return true;
	case 1:
		return xdg && xdg[0] == '/' && (size_t)snprintf(out, room, "%s/hyperion", xdg) < room;
	case 2:
		snprintf(out, room, "/dev/shm/hyperion-%u", (u32)geteuid());
		return true;
	default:
		return false;
	}
}

static int find_folder(struct stats_area *a, const struct stats_area_config *config)
{
	char base[80];

	for (int i = 0; i < 3; i++) {
		if (!candidate(i, base, sizeof(base)) || base_folder(base))
			continue;
		snprintf(a->folder, sizeof(a->folder), "%s/%s", base, config->instance);
		if (!own_folder(a->folder, 0750, config->group))
			return 0;
	}
	a->folder[0] = '\0';
	return -EACCES;
}

static void say_busy(int fd, const char *instance)
{
	char pid[16] = "";
	ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

	pid[n > 0 ? strcspn(pid, "\n") : 0] = '\0';
	log_error("stats: an instance named %s runs already pid=%s; give this one another name "
		  "with --instance NAME",
		  instance, pid[0] ? pid : "?");
}

/* An earlier owner of the name may have unlinked the file between our open and our lock. */
static bool still_there(int fd, const char *path)
{
	struct stat held, there;

	return fstat(fd, &held) == 0 && lstat(path, &there) == 0 && held.st_ino == there.st_ino &&
	       held.st_dev == there.st_dev;
}

/* The lock goes with its holder, however that ends. */
static int take_name(struct stats_area *a, const char *instance)
{
	char path[PATH_MAX], pid[16];
	int n;

	snprintf(path, sizeof(path), "%s/lock", a->folder);
	for (;;) {
		a->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
		if (a->lock_fd < 0)
			return -errno;
		if (flock(a->lock_fd, LOCK_EX | LOCK_NB)) {
			int err = errno == EWOULDBLOCK ? -EBUSY : -errno;

			if (err == -EBUSY)
				say_busy(a->lock_fd, instance);
			close(a->lock_fd);
			a->lock_fd = -1;
			return err;
		}
		if (still_there(a->lock_fd, path))
			break;
		close(a->lock_fd);
	}
	n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(a->lock_fd, 0) || pwrite(a->lock_fd, pid, (size_t)n, 0) != n)
		log_debug("stats: %s: %s", path, strerror(errno));
	return 0;
}

static void give_name_back(struct stats_area *a)
{
	char path[PATH_MAX];

	if (a->lock_fd < 0)
		return;
	snprintf(path, sizeof(path), "%s/lock", a->folder);
	unlink(path);
	rmdir(a->folder);
	close(a->lock_fd);
	a->lock_fd = -1;
}

/* --- BPF --- */

static int quiet(enum libbpf_print_level level, const char *fmt, va_list args)
{
	char line[256];

	if (log_level <= LOG_LEVEL_DEBUG && level <= LIBBPF_INFO) {
		vsnprintf(line, sizeof(line), fmt, args);
		line[strcspn(line, "\n")] = '\0';
		log_debug("%s", line);
	}
	return 0;
}

static int mount_bpffs(void)
{
	struct statfs st;

	if (statfs(BPF_FOLDER, &st) == 0 && (u32)st.f_type == BPF_FS_MAGIC)
		return 0;
	return mount("bpffs", BPF_FOLDER, "bpf", 0, "mode=0755") ? -errno : 0;
}

/* Ours, and pinned if there is a folder for it. */
static int take(struct stats_area *a, struct bpf_map *map, int id, gid_t group)
{
	char path[PATH_MAX];
	int err = 0;

	snprintf(path, sizeof(path), "%s/%s", a->pins, names[id]);
	if (a->pins[0])
		err = bpf_map__pin(map, path);
	if (a->pins[0] && !err && (chown(path, (uid_t)-1, group) || chmod(path, 0640)))
		err = -errno;
	a->fds[id] = err ? -1 : fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 3);
	return a->fds[id] < 0 && !err ? -errno : err;
}

static int load_maps(struct stats_area *a, const struct stats_area_config *config, u32 nr_slots)
{
	struct stats_bpf *bpf = stats_bpf__open();
	int err = -errno;

	if (!bpf)
		return err ? err : -ENOMEM;
	bpf_map__set_max_entries(bpf->maps.routes, STATS_ROUTES);
	bpf_map__set_max_entries(bpf->maps.workers, nr_slots);
	bpf_map__set_max_entries(bpf->maps.cells, nr_slots * STATS_ROUTES);
	bpf_map__set_max_entries(bpf->maps.own, nr_slots);
	bpf_map__set_max_entries(bpf->maps.steer, nr_slots);
	err = stats_bpf__load(bpf);
	if (!err) {
		struct bpf_map *const maps[NR_STATS_MAPS] = { bpf->maps.header,  bpf->maps.routes,
							      bpf->maps.workers, bpf->maps.cells,
							      bpf->maps.own,     bpf->maps.steer };

		for (int i = 0; !err && i < NR_STATS_MAPS; i++)
			err = take(a, maps[i], i, config->group);
	}
	stats_bpf__destroy(bpf);
	return err;
}

/* a->pins is an empty folder, or "". 0 or -errno. */
static int make_pins(struct stats_area *a, const struct stats_area_config *config)
{
	int err = mount_bpffs();

	if (!err)
		err = base_folder(PINS_FOLDER);
	if (err)
		return err;
	snprintf(a->pins, sizeof(a->pins), PINS_FOLDER "/%s", config->instance);
	err = own_folder(a->pins, 0750, config->group);
	if (err) {
		a->pins[0] = '\0';
		return err;
	}
	unlink_maps(a->pins);
	guard_unpin(a->pins);
	return 0;
}

static void say_unpinned(const struct stats_area_config *config, int err)
{
	struct statfs st;
	bool mounted = statfs(BPF_FOLDER, &st) == 0 && (u32)st.f_type == BPF_FS_MAGIC;

	log_info("bpf: cannot pin the maps in " PINS_FOLDER "/%s: %s; all works but hyperion-top; "
		 "as root: %sinstall -d -o %u " PINS_FOLDER "/%s",
		 config->instance, strerror(-err),
		 mounted ? "" : "mount -t bpf bpffs " BPF_FOLDER " && ", (u32)geteuid(),
		 config->instance);
}

/* 0 or -errno, and then nothing of it is left. */
static int make_bpf_maps(struct stats_area *a, const struct stats_area_config *config, u32 nr_slots)
{
	int unpinned, err;

	libbpf_set_print(quiet);
	unpinned = make_pins(a, config);
	/* An old kernel's open door leads to maps, but not to programs: files are better. */
	err = unpinned && !privileges_have_bpf() ? unpinned : load_maps(a, config, nr_slots);
	if (!err) {
		a->bpf = true;
		if (unpinned)
			say_unpinned(config, unpinned);
		return 0;
	}
	close_maps(a);
	if (a->pins[0]) {
		unlink_maps(a->pins);
		rmdir(a->pins);
	}
	a->pins[0] = '\0';
	return err;
}

/* --- shared memory --- */

static int make_file(struct stats_area *a, int id, gid_t group)
{
	char path[PATH_MAX];
	int fd;

	if (!a->files)
		return memfd_create(names[id], MFD_CLOEXEC);
	snprintf(path, sizeof(path), "%s/%s", a->folder, names[id]);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0 && (fchown(fd, (uid_t)-1, group) || fchmod(fd, 0640))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int make_shared_memory(struct stats_area *a, const struct stats_area_config *config,
			      u32 nr_slots)
{
	a->files = a->folder[0];
	for (int i = 0; i < NR_STATS_MAPS; i++) {
		size_t len = stats_map_len((enum stats_map_id)i, nr_slots);

		a->fds[i] = make_file(a, i, config->group);
		if (a->fds[i] < 0 || ftruncate(a->fds[i], (off_t)len)) {
			int err = -errno;

			close_maps(a);
			if (a->files)
				unlink_maps(a->folder);
			return err;
		}
	}
	return 0;
}

/* --- */

static int make_maps(struct stats_area *a, const struct stats_area_config *config, u32 nr_slots)
{
	int err = config->no_bpf ? -ECANCELED : make_bpf_maps(a, config, nr_slots);

	if (!err)
		return 0;
	if (!config->no_bpf)
		log_info("bpf: cannot be used: %s; the kernel's hash picks the workers, the "
			 "statistics are in shared memory%s%s",
			 privileges_have_bpf() ? strerror(-err) : "neither root nor CAP_BPF",
			 a->folder[0] ? " in " : "", a->folder);
	return make_shared_memory(a, config, nr_slots);
}

static int fill_header(struct stats_area *a, const struct stats_area_config *config, u32 nr_slots)
{
	struct stats_header about = {
		.pid = (u32)getpid(),
		.nr_workers = config->nr_workers,
		.nr_threads = config->nr_threads,
		.start_ns = monotonic_ns(),
		.start_time = clock_ns(CLOCK_REALTIME) / NSEC_PER_SEC,
	};
	int err = stats_maps_map(&a->maps, a->fds, nr_slots);

	if (err)
		return err;
	snprintf(about.server, sizeof(about.server), "%s", config->version);
	snprintf(about.instance, sizeof(about.instance), "%s", config->instance);
	stats_maps_init(&a->maps, nr_slots, &about);
	return 0;
}

int stats_area_open(struct stats_area *a, const struct stats_area_config *config)
{
	u32 nr_slots = config->nr_workers + STATS_SPARE_SLOTS;
	int err = find_folder(a, config);

	if (!err)
		err = take_name(a, config->instance);
	if (err == -EBUSY) {
		stats_area_close(a);
		return err;
	}
	if (a->folder[0])
		unlink_maps(a->folder);
	err = make_maps(a, config, nr_slots);
	if (!err)
		err = fill_header(a, config, nr_slots);
	if (err) {
		log_warn("stats: no shared maps: %s; there will be no statistics", strerror(-err));
		close_maps(a);
	}
	return 0;
}

void stats_area_worker_gone(struct stats_area *a, u32 slot)
{
	struct stats_worker *w;
	struct stats_steer *steer;

	if (!a->maps.header || slot >= a->maps.header->nr_slots)
		return;
	w = &a->maps.workers[slot];
	stats_set(w->state, STATS_WORKER_NONE);
	for (int i = 0; i < NR_STATS_CONNS; i++)
		stats_set(w->conns[i], 0);
	stats_set(w->threads_busy, 0);
	stats_set(w->queued, 0);
	stats_set(w->with_app, 0);
	stats_set(w->rss_bytes, 0);
	stats_set(w->inbox, 0);
	steer = &a->maps.steer[slot];
	stats_set(steer->state, STATS_WORKER_NONE);
	stats_set(steer->kept, 0);
	stats_set(steer->running, 0);
	stats_set(steer->waiting, 0);
	stats_set(steer->running_ns, 0);
	stats_set(steer->waiting_ns, 0);
}

void stats_area_close(struct stats_area *a)
{
	bool ours = a->fds[STATS_MAP_HEADER] >= 0;

	stats_maps_close(&a->maps);
	close_maps(a);
	if (ours && a->pins[0]) {
		unlink_maps(a->pins);
		rmdir(a->pins);
	}
	if (ours && a->files)
		unlink_maps(a->folder);
	give_name_back(a);
	stats_area_init(a);
}
