/* SPDX-License-Identifier: MIT */
#include "tools/top_screen.h"

#include <curses.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/top_draw.h"

struct session {
	struct top_screen screen;
	struct top_model *model;
	struct top_reading readings[2];
	int at; /* the newer one */
	char why[TOP_WHY_LEN];
	bool quit;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Sorted and filtered anew, from the same readings. */
static void update(struct session *x)
{
	struct top_reading *r = x->readings;

	if (!x->screen.problem && top_update(x->model, &r[x->at], &r[!x->at])) {
		snprintf(x->why, sizeof(x->why), "out of memory");
		x->screen.problem = x->why;
	}
}

static void read_again(struct session *x)
{
	bool fresh = x->screen.problem;

	x->at = !x->at;
	if (top_read(&x->readings[x->at], x->screen.instance, x->why)) {
		x->screen.problem = x->why;
		return;
	}
	/* The other one is from before it went away. */
	if (fresh)
		x->readings[!x->at].there = false;
	x->screen.problem = NULL;
	update(x);
	if (!x->screen.problem && x->readings[!x->at].there)
		top_draw_note(&x->screen, x->model->rate);
}

static void edit_filter(struct session *x, int key)
{
	char *filter = x->model->filter;
	size_t len = strlen(filter);

	if (key == '\n' || key == KEY_ENTER)
		x->screen.typing = false;
	else if (key == 27)
		x->screen.typing = false, filter[0] = '\0';
	else if ((key == KEY_BACKSPACE || key == 127 || key == 8) && len)
		filter[len - 1] = '\0';
	else if (key >= 0x20 && key < 0x7f && len + 1 < sizeof(x->model->filter))
		filter[len] = (char)key, filter[len + 1] = '\0';
	update(x);
}

static void main_key(struct session *x, int key)
{
	struct top_screen *s = &x->screen;
	struct top_model *m = x->model;

	switch (key) {
	case KEY_UP:
	case 'k':
		top_draw_move(s, -1);
		break;
	case KEY_DOWN:
	case 'j':
		top_draw_move(s, 1);
		break;
	case KEY_PPAGE:
		top_draw_move(s, -(int)s->page);
		break;
	case KEY_NPAGE:
		top_draw_move(s, (int)s->page);
		break;
	case '\n':
	case KEY_ENTER:
		if (top_draw_selected(s))
			s->view = TOP_VIEW_ROUTE;
		break;
	case 's':
		m->sort = (enum top_sort)((m->sort + 1) % NR_TOP_SORTS);
		break;
	case 'S':
		m->sort = (enum top_sort)((m->sort + NR_TOP_SORTS - 1) % NR_TOP_SORTS);
		break;
	case 'r':
		m->reversed = !m->reversed;
		break;
	case '/':
		s->typing = true;
		break;
	case 'w':
		s->view = TOP_VIEW_WORKERS;
		break;
	default:
		break;
	}
	update(x);
}

static void take_key(struct session *x, int key)
{
	struct top_screen *s = &x->screen;

	if (s->typing && key != KEY_RESIZE) {
		edit_filter(x, key);
		return;
	}
	switch (key) {
	case 'q':
		x->quit = true;
		return;
	case 'p':
	case ' ':
		s->paused = !s->paused;
		return;
	case '+':
		s->interval = s->interval < 60 ? s->interval * 2 : s->interval;
		return;
	case '-':
		s->interval = s->interval > 0.2 ? s->interval / 2 : s->interval;
		return;
	case '?':
	case 'h':
		s->view = s->view == TOP_VIEW_HELP ? TOP_VIEW_MAIN : TOP_VIEW_HELP;
		return;
	case KEY_RESIZE:
		return;
	default:
		break;
	}
	if (s->problem)
		return;
	if (s->view == TOP_VIEW_MAIN)
		main_key(x, key);
	else if (s->view == TOP_VIEW_ROUTE && key == 't')
		s->time = (enum stats_time)((s->time + 1) % NR_STATS_TIMES);
	else
		s->view = TOP_VIEW_MAIN;
}

static void run(struct session *x)
{
	double next = now();

	while (!x->quit) {
		double left = next - now();
		int key;

		if (left <= 0) {
			if (!x->screen.paused)
				read_again(x);
			/* Not more often than this, however long a reading takes. */
			next = now() + x->screen.interval;
			left = x->screen.interval;
		}
		top_draw(&x->screen);
		timeout((int)(left * 1000) + 1);
		key = getch();
		if (key != ERR)
			take_key(x, key);
	}
}

int top_screen_run(const char *instance, double interval)
{
	struct session *x = calloc(1, sizeof(*x));

	if (!x)
		return 1;
	x->model = calloc(1, sizeof(*x->model));
	if (!x->model) {
		free(x);
		return 1;
	}
	x->screen.model = x->model;
	x->screen.instance = instance;
	x->screen.interval = interval;
	x->screen.problem = "reading ...";
	top_draw_begin(&x->screen);
	run(x);
	top_draw_end();
	top_reading_free(&x->readings[0]);
	top_reading_free(&x->readings[1]);
	top_model_free(x->model);
	free(x->model);
	free(x);
	return 0;
}
