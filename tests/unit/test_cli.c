/* test_cli.c - exit codes, values of options, complaints. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <stdio.h>

#include "cli.h"

Test(cli, errors_of_the_library_have_exit_codes)
{
	cr_assert_eq(cli_exit_code(-EINVAL), 64);
	cr_assert_eq(cli_exit_code(-EPROTO), 65);
	cr_assert_eq(cli_exit_code(-EBADMSG), 65);
	cr_assert_eq(cli_exit_code(-ENOENT), 69);
	cr_assert_eq(cli_exit_code(-ESHUTDOWN), 69);
	cr_assert_eq(cli_exit_code(-ENOSPC), 73);
	cr_assert_eq(cli_exit_code(-EIO), 74);
	cr_assert_eq(cli_exit_code(-EBUSY), 75);
	cr_assert_eq(cli_exit_code(-EACCES), 77);
	cr_assert_eq(cli_exit_code(-ENOTRECOVERABLE), 74, "whatever else");
}

Test(cli, levels_have_names_and_numbers)
{
	cr_assert_eq(cli_level("--level", "0"), 0);
	cr_assert_eq(cli_level("--level", "7"), 7);
	cr_assert_eq(cli_level("--level", "emergency"), 0);
	cr_assert_eq(cli_level("--level", "warning"), 4);
	cr_assert_eq(cli_level("--level", "debug"), 7);
	for (int level = 0; level <= 7; level++)
		cr_assert_eq(cli_level("--level", cli_level_name(level)), level);
	cr_assert_str_eq(cli_level_name(8), "?");
	cr_assert_str_eq(cli_level_name(-1), "?");
}

Test(cli, another_level_ends_the_program, .init = cr_redirect_stderr, .exit_code = 64)
{
	(void)cli_level("--level", "8");
}

Test(cli, a_bad_size_ends_the_program, .init = cr_redirect_stderr, .exit_code = 64)
{
	(void)cli_size("--size", "-1");
}

Test(cli, a_bad_time_ends_the_program, .init = cr_redirect_stderr, .exit_code = 64)
{
	(void)cli_time_ns("--time", "1");
}

Test(cli, a_number_below_the_least_ends_the_program, .init = cr_redirect_stderr, .exit_code = 64)
{
	(void)cli_number("--lanes", "0", 1, 256);
}

Test(cli, permission_bits_are_octal)
{
	cr_assert_eq(cli_mode_bits("--mode-bits", "0660"), 0660);
	cr_assert_eq(cli_mode_bits("--mode-bits", "600"), 0600);
	cr_assert_eq(cli_mode_bits("--mode-bits", "0000777"), 0777);
}

Test(cli, permission_bits_beyond_777_end_the_program, .init = cr_redirect_stderr, .exit_code = 64)
{
	(void)cli_mode_bits("--mode-bits", "4755");
}

Test(cli, permission_bits_that_are_not_octal_end_the_program, .init = cr_redirect_stderr,
     .exit_code = 64)
{
	(void)cli_mode_bits("--mode-bits", "0680");
}

/* The text of standard error behind the program's name. */
static const char *complaint(void)
{
	static char line[2048];
	const char *text = fgets(line, sizeof(line), cr_get_redirected_stderr());

	cr_assert_not_null(text);
	text = strchr(line, ':');
	cr_assert_not_null(text);
	return text;
}

Test(cli, a_complaint_is_one_line_that_steers_no_terminal, .init = cr_redirect_stderr)
{
	cli_complain("ring \"%s\"", "a\nb\033[31m\302\233c\377d\303\266");
	cr_assert_str_eq(complaint(), ": ring \"a?b?[31m??c?d\303\266\"\n");
}

Test(cli, a_reason_goes_before_the_text_of_the_error, .init = cr_redirect_stderr)
{
	cr_assert_eq(cli_fail_error(-EACCES, "object", "why it is so"), 77);
	cr_assert_str_eq(complaint(), ": why it is so\n");
}

Test(cli, an_error_without_a_reason_names_the_object, .init = cr_redirect_stderr)
{
	cr_assert_eq(cli_fail_error(-EACCES, "object", ""), 77);
	cr_assert_str_eq(complaint(), ": object: Permission denied\n");
}
