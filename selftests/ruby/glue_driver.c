// SPDX-License-Identifier: MIT
/*
 * Drives ruby_glue/ as a script of words says, so that tests in Ruby can look
 * at what comes out:
 *
 *	glue_driver boot config.ru config hyperion.rb load config.ru production end 0
 *
 * It goes through the steps; the first that fails ends it with status 1 (2 for
 * a config file). Lines of its own start with "> ".
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ruby_glue/internal.h"
#include "server/conf.h"

#define SAY(...)                                                                                   \
	do {                                                                                       \
		printf("> " __VA_ARGS__);                                                          \
		putchar('\n');                                                                     \
		fflush(stdout);                                                                    \
	} while (0)

const char *__lsan_default_suppressions(void);
/* Ruby leaves most of its memory to the end of the process. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libruby\n";
}

struct steps {
	char **words; /* the next one */
	pid_t supervisor;
	int cleaned_fd;
	bool in_worker, booted;
	VALUE held; /* on main()'s stack, above every frame of ours */
};

static const char *word(struct steps *s)
{
	if (!*s->words) {
		fprintf(stderr, "glue_driver: a word is missing\n");
		exit(3);
	}
	return *s->words++;
}

/* The server's own rules. */
static const char *take_setting(void *arg, const char *key, const char *value)
{
	const char *why = conf_check_setting(key, value);

	(void)arg;
	if (!why)
		SAY("set %s=%s", key, value);
	return why;
}

static int step_boot(struct steps *s)
{
	static char name[] = "hyperion-bpf";
	char *argv[] = { name, NULL };

	if (glue_boot(1, argv, word(s)))
		return -1;
	s->booted = true;
	return 0;
}

static int step_config(struct steps *s)
{
	return glue_read_config(word(s), take_setting, s) ? -2 : 0;
}

static int step_load(struct steps *s)
{
	struct glue_app app = { .default_port = 9292 };
	int err;

	app.rackup = word(s);
	app.environment = word(s);
	err = glue_load_app(&app);
	if (!err)
		SAY("loaded");
	return err;
}

/* Code sees the app as APP. */
static int step_ruby(struct steps *s)
{
	int state = 0;

	if (!NIL_P(glue_app()))
		rb_define_global_const("APP", glue_app());
	rb_eval_string_protect(word(s), &state);
	if (state) {
		glue_report(rb_errinfo());
		rb_set_errinfo(Qnil);
	}
	fflush(stdout);
	return state ? -1 : 0;
}

/* The process goes on as the mold; its parent reaps what becomes an orphan. */
static int step_supervise(struct steps *s)
{
	int status, mold_status = 0;
	pid_t mold, pid;

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	s->supervisor = getpid();
	fflush(NULL);
	mold = fork();
	if (mold == 0)
		return 0;
	while ((pid = wait(&status)) > 0) {
		if (pid == mold)
			mold_status = status;
		SAY("%s ended with %d", pid == mold ? "mold" : "worker", WEXITSTATUS(status));
	}
	exit(WEXITSTATUS(mold_status));
}

/* The worker goes on with the next words, the mold with those after the word "mold". */
static int step_fork(struct steps *s)
{
	int ret = glue_fork();
	struct pollfd none = { .fd = -1 };
	siginfo_t info;

	if (ret < 0)
		return -1;
	if (ret == 0) {
		s->in_worker = true;
		/* The process in between may take a moment to end. */
		for (int i = 0; i < 500 && getppid() != s->supervisor; i++)
			poll(&none, 1, 10);
		SAY("worker of the %s", getppid() == s->supervisor ? "supervisor" : "mold");
		return 0;
	}
	/* WNOWAIT: a child of the app's stays to be reaped by the app. */
	SAY("mold has %s children",
	    waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == -1 ? "no" : "some");
	while (*s->words && strcmp(*s->words, "mold"))
		s->words++;
	return 0;
}

/* Where the mold goes on; a worker that comes here is done. */
static int step_mold(struct steps *s)
{
	if (s->in_worker)
		exit(glue_end(0));
	return 0;
}

static void cleanup(void *arg)
{
	struct steps *s = arg;

	close(s->cleaned_fd);
}

/* A descriptor that forks of the app must not keep; $KEPT is its number. */
static int step_cleanup(struct steps *s)
{
	char text[16];
	int fds[2];

	if (pipe(fds))
		return -1;
	s->cleaned_fd = fds[0];
	snprintf(text, sizeof(text), "%d", fds[0]);
	setenv("KEPT", text, 1);
	glue_set_fork_cleanup(cleanup, s);
	return 0;
}

static int step_raise(struct steps *s)
{
	static const int signals[] = { SIGINT,  SIGTERM, SIGHUP,  SIGQUIT,
				       SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU };

	(void)s;
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		raise(signals[i]);
	SAY("survived %zu signals", ARRAY_SIZE(signals));
	return 0;
}

/* Waits for a descriptor that Ruby code has put into $WAIT. */
static int step_wait(struct steps *s)
{
	(void)s;
	glue_wait_readable(atoi(getenv("WAIT")));
	SAY("readable");
	return 0;
}

static int step_before_fork(struct steps *s)
{
	(void)s;
	return glue_before_fork();
}

/* Something that only main()'s frame knows of. */
static VALUE make_held(VALUE arg)
{
	struct steps *s = (struct steps *)arg;

	s->held = rb_sprintf("kept on the %s, and long enough to need memory of its own", "stack");
	return Qnil;
}

static int step_hold(struct steps *s)
{
	return glue_protect(make_held, (VALUE)s, NULL);
}

static int step_held(struct steps *s)
{
	SAY("held: %.*s", 17, RSTRING_PTR(s->held));
	return 0;
}

static int step_worker_boot(struct steps *s)
{
	return glue_worker_boot((u32)atoi(word(s)));
}

static int step_worker_shutdown(struct steps *s)
{
	return glue_worker_shutdown((u32)atoi(word(s)));
}

static int step_end(struct steps *s)
{
	exit(glue_end(atoi(word(s))));
}

static const struct {
	const char *name;
	int (*run)(struct steps *s);
} verbs[] = {
	{ "boot", step_boot },
	{ "config", step_config },
	{ "load", step_load },
	{ "ruby", step_ruby },
	{ "supervise", step_supervise },
	{ "before_fork", step_before_fork },
	{ "fork", step_fork },
	{ "mold", step_mold },
	{ "cleanup", step_cleanup },
	{ "raise", step_raise },
	{ "wait", step_wait },
	{ "hold", step_hold },
	{ "held", step_held },
	{ "worker_boot", step_worker_boot },
	{ "worker_shutdown", step_worker_shutdown },
	{ "end", step_end },
};

int main(int argc, char **argv)
{
	struct steps s = { .words = argv + 1, .cleaned_fd = -1 };

	(void)argc;
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (*s.words) {
		const char *name = word(&s);
		size_t i = 0;
		int err;

		while (i < ARRAY_SIZE(verbs) && strcmp(verbs[i].name, name))
			i++;
		if (i == ARRAY_SIZE(verbs)) {
			fprintf(stderr, "glue_driver: %s is no step\n", name);
			return 3;
		}
		err = verbs[i].run(&s);
		if (err)
			return s.booted ? glue_end(-err) : -err;
	}
	return s.booted ? glue_end(0) : 0;
}
