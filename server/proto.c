/* SPDX-License-Identifier: MIT */
#include "server/proto.h"

#include "server/job.h"

void link_close(struct link *l)
{
	struct hijack *hijack = l->hijack;

	l->hijack = NULL;
	l->proto->close(l);
	outq_drop(&l->out);
	if (hijack)
		hijack_done(hijack, -1, NULL, 0);
}
