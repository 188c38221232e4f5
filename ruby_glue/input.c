/* SPDX-License-Identifier: MIT */
#include "ruby_glue/input.h"

#include <fcntl.h>
#include <unistd.h>

#include <ruby/encoding.h>
#include <ruby/io.h>

static struct {
	VALUE empty, string_io;
	ID id_new, id_for_fd, id_close, id_closed;
} input;

/* --- a body without bytes: has no state, so there is one --- */

static VALUE empty_read(int argc, VALUE *argv, VALUE self)
{
	long len = argc > 0 && !NIL_P(argv[0]) ? NUM2LONG(argv[0]) : 0;

	rb_check_arity(argc, 0, 2);
	if (len < 0)
		rb_raise(rb_eArgError, "negative length %ld given", len);
	if (argc == 2 && !NIL_P(argv[1])) {
		StringValue(argv[1]);
		rb_str_resize(argv[1], 0);
	}
	if (len > 0)
		return Qnil;
	return argc == 2 && !NIL_P(argv[1]) ? argv[1] : rb_str_new(NULL, 0);
}

static VALUE empty_eof_error(int argc, VALUE *argv, VALUE self)
{
	rb_eof_error();
	return Qnil;
}

static VALUE empty_nil(int argc, VALUE *argv, VALUE self)
{
	return Qnil;
}

static VALUE empty_self(int argc, VALUE *argv, VALUE self)
{
	return self;
}

static VALUE empty_zero(int argc, VALUE *argv, VALUE self)
{
	return INT2FIX(0);
}

static VALUE empty_true(VALUE self)
{
	return Qtrue;
}

static VALUE empty_false(VALUE self)
{
	return Qfalse;
}

static VALUE empty_encoding(VALUE self)
{
	return rb_enc_from_encoding(rb_ascii8bit_encoding());
}

static void define_empty(void)
{
	static const char *const nils[] = { "gets", "close", "getc", "getbyte" };
	static const char *const selves[] = { "each", "each_line", "binmode", "set_encoding" };
	static const char *const zeros[] = { "rewind", "size", "length", "pos", "tell", "seek" };
	static const char *const eofs[] = { "readpartial", "read_nonblock", "readline" };
	VALUE class = rb_define_class_under(rb_define_module("Hyperion"), "EmptyInput", rb_cObject);

	for (size_t i = 0; i < ARRAY_SIZE(nils); i++)
		rb_define_method(class, nils[i], empty_nil, -1);
	for (size_t i = 0; i < ARRAY_SIZE(selves); i++)
		rb_define_method(class, selves[i], empty_self, -1);
	for (size_t i = 0; i < ARRAY_SIZE(zeros); i++)
		rb_define_method(class, zeros[i], empty_zero, -1);
	for (size_t i = 0; i < ARRAY_SIZE(eofs); i++)
		rb_define_method(class, eofs[i], empty_eof_error, -1);
	rb_define_method(class, "read", empty_read, -1);
	rb_define_method(class, "eof?", empty_true, 0);
	rb_define_method(class, "eof", empty_true, 0);
	rb_define_method(class, "closed?", empty_false, 0);
	rb_define_method(class, "external_encoding", empty_encoding, 0);
	input.empty = rb_obj_alloc(class);
	rb_gc_register_mark_object(input.empty);
}

/* --- the kinds --- */

void glue_input_init(void)
{
	/* After the app has chosen its gems: stringio may be one of them. */
	rb_require("stringio");
	input.string_io = rb_const_get(rb_cObject, rb_intern("StringIO"));
	rb_gc_register_mark_object(input.string_io);
	input.id_new = rb_intern("new");
	input.id_for_fd = rb_intern("for_fd");
	input.id_close = rb_intern("close");
	input.id_closed = rb_intern("closed?");
	define_empty();
}

VALUE glue_input_empty(void)
{
	return input.empty;
}

/* A descriptor of its own: the job's is the I/O thread's, and closed by it. */
static VALUE new_file(int body_fd)
{
	int fd = fcntl(body_fd, F_DUPFD_CLOEXEC, 0);
	VALUE argv[2];

	if (fd < 0)
		rb_sys_fail("rack.input");
	if (lseek(fd, 0, SEEK_SET) < 0) {
		close(fd);
		rb_sys_fail("rack.input");
	}
	argv[0] = INT2NUM(fd);
	argv[1] = rb_str_new_cstr("rb");
	return rb_funcallv(rb_cFile, input.id_for_fd, 2, argv);
}

VALUE glue_input_new(const struct job *job)
{
	VALUE bytes;

	if (!job->body)
		return new_file(job->body_fd);
	bytes = rb_str_new(job->body, (long)job->body_len);
	return rb_funcallv(input.string_io, input.id_new, 1, &bytes);
}

void glue_input_done(VALUE file)
{
	if (!RTEST(rb_funcallv(file, input.id_closed, 0, NULL)))
		rb_funcallv(file, input.id_close, 0, NULL);
}
