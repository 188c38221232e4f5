/* SPDX-License-Identifier: MIT */
#include "server/pidfile.h"

#include <stdio.h>
#include <unistd.h>

#include "server/log.h"

int pidfile_write(const char *path)
{
	FILE *f = fopen(path, "we");
	int err = 0;

	if (!f || fprintf(f, "%d\n", (int)getpid()) < 0)
		err = -errno;
	if (f && fclose(f) && !err)
		err = -errno;
	if (err)
		log_error("supervisor: --pidfile %s: %s", path, strerror(-err));
	return err;
}

void pidfile_remove(const char *path)
{
	FILE *f = fopen(path, "re");
	int pid = 0;

	if (!f)
		return;
	if (fscanf(f, "%d", &pid) == 1 && pid == (int)getpid())
		unlink(path);
	fclose(f);
}
