/*
 * test_journal.c - the oracle of the proof suites can say no: each way in which a log may differ
 * from the journal is counted.
 */
#include "journal.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(journal, .timeout = 20);

enum { PRODUCERS = 2, RECORDS = 100 };

static struct journal *journal;
static char log_text[8192];

static void setup(void)
{
	journal = journal_create(NULL, PRODUCERS, RECORDS);
	log_text[0] = '\0';
	/* The oracle tells what it finds; a test's output is not the place. */
	cr_assert(freopen("/dev/null", "w", stderr));
}

static void pushed(unsigned producer, uint32_t count, enum journal_state state)
{
	for (uint32_t i = 0; i < count; i++)
		journal_note(journal, producer, journal_next(journal, producer), state);
}

static void logged(unsigned producer, uint32_t serial)
{
	const size_t at = strlen(log_text);
	const size_t size = journal_text(producer, serial, log_text + at);

	memcpy(log_text + at + size, "\n", 2);
}

static uint64_t breaches(enum journal_demand demand)
{
	FILE *stream =
		log_text[0] ? fmemopen(log_text, strlen(log_text), "r") : fopen("/dev/null", "r");
	struct journal_totals totals;
	uint64_t count;

	cr_assert(stream);
	count = journal_check(journal, stream, demand, &totals);
	(void)fclose(stream);
	return count;
}

Test(journal, equal_is_no_breach, .init = setup)
{
	pushed(0, 3, JOURNAL_PUBLISHED);
	pushed(1, 1, JOURNAL_PUBLISHED);
	logged(0, 0);
	logged(1, 0);
	logged(0, 1);
	logged(0, 2);
	cr_assert_eq(breaches(DEMAND_PUBLISHED), 0);
}

Test(journal, missing_in_between_and_at_the_end, .init = setup)
{
	pushed(0, 3, JOURNAL_PUBLISHED);
	logged(0, 1);
	cr_assert_eq(breaches(DEMAND_PUBLISHED), 2);
	cr_assert_eq(breaches(DEMAND_DURABLE), 0, "nothing was confirmed as durable");
}

Test(journal, durable_is_demanded_after_a_power_cut, .init = setup)
{
	pushed(0, 2, JOURNAL_PUBLISHED);
	journal_note_durable(journal, 0);
	pushed(0, 1, JOURNAL_PUBLISHED);
	logged(0, 0);
	cr_assert_eq(breaches(DEMAND_DURABLE), 1);
	cr_assert_eq(breaches(DEMAND_PUBLISHED), 2);
}

Test(journal, doubled, .init = setup)
{
	pushed(0, 2, JOURNAL_PUBLISHED);
	logged(0, 0);
	logged(0, 0);
	logged(0, 1);
	cr_assert_eq(breaches(DEMAND_PUBLISHED), 1);
}

Test(journal, out_of_order, .init = setup)
{
	pushed(0, 2, JOURNAL_PUBLISHED);
	logged(0, 1);
	logged(0, 0);
	cr_assert_eq(breaches(DEMAND_PUBLISHED), 2, "missing where it should be, and then late");
}

Test(journal, tried_may_be_there_dropped_may_not, .init = setup)
{
	pushed(0, 1, JOURNAL_TRIED);
	pushed(1, 1, JOURNAL_DROPPED);
	cr_assert_eq(breaches(DEMAND_PUBLISHED), 0);
	logged(0, 0);
	cr_assert_eq(breaches(DEMAND_PUBLISHED), 0);
	logged(1, 0);
	cr_assert_eq(breaches(DEMAND_PUBLISHED), 1);
}

Test(journal, never_pushed_torn_and_foreign, .init = setup)
{
	logged(0, 5);
	cr_assert_eq(breaches(DEMAND_PUBLISHED), 1);
	pushed(0, 10, JOURNAL_TRIED);
	cr_assert_eq(breaches(DEMAND_PUBLISHED), 0);
	log_text[strlen(log_text) - 2] ^= 1;
	cr_assert_eq(breaches(DEMAND_PUBLISHED), 1);
	strcpy(log_text, "hello\n");
	cr_assert_eq(breaches(DEMAND_PUBLISHED), 1);
	strcpy(log_text, "7.0 \n");
	cr_assert_eq(breaches(DEMAND_PUBLISHED), 1);
}

Test(journal, serials_go_on_and_notes_are_kept, .init = setup)
{
	cr_assert_eq(journal_next(journal, 1), 0);
	pushed(1, 7, JOURNAL_DROPPED);
	cr_assert_eq(journal_next(journal, 1), 7);
	cr_assert_eq(journal_next(journal, 0), 0);
	cr_assert_eq(journal_state(journal, 1, 6), JOURNAL_DROPPED);
}

static uint64_t forgiven(void)
{
	FILE *stream = fmemopen(log_text, strlen(log_text), "r");
	uint64_t count;

	cr_assert(stream);
	count = journal_forgive_deleted(journal, stream);
	(void)fclose(stream);
	return count;
}

Test(journal, a_deleted_beginning_is_forgiven_and_a_hole_behind_it_is_not, .init = setup)
{
	pushed(0, 5, JOURNAL_DURABLE);
	pushed(1, 3, JOURNAL_PUBLISHED);
	logged(0, 2);
	logged(1, 1);
	logged(0, 4);
	logged(1, 2);
	cr_assert_eq(forgiven(), 3);
	cr_assert_eq(breaches(DEMAND_PUBLISHED), 1, "0.3 is missing");
}

Test(journal, of_whom_nothing_is_left_nothing_is_forgiven, .init = setup)
{
	pushed(0, 2, JOURNAL_PUBLISHED);
	pushed(1, 2, JOURNAL_PUBLISHED);
	logged(0, 1);
	cr_assert_eq(forgiven(), 1);
	cr_assert_eq(breaches(DEMAND_PUBLISHED), 2);
}

Test(journal, a_deleted_record_does_not_come_back, .init = setup)
{
	pushed(0, 2, JOURNAL_PUBLISHED);
	logged(0, 1);
	cr_assert_eq(forgiven(), 1);
	log_text[0] = '\0';
	logged(0, 0);
	logged(0, 1);
	cr_assert_eq(breaches(DEMAND_PUBLISHED), 1);
}
