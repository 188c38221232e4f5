/* SPDX-License-Identifier: MIT */
#include "tools/top_data.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bpf/observe_read.h"

#define NR_FOLDERS 4
#define MAX_SLOTS 4096u
#define QUIET_NS                                                                                   \
	3000000000ull /* a server of which nothing is left has written nothing for so long */

struct source {
	bool pins;
	int fds[NR_STATS_MAPS];
};

static const char *const names[NR_STATS_MAPS] = STATS_MAP_NAMES;

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (__u64)ts.tv_sec * 1000000000ull + (__u64)ts.tv_nsec;
}

__attribute__((format(printf, 3, 4))) static enum top_problem
problem(enum top_problem p, char why[TOP_WHY_LEN], const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, TOP_WHY_LEN, fmt, args);
	va_end(args);
	return p;
}

/* --- finding it --- */

/* The folders that an instance may have, pins first. */
static bool folder(int i, const char *instance, char out[PATH_MAX])
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	switch (i) {
	case 0:
		snprintf(out, PATH_MAX, "/sys/fs/bpf/hyperion/%s", instance);
		return true;
	case 1:
		snprintf(out, PATH_MAX, "/run/hyperion/%s", instance);
		return true;
	case 2:
		snprintf(out, PATH_MAX, "%s/hyperion/%s", xdg ? xdg : "", instance);
		return xdg && xdg[0] == '/';
	default:
		snprintf(out, PATH_MAX, "/dev/shm/hyperion-%u/%s", (unsigned)geteuid(), instance);
		return true;
	}
}

static void close_source(struct source *s)
{
	for (int i = 0; i < NR_STATS_MAPS; i++) {
		if (s->fds[i] >= 0)
			close(s->fds[i]);
		s->fds[i] = -1;
	}
}

static int open_map(bool pins, const char *path)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = BPF_F_RDONLY);
	int fd;

	if (!pins)
		return open(path, O_RDONLY | O_CLOEXEC);
	fd = bpf_obj_get_opts(path, &opts);
	return fd;
}

/* 0 or -errno. */
static int open_folder(struct source *s, bool pins, const char *path)
{
	s->pins = pins;
	for (int i = 0; i < NR_STATS_MAPS; i++)
		s->fds[i] = -1;
	for (int i = 0; i < NR_STATS_MAPS; i++) {
		char name[PATH_MAX + 16];

		snprintf(name, sizeof(name), "%s/%s", path, names[i]);
		s->fds[i] = open_map(pins, name);
		if (s->fds[i] < 0) {
			int err = -errno;

			close_source(s);
			return err;
		}
	}
	return 0;
}

static enum top_problem find(struct source *s, const char *instance, char why[TOP_WHY_LEN])
{
	char path[PATH_MAX], forbidden[PATH_MAX] = "";

	for (int i = 0; i < NR_FOLDERS; i++) {
		int err;

		if (!folder(i, instance, path))
			continue;
		err = open_folder(s, i == 0, path);
		if (!err)
			return TOP_FINE;
		if ((err == -EACCES || err == -EPERM) && !forbidden[0])
			memcpy(forbidden, path, sizeof(path));
	}
	if (forbidden[0])
		return problem(TOP_FORBIDDEN, why,
			       "may not read %s: be root, or of the group that the server runs as",
			       forbidden);
	return problem(TOP_NOBODY, why, "no server of the instance %s runs here", instance);
}

/* --- reading --- */

/* Elements [from, from + nr) of a map, each @len bytes (a multiple of 8). 0 or -errno. */
static int read_elements(const struct source *s, int id, __u32 from, __u32 nr, size_t len, void *out)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	__u32 before = from - 1, after, *keys, count = nr;
	int err;

	if (!nr)
		return 0;
	if (!s->pins) {
		ssize_t n = pread(s->fds[id], out, nr * len, (off_t)(from * len));

		return n < 0 ? -errno : (size_t)n == nr * len ? 0 : -EPROTO;
	}
	keys = malloc(nr * sizeof(*keys));
	if (!keys)
		return -ENOMEM;
	/* The batch goes on behind the key that is named as the last one. */
	err = bpf_map_lookup_batch(s->fds[id], from ? &before : NULL, &after, keys, out, &count,
				   &opts);
	free(keys);
	if (err && err != -ENOENT)
		return err;
	return count == nr ? 0 : -EPROTO;
}

/* Its first words are where they are in every version. */
static enum top_problem read_header(const struct source *s, struct stats_header *h,
				    char why[TOP_WHY_LEN])
{
	char bytes[4096] = { 0 };
	struct bpf_map_info info = { 0 };
	__u32 info_len = sizeof(info);
	size_t len = sizeof(*h);
	int err = 0;

	if (s->pins) {
		err = bpf_obj_get_info_by_fd(s->fds[STATS_MAP_HEADER], &info, &info_len);
		len = info.value_size;
	}
	if (!err && len > sizeof(bytes))
		err = -EPROTO;
	if (!err)
		err = read_elements(s, STATS_MAP_HEADER, 0, 1, len, bytes);
	if (err)
		return problem(TOP_BROKEN, why, "cannot read the header: %s", strerror(-err));
	memcpy(h, bytes, sizeof(*h));
	if (h->magic != STATS_MAGIC)
		return problem(TOP_BROKEN, why,
			       "these are not the maps of a hyperion-bpf, or it starts just now");
	if (h->version != STATS_VERSION || h->cell_len != sizeof(struct stats_cell) ||
	    h->worker_len != sizeof(struct stats_worker) ||
	    h->route_len != sizeof(struct stats_route) || h->nr_slots > MAX_SLOTS)
		return problem(
			TOP_VERSION, why,
			"the server's statistics are of version %u, this program knows %u: use the "
			"hyperion-top that came with it",
			h->version, STATS_VERSION);
	return TOP_FINE;
}

static int make_room(struct top_reading *r, __u32 nr_slots)
{
	if (nr_slots <= r->nr_slots)
		return 0;
	free(r->workers);
	free(r->steer);
	free(r->tcp);
	free(r->cells);
	r->nr_slots = 0;
	r->workers = calloc(nr_slots, sizeof(*r->workers));
	r->steer = calloc(nr_slots, sizeof(*r->steer));
	r->tcp = calloc(nr_slots, sizeof(*r->tcp));
	r->cells = calloc((size_t)nr_slots * STATS_ROUTES, sizeof(*r->cells));
	if (!r->workers || !r->steer || !r->tcp || !r->cells)
		return -ENOMEM;
	r->nr_slots = nr_slots;
	return 0;
}

/* Only what is in use: the routes there are, of the workers there were. */
static int read_cells(const struct source *s, struct top_reading *r)
{
	int err = 0;

	for (__u32 w = 0; !err && w < r->header.nr_slots; w++)
		if (r->workers[w].nr_starts)
			err = read_elements(s, STATS_MAP_CELLS, w * STATS_ROUTES, r->nr_routes,
					    sizeof(*r->cells), r->cells + (size_t)w * STATS_ROUTES);
	return err;
}

static int read_all(const struct source *s, struct top_reading *r)
{
	int err = make_room(r, r->header.nr_slots);

	if (!err)
		err = read_elements(s, STATS_MAP_ROUTES, 0, STATS_ROUTES, sizeof(r->routes[0]),
				    r->routes);
	if (!err)
		err = read_elements(s, STATS_MAP_WORKERS, 0, r->header.nr_slots,
				    sizeof(r->workers[0]), r->workers);
	if (!err)
		err = read_elements(s, STATS_MAP_STEER, 0, r->header.nr_slots, sizeof(r->steer[0]),
				    r->steer);
	if (err)
		return err;
	r->nr_routes = 0;
	for (__u32 i = 0; i < STATS_ROUTES; i++) {
		if (r->routes[i].name_len > STATS_NAME_MAX)
			r->routes[i].name_len = STATS_NAME_MAX;
		if (r->routes[i].state != STATS_ROUTE_FREE)
			r->nr_routes = i + 1;
	}
	return read_cells(s, r);
}

/* Maps outlive a server that was killed. */
static bool died(const struct top_reading *r)
{
	__u64 seen = r->header.start_ns;

	if (kill((pid_t)r->header.pid, 0) == 0 || errno != ESRCH)
		return false;
	/* Or its process ids are not ours: then its workers go on writing. */
	for (__u32 w = 0; w < r->header.nr_slots; w++)
		if (r->workers[w].seen_ns > seen)
			seen = r->workers[w].seen_ns;
	return r->when_ns - seen > QUIET_NS;
}

static int say_nothing(enum libbpf_print_level level, const char *fmt, va_list args)
{
	(void)level, (void)fmt, (void)args;
	return 0;
}

static void take_tcp(void *arg, __u32 slot, const struct observe_row *row)
{
	struct top_reading *r = arg;

	r->tcp[slot] = *row;
}

enum top_problem top_read(struct top_reading *r, const char *instance, char why[TOP_WHY_LEN])
{
	enum top_problem p;
	struct source s;
	int err;

	libbpf_set_print(say_nothing);
	r->there = false;
	p = find(&s, instance, why);
	if (p)
		return p;
	p = read_header(&s, &r->header, why);
	if (!p) {
		r->when_ns = now_ns();
		err = read_all(&s, r);
		if (err)
			p = problem(TOP_BROKEN, why, "cannot read the maps: %s", strerror(-err));
	}
	close_source(&s);
	if (!p && died(r))
		p = problem(TOP_DIED,
			    why, "the server of the instance %s was killed (pid %u), and left its maps behind",
			    instance, r->header.pid);
	/* None, or not for us: then it is not shown. */
	r->observed = !p && !observe_read(instance, r->header.nr_slots, take_tcp, r);
	(void)guard_read(instance, &r->guard);
	r->there = !p;
	return p;
}

void top_reading_free(struct top_reading *r)
{
	free(r->workers);
	free(r->steer);
	free(r->tcp);
	free(r->cells);
	memset(r, 0, sizeof(*r));
}
