/* SPDX-License-Identifier: MIT */
/* Folders into the cache before anybody asks. */
#include <fts.h>
#include <limits.h>
#include <unistd.h>

#include "server/clock.h"
#include "server/fail.h"
#include "server/front.h"
#include "server/log.h"

/* "a.js.gz" beside "a.js" is a coding of that one, and comes with it. */
static bool is_sibling(const FTSENT *e)
{
	struct view path = { e->fts_path, e->fts_pathlen };
	char base[4096];
	struct stat st;

	for (int c = CODING_IDENTITY + 1; c < NR_CODINGS; c++) {
		size_t len = strlen(coding_suffixes[c]);

		if (path.len <= len || path.len - len >= sizeof(base) ||
		    memcmp(path.p + path.len - len, coding_suffixes[c], len) != 0)
			continue;
		memcpy(base, path.p, path.len - len);
		base[path.len - len] = '\0';
		return stat(base, &st) == 0 && S_ISREG(st.st_mode);
	}
	return false;
}

static int take_file(struct front *f, const FTSENT *e, bool immutable, struct preload *p)
{
	u64 bytes = (u64)e->fts_statp->st_size;
	int err;

	if (is_sibling(e))
		return 0;
	err = front_cache(f, (struct view){ e->fts_path, e->fts_pathlen }, immutable, &bytes);
	if (!err) {
		p->nr_files++;
		p->bytes += bytes;
	} else if (err == -ENOSPC) {
		p->nr_left_out++;
	} else if (err == -ETIMEDOUT || err == -ESHUTDOWN || err == -ENOMEM) {
		return err;
	}
	return 0; /* hidden, unreadable, or gone meanwhile: it is not served either */
}

/* As the app would name it: links in it stay as they are. */
static int make_absolute(const char *dir, char out[PATH_MAX])
{
	size_t len = strlen(dir), at = 0;

	if (dir[0] != '/') {
		if (!getcwd(out, PATH_MAX - 1))
			return -errno;
		at = strlen(out);
		out[at++] = '/';
	}
	while (len > 1 && dir[len - 1] == '/')
		len--;
	if (at + len >= PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(out + at, dir, len);
	out[at + len] = '\0';
	return 0;
}

int front_preload(struct front *f, const char *dir, bool immutable,
		  void (*progress)(const char *dir, const struct preload *p), struct preload *out)
{
	char room[PATH_MAX], *const paths[] = { room, NULL };
	u64 start = monotonic_ns(), said = start;
	FTSENT *e;
	int err = 0;
	FTS *fts;

	*out = (struct preload){ 0 };
	err = make_absolute(dir, room);
	if (err)
		return err;
	fts = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_COMFOLLOW, NULL);
	if (!fts)
		return -errno;
	while (!err && (e = fts_read(fts))) {
		u64 now = monotonic_ns();

		if (e->fts_level == 0 && e->fts_info != FTS_D && e->fts_info != FTS_DP)
			err = e->fts_errno ? -e->fts_errno : -ENOTDIR;
		else if (e->fts_info == FTS_F)
			err = take_file(f, e, immutable, out);
		out->ns = now - start;
		if (progress && now - said >= NSEC_PER_SEC) {
			said = now;
			progress(dir, out);
		}
	}
	out->ns = monotonic_ns() - start;
	fts_close(fts);
	return err;
}

static void say_progress(const char *dir, const struct preload *p)
{
	log_info("static: preloading dir=%s files=%u bytes=%llu ms=%llu", dir, p->nr_files,
		 (unsigned long long)p->bytes, (unsigned long long)(p->ns / NSEC_PER_MSEC));
}

int front_preload_logged(struct front *f, const char *dir, bool immutable, struct preload *out)
{
	int err = front_preload(f, dir, immutable, say_progress, out);

	if (err) {
		log_warn("static: preload skipped: %s dir=%s", strerror(-err), dir);
		return err;
	}
	log_info("static: preloaded dir=%s files=%u bytes=%llu ms=%.1f", dir, out->nr_files,
		 (unsigned long long)out->bytes, (double)out->ns / (double)NSEC_PER_MSEC);
	if (out->nr_left_out)
		log_warn("static: the cache is full: files are left out dir=%s left_out=%u", dir,
			 out->nr_left_out);
	return 0;
}
