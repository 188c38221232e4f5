/* SPDX-License-Identifier: MIT */
/* What hyperion-top shows on a terminal. Draws a model; reads nothing by itself. */
#ifndef HYPERION_TOOLS_TOP_DRAW_H
#define HYPERION_TOOLS_TOP_DRAW_H

#include "tools/top_model.h"

enum top_view {
	TOP_VIEW_MAIN, /* routes, and below them some workers */
	TOP_VIEW_WORKERS,
	TOP_VIEW_ROUTE, /* one route: its times and their histogram */
	TOP_VIEW_HELP,
};

#define TOP_HISTORY 256

struct top_screen {
	struct top_model *model;
	const char *instance;
	const char *problem; /* NULL: the model is there to be shown */
	enum top_view view;
	bool paused, typing; /* typing: the filter is being edited */
	bool plain; /* a terminal without UTF-8: ASCII bars */
	double interval;
	/* The route under the bar, by its name: rows move. */
	__u32 selected_hash;
	__u8 selected_method;
	__u32 selected; /* its row */
	__u32 first; /* row at the top */
	__u32 page; /* rows of routes that fit */
	enum stats_time time; /* of the histogram */
	double history[TOP_HISTORY]; /* requests per second, newest last */
	__u32 nr_history;
};

void top_draw_begin(struct top_screen *s);
void top_draw_end(void);

void top_draw(struct top_screen *s);

/* A reading more, for the line of the past. */
void top_draw_note(struct top_screen *s, double rate);

/* The bar goes @by rows up or down. */
void top_draw_move(struct top_screen *s, int by);

/* The route under the bar, NULL if there is none. */
const struct top_route *top_draw_selected(const struct top_screen *s);

#endif
