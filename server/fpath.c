/* SPDX-License-Identifier: MIT */
#include "server/fpath.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Never waits for a fifo, never becomes our terminal. */
#define OPEN_FLAGS (O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)ascii_lower((u8)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int fpath_decode(struct view raw, char room[FPATH_MAX], struct view *out)
{
	size_t n = 0;

	if (raw.len >= FPATH_MAX * 3)
		return -ENOENT;
	if (!raw.len || !memchr(raw.p, '%', raw.len)) {
		*out = raw;
		return raw.len < FPATH_MAX ? 0 : -ENOENT;
	}
	for (size_t i = 0; i < raw.len; i++) {
		char c = raw.p[i];

		if (n == FPATH_MAX - 1)
			return -ENOENT;
		if (c == '%') {
			int high, low;

			if (raw.len - i < 3)
				return -ENOENT;
			high = hex(raw.p[i + 1]);
			low = hex(raw.p[i + 2]);
			if (high < 0 || low < 0)
				return -ENOENT;
			c = (char)(high << 4 | low);
			if (c == '\0' || c == '/')
				return -ENOENT;
			i += 2;
		}
		room[n++] = c;
	}
	*out = (struct view){ room, n };
	return 0;
}

bool fpath_allowed(struct view path)
{
	const char *p = path.p, *end = path.p + path.len;

	if (path.len == 0)
		return true;
	if (*p != '/' || memchr(path.p, '\0', path.len))
		return false;
	while (p < end) {
		const char *start = ++p; /* behind the slash */
		struct view segment;

		while (p < end && *p != '/')
			p++;
		segment = (struct view){ start, (size_t)(p - start) };
		if (!segment.len)
			return p == end;
		if (segment.p[0] == '.' &&
		    !(start == path.p + 1 && view_eq(segment, VIEW(".well-known"))))
			return false;
	}
	return true;
}

int fpath_open_root(const char *dir)
{
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* One segment after the other; a symbolic link on the way is not followed. */
int fpath_open_portable(int root, const char *path)
{
	int at = root, err;

	for (;;) {
		size_t len = strcspn(path, "/");
		bool last = path[len] == '\0' || path[len + 1] == '\0';
		char name[256];
		int fd;

		if (len >= sizeof(name)) {
			err = ENAMETOOLONG;
			break;
		}
		memcpy(name, path, len);
		name[len] = '\0';
		fd = openat(at, name,
			    O_NOFOLLOW | (last ? OPEN_FLAGS : O_PATH | O_DIRECTORY | O_CLOEXEC));
		err = errno;
		if (fd >= 0 && last) {
			if (at != root)
				close(at);
			return fd;
		}
		if (fd < 0)
			break;
		if (at != root)
			close(at);
		at = fd;
		path += len + 1;
	}
	if (at != root)
		close(at);
	return -err;
}

static int open_beneath(int root, const char *path)
{
	struct open_how how = {
		.flags = OPEN_FLAGS,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	/* EAGAIN: something was renamed meanwhile, and it cannot tell whether that led out. */
	for (int i = 0; i < 8; i++) {
		fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	if (fd >= 0)
		return (int)fd;
	/* Old kernels, and containers whose filter does not know it. */
	if (errno == ENOSYS || errno == EPERM)
		return fpath_open_portable(root, path);
	return -errno;
}

static bool is_servable(mode_t mode)
{
	return S_ISREG(mode) || S_ISDIR(mode);
}

static int open_servable(int root, const char *path, int (*open_at)(int root, const char *path))
{
	struct stat st;
	int fd;

	/* Before opening it: to open a device can have effects. */
	if (fstatat(root, path, &st, 0) == 0 && !is_servable(st.st_mode))
		return -ENOENT;
	fd = open_at(root, path);
	if (fd >= 0) {
		if (fstat(fd, &st) == 0 && is_servable(st.st_mode))
			return fd;
		close(fd);
		return -ENOENT;
	}
	switch (fd) {
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
	case -EIO:
		return fd;
	default:
		return -ENOENT;
	}
}

int fpath_open(int root, const char *path)
{
	return open_servable(root, path, open_beneath);
}

static int open_any(int root, const char *path)
{
	int fd = openat(root, path, OPEN_FLAGS);

	return fd < 0 ? -errno : fd;
}

int fpath_open_any(int root, const char *path)
{
	return open_servable(root, path, open_any);
}
