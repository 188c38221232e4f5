/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the hand-over share: app.c (the rings) and app_lead.c (who
 * leads, who sleeps). Nobody else includes it.
 */
#ifndef HYPERION_SERVER_APP_STATE_H
#define HYPERION_SERVER_APP_STATE_H

#include <pthread.h>

#include "server/app.h"

/*
 * app.lead: the name of the leading thread, or one of these. Whoever it names
 * is awake, and before it sleeps it takes its name out and looks into the queue.
 * So what is pushed while lead is not LEAD_NONE is seen by somebody; what is
 * pushed later finds LEAD_NONE, and app_submit() wakes a thread. A leader that
 * blocks keeps the lead until app_before_wait() gives it to a spare.
 */
#define LEAD_NONE 0ull
#define LEAD_WOKEN 1ull /* a thread is on its way; beside a name the bit means nothing */

/* The calling thread's name: an address, so neither LEAD_NONE nor LEAD_WOKEN. */
static inline u64 app_self(void)
{
	return (u64)pthread_self();
}

static inline bool app_leads(u64 lead, u64 who)
{
	return (lead & ~LEAD_WOKEN) == who;
}

/* --- app_lead.c --- */

/* One idle thread less; false when there is none. */
bool app_take_idle(struct app *a);

/* After app_take_idle(): one token, for whichever idle thread is first. */
void app_post_token(struct app *a, u32 nr);

/* The calling thread will not look any more: if it leads, nobody does, and what is queued wakes another. */
void app_leave(struct app *a);

#endif
