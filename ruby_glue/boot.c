/* SPDX-License-Identifier: MIT */
#include "ruby_glue/internal.h"

#include <assert.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ruby/encoding.h>
#include <ruby/thread.h>
#include <ruby/version.h>

#include "ruby_glue/runtime.h"
#include "ruby_glue/stats.h"
#include "server/log.h"

/* Ruby takes some of these for itself; a stop comes over the control socket instead. */
static const int quiet_signals[] = { SIGINT,  SIGTERM, SIGHUP,  SIGQUIT,
				     SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU };

extern const char glue_rb_hyperion[], glue_rb_hyperion_end[];
extern const char glue_rb_config[], glue_rb_config_end[];
extern const char glue_rb_error_page[], glue_rb_error_page_end[];
extern const char glue_rb_request[], glue_rb_request_end[];
extern const char glue_rb_metrics[], glue_rb_metrics_end[];
extern const char glue_rb_metrics_own[], glue_rb_metrics_own_end[];
extern const char glue_rb_logger[], glue_rb_logger_end[];
extern const char glue_rb_path_templater[], glue_rb_path_templater_end[];
extern const char glue_rb_runtime[], glue_rb_runtime_end[];
extern const char glue_rb_server[], glue_rb_server_end[];
extern const char glue_rb_page_cache[], glue_rb_page_cache_end[];
extern const char glue_rb_trace[], glue_rb_trace_end[];

static const struct glue_source sources[] = {
	{ "hyperion.rb", glue_rb_hyperion, glue_rb_hyperion_end },
	{ "config.rb", glue_rb_config, glue_rb_config_end },
	{ "error_page.rb", glue_rb_error_page, glue_rb_error_page_end },
	{ "request.rb", glue_rb_request, glue_rb_request_end },
	{ "metrics.rb", glue_rb_metrics, glue_rb_metrics_end },
	{ "metrics_own.rb", glue_rb_metrics_own, glue_rb_metrics_own_end },
	{ "path_templater.rb", glue_rb_path_templater, glue_rb_path_templater_end },
	{ "logger.rb", glue_rb_logger, glue_rb_logger_end },
	{ "runtime.rb", glue_rb_runtime, glue_rb_runtime_end },
	{ "server.rb", glue_rb_server, glue_rb_server_end },
	{ "page_cache.rb", glue_rb_page_cache, glue_rb_page_cache_end },
	{ "trace.rb", glue_rb_trace, glue_rb_trace_end },
};

/* There is one Ruby in a process, so there is one of these. */
static struct {
	VALUE module, app; /* registered with the GC */
	struct glue_app settings;
	struct sigaction old_actions[ARRAY_SIZE(quiet_signals)];
	bool booted;
} boot;

VALUE glue_module(void)
{
	return boot.module;
}

VALUE glue_app(void)
{
	return boot.app;
}

const struct glue_app *glue_app_settings(void)
{
	return &boot.settings;
}

/* --- exceptions stop here --- */

struct call {
	const char *method;
	int argc;
	const VALUE *argv;
};

static VALUE do_call(VALUE arg)
{
	const struct call *c = (const struct call *)arg;

	return rb_funcallv(boot.module, rb_intern(c->method), c->argc, c->argv);
}

void glue_report(VALUE error)
{
	const struct call c = { "report", 1, &error };
	int state = 0;

	rb_protect(do_call, (VALUE)&c, &state);
	if (!state)
		return;
	rb_set_errinfo(Qnil);
	fprintf(stderr, "hyperion-bpf: %s that cannot be shown\n", rb_obj_classname(error));
}

int glue_protect(VALUE (*fn)(VALUE arg), VALUE arg, VALUE *result)
{
	VALUE value, error;
	int state = 0;

	value = rb_protect(fn, arg, &state);
	if (state) {
		error = rb_errinfo();
		rb_set_errinfo(Qnil);
		/* A throw or break that nobody catches leaves no exception. */
		if (RB_TEST(rb_obj_is_kind_of(error, rb_eException)))
			glue_report(error);
		else
			fprintf(stderr, "hyperion-bpf: a jump out of the application\n");
		return -1;
	}
	if (result)
		*result = value;
	return 0;
}

int glue_call(VALUE *result, const char *method, int argc, const VALUE *argv)
{
	const struct call c = { method, argc, argv };

	return glue_protect(do_call, (VALUE)&c, result);
}

static VALUE new_string(VALUE text)
{
	return rb_external_str_new_cstr((const char *)text);
}

/* --- signals --- */

static void ignore_signal(int sig)
{
	(void)sig;
}

/* Not SIG_IGN, which the app's children would inherit. */
static void take_signal(int sig, struct sigaction *old)
{
	struct sigaction sa = { .sa_handler = ignore_signal, .sa_flags = SA_RESTART };

	sigemptyset(&sa.sa_mask);
	sigaction(sig, &sa, old);
}

/*
 * Before Ruby starts, so that a Ctrl-C while it does ends in no backtrace: it
 * leaves handlers alone that are not the default ones.
 */
static void take_signals(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(quiet_signals); i++)
		take_signal(quiet_signals[i], NULL);
}

/* Then Ruby's own have to be asked for; children of the app get them back. */
static VALUE learn_signals(VALUE unused)
{
	VALUE mod = rb_const_get(rb_cObject, rb_intern("Signal"));
	sigset_t all, old;

	(void)unused;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (size_t i = 0; i < ARRAY_SIZE(quiet_signals); i++) {
		rb_funcall(mod, rb_intern("trap"), 2, INT2FIX(quiet_signals[i]),
			   rb_str_new_cstr("DEFAULT"));
		take_signal(quiet_signals[i], &boot.old_actions[i]);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return Qnil;
}

void glue_restore_signals(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(quiet_signals); i++)
		sigaction(quiet_signals[i], &boot.old_actions[i], NULL);
}

/* --- start --- */

/*
 * Without a locale, Ruby would take every text for US-ASCII; nobody who starts
 * a server by a bare environment (systemd, a container) means that.
 */
static void choose_locale(void)
{
	static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *value = getenv(names[i]);

		if (value && *value)
			goto set;
	}
	setenv("LC_CTYPE", "C.UTF-8", 1);
set:
	setlocale(LC_CTYPE, "");
}

static VALUE internal_warn(VALUE self, VALUE text)
{
	(void)self;
	log_warn("%s", StringValueCStr(text));
	return Qnil;
}

/* Everything of ours that has to be there before the first line of foreign code. */
static VALUE init_module(VALUE unused)
{
	VALUE hyperion = rb_define_module("Hyperion");

	(void)unused;
	boot.module = rb_define_module_under(hyperion, "Internal");
	rb_gc_register_mark_object(boot.module);
	rb_define_singleton_method(boot.module, "warn", internal_warn, 1);
	rb_define_const(hyperion, "VERSION", rb_obj_freeze(rb_str_new_cstr(HYPERION_VERSION)));
	glue_init_config(boot.module);
	glue_init_runtime(boot.module);
	glue_init_fork(boot.module);
	glue_init_route(boot.module);
	glue_init_server(boot.module);
	glue_init_stats(boot.module);
	/* `require "hyperion"` has happened; the gem of that name is never loaded. */
	rb_provide("hyperion.rb");
	rb_provide("hyperion-rb.rb");
	return Qnil;
}

static VALUE eval_sources(VALUE unused)
{
	VALUE binding = rb_const_get(rb_cObject, rb_intern("TOPLEVEL_BINDING"));

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		const struct glue_source *s = &sources[i];
		VALUE text = rb_utf8_str_new(s->start, s->end - s->start);
		VALUE name = rb_sprintf("<internal:hyperion>/%s", s->name);

		rb_funcall(binding, rb_intern("eval"), 3, text, name, INT2FIX(1));
	}
	return Qnil;
}

/*
 * Runs `ruby -e ""`: RUBYOPT, RUBYLIB, encodings, rubygems and the rest happen
 * as they do for everyone. The words are writable and our own because "$0 ="
 * writes into them; the process's real title belongs to the server.
 */
static int run_options(const char *name)
{
	static char words[4096];
	static char *argv[4];
	int status = 0;
	size_t len;
	void *node;

	len = min(strlen(name), sizeof(words) - 16);
	memcpy(words, name, len);
	argv[0] = words;
	argv[1] = words + len + 1;
	memcpy(argv[1], "-e", 3);
	argv[2] = argv[1] + 3;
	node = ruby_options(3, argv);
	if (!ruby_executable_node(node, &status))
		return -1;
	return ruby_exec_node(node) ? -1 : 0;
}

int glue_boot(int argc, char **argv, const char *rackup)
{
	const char *name = argc > 0 ? argv[0] : "hyperion-bpf";
	VALUE path;

	assert(!boot.booted);
	boot.booted = true;
	boot.app = Qnil;
	choose_locale();
	take_signals();
	ruby_sysinit(&argc, &argv);
	/* On Linux Ruby looks up the stack's real end itself: our callers' frames are scanned too. */
	RUBY_INIT_STACK;
	if (ruby_setup()) {
		fprintf(stderr, "hyperion-bpf: Ruby does not start\n");
		return -1;
	}
	rb_gc_register_address(&boot.app);
	if (glue_protect(learn_signals, Qnil, NULL) || glue_protect(init_module, Qnil, NULL) ||
	    run_options(name))
		return -1;
	ruby_script(name);
	if (glue_protect(eval_sources, Qnil, NULL) ||
	    glue_protect(new_string, (VALUE)rackup, &path) || glue_call(NULL, "boot", 1, &path))
		return -1;
	return 0;
}

const char *glue_ruby_version(void)
{
	return ruby_version;
}

/* --- the app --- */

int glue_load_app(const struct glue_app *app)
{
	VALUE argv[2];

	boot.settings = *app;
	boot.settings.rackup = strdup(app->rackup);
	boot.settings.environment = strdup(app->environment);
	if (!boot.settings.rackup || !boot.settings.environment)
		return -1;
	if (glue_protect(new_string, (VALUE)app->rackup, &argv[0]) ||
	    glue_protect(new_string, (VALUE)app->environment, &argv[1]))
		return -1;
	return glue_call(&boot.app, "load_app", 2, argv);
}

int glue_worker_boot(u32 index)
{
	VALUE nr = UINT2NUM(index);

	return glue_call(NULL, "worker_boot", 1, &nr);
}

int glue_worker_shutdown(u32 index)
{
	VALUE nr = UINT2NUM(index);

	return glue_call(NULL, "worker_shutdown", 1, &nr);
}

int glue_end(int status)
{
	/* Its argument is no exit status; an at_exit handler that calls exit has the last word. */
	int ended = ruby_cleanup(0);

	return ended ? ended : status;
}
