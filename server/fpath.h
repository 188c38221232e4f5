/* SPDX-License-Identifier: MIT */
/*
 * From the path of a request to a file below a folder, and never out of it.
 * Percent escapes are decoded once; what could mean something else to
 * somebody else (an encoded slash, NUL, "..", an empty segment, a hidden
 * name) is no path at all.
 */
#ifndef HYPERION_SERVER_FPATH_H
#define HYPERION_SERVER_FPATH_H

#include "server/base.h"

#define FPATH_MAX 1024u /* decoded, with a NUL */

/*
 * @raw is what follows a tree's prefix: empty, or with a leading slash. @out
 * is @raw itself where nothing is encoded, else in @room. -ENOENT: malformed
 * or too long.
 */
int fpath_decode(struct view raw, char room[FPATH_MAX], struct view *out) __must_check;

/*
 * Does every segment of a decoded path name something that may be served?
 * Hidden is what begins with a dot, but for a first segment ".well-known"
 * (RFC 8615). The last segment may be empty: a folder.
 */
bool fpath_allowed(struct view path);

/* A descriptor for fpath_open() and fstatat(), or -errno. */
int fpath_open_root(const char *dir) __must_check;

/*
 * A regular file or a folder at @path (relative, NUL-terminated, allowed)
 * for reading, never waiting; symbolic links are followed within the root.
 * -ENOENT for everything else that there may be; another -errno when the
 * process has a problem (descriptors, memory, the disk).
 */
int fpath_open(int root, const char *path) __must_check;

/* The same for names that are trusted: symbolic links may lead anywhere. */
int fpath_open_any(int root, const char *path) __must_check;

/* For tests: as if the kernel had no openat2(); then symbolic links are not followed. */
int fpath_open_portable(int root, const char *path) __must_check;

#endif
