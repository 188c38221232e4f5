/* SPDX-License-Identifier: MIT */
#include "selftests/ruby/rack_bed_parts.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ruby_glue/glue.h"

/* tools/deps has installed the gems there; HYPERION_GEMS names another place. */
void choose_gems(bool rack_2)
{
	const char *gems = getenv("HYPERION_GEMS");
	char pattern[512], path[4096] = "";
	glob_t found;

	if (!gems)
		gems = "build/bundle";
	if (rack_2) {
		setenv("BUNDLE_GEMFILE", "selftests/apps/rack2/Gemfile", 1);
		setenv("BUNDLE_PATH", realpath(gems, path) ? path : gems, 1);
		return;
	}
	snprintf(pattern, sizeof(pattern), "%s/ruby/*", gems);
	if (glob(pattern, 0, NULL, &found) == 0) {
		setenv("GEM_PATH", realpath(found.gl_pathv[0], path) ? path : "", 1);
		globfree(&found);
	}
}

int load_app(const struct bed_setup *setup, int pipe_fd)
{
	char folder[] = "/tmp/rack_bed.XXXXXX", path[64], name[] = "rack_bed", fd[16];
	char *argv[] = { name, NULL };
	struct glue_app settings = {
		.rackup = path,
		.environment = setup->lint ? "development" : "production",
		.inline_io = setup->nr_threads == 0,
		.multithread = setup->nr_threads > 1,
		.default_port = 80,
	};
	FILE *f;
	int err;

	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/config.ru", folder);
	f = fopen(path, "w");
	fputs(setup->app, f);
	fclose(f);
	snprintf(fd, sizeof(fd), "%d", pipe_fd);
	setenv("BED_FD", fd, 1);
	err = glue_boot(1, argv, path) || glue_load_app(&settings);
	unlink(path);
	rmdir(folder);
	return err;
}
