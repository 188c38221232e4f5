/* SPDX-License-Identifier: MIT */
#include "server/cgroup.h"

#include <stdio.h>
#include <stdlib.h>

/* Where cgroup2 is mounted: not the same place everywhere. */
static bool find_mount(char *mount, size_t room)
{
	FILE *f = fopen("/proc/self/mounts", "re");
	char line[1024], dir[512], type[64];
	bool found = false;

	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %511s %63s", dir, type) == 2 && strcmp(type, "cgroup2") == 0)
			found = (size_t)snprintf(mount, room, "%s", dir) < room;
	fclose(f);
	return found;
}

/* The path of our group below the mount: the line "0::/path". */
static bool find_path(char *path, size_t room)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[1024];
	bool found = false;

	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "0::", 3) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		found = (size_t)snprintf(path, room, "%s", line + 3) < room;
	}
	fclose(f);
	return found;
}

static u32 read_quota(const char *file)
{
	FILE *f = fopen(file, "re");
	unsigned long long quota, period;
	u32 n = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%llu %llu", &quota, &period) == 2 && period) /* "max ..." gives 0 */
		n = (u32)max((quota + period - 1) / period, 1ull);
	fclose(f);
	return n;
}

u32 cgroup_cpu_count(void)
{
	char mount[512], path[768], file[1400];
	u32 best = 0;

	if (!find_mount(mount, sizeof(mount)) || !find_path(path, sizeof(path)))
		return 0;
	for (;;) {
		char *slash;
		u32 n;

		snprintf(file, sizeof(file), "%s%s/cpu.max", mount, path);
		n = read_quota(file);
		if (n && (!best || n < best))
			best = n;
		slash = strrchr(path, '/');
		if (!slash)
			return best;
		*slash = '\0';
	}
}
