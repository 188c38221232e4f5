/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "server/conf.h"
#include "server/supervisor.h"

static int check(const struct conf *conf)
{
	bool uring;

	if (supervisor_pick_backend(conf, &uring))
		return 1;
	for (u32 b = 0; b < conf->nr_binds; b++)
		printf("bind %s\n", conf->binds[b].text);
	printf("workers %u\nloop %s\nsettings are right\n", conf->nr_workers,
	       uring ? "io_uring" : "epoll");
	return 0;
}

int main(int argc, char **argv)
{
	static struct conf conf; /* outlives main's frames: workers are forked below it */
	int action = conf_read(&conf, argc, argv);

	if (action < 0)
		return 2;
	if (action == CONF_EXIT)
		return 0;
	return action == CONF_CHECK ? check(&conf) : supervisor_run(&conf);
}
