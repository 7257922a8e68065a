/* test_bus.c - memory that vanishes under a mapping: zeros and a mark, and death for all others. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../writer/bus.h"

enum { PAGE = 4096, PAGES = 8 };

static const struct sys *sys;
static int fd;
static uint8_t *memory;

static void set_up(void)
{
	void *base;

	sys = bus_guard();
	fd = memfd_create("bus", MFD_CLOEXEC);
	cr_assert(fd >= 0 && ftruncate(fd, PAGES * PAGE) == 0);
	cr_assert(sys->map(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0, &base) ==
		  0);
	memory = base;
	memset(memory, 'm', PAGES * PAGE);
}

static void tear_down(void)
{
	cr_assert(sys->unmap(memory, PAGES * PAGE) == 0);
	close(fd);
}

static uint8_t read_at(size_t at)
{
	return *(volatile uint8_t *)(memory + at);
}

Test(bus, what_is_there_is_not_touched, .init = set_up, .fini = tear_down)
{
	cr_assert(read_at(0) == 'm' && !bus_was_hit(memory));
}

Test(bus, a_page_that_is_gone_reads_as_zeros_and_is_marked, .init = set_up, .fini = tear_down)
{
	cr_assert(ftruncate(fd, 3 * PAGE) == 0);
	errno = 4711;
	cr_assert(read_at(5 * PAGE + 17) == 0);
	cr_assert(errno == 4711);
	cr_assert(bus_was_hit(memory));
	cr_assert(read_at(2 * PAGE) == 'm', "what is left stays");
}

Test(bus, a_store_goes_nowhere, .init = set_up, .fini = tear_down)
{
	cr_assert(ftruncate(fd, 0) == 0);
	*(volatile uint8_t *)memory = 'x';
	cr_assert(read_at(0) == 'x' && read_at(1) == 0);
	cr_assert(ftruncate(fd, PAGE) == 0);
	uint8_t byte = 1;
	cr_assert(pread(fd, &byte, 1, 0) == 1 && byte == 0);
}

Test(bus, mapped_again_it_is_the_file_and_unmarked, .init = set_up, .fini = tear_down)
{
	void *base;

	cr_assert(ftruncate(fd, 0) == 0);
	cr_assert(read_at(0) == 0 && bus_was_hit(memory));
	cr_assert(ftruncate(fd, PAGES * PAGE) == 0 && pwrite(fd, "y", 1, 0) == 1);
	cr_assert(sys->map(memory, PAGES * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0, &base) ==
		  0);
	cr_assert(base == memory && read_at(0) == 'y' && !bus_was_hit(memory));
}

static void *read_in_thread(void *argument)
{
	(void)argument;
	return (void *)(uintptr_t)(1 + read_at(0));
}

Test(bus, each_thread_has_its_own_faults, .init = set_up, .fini = tear_down)
{
	pthread_t thread;
	void *result;

	cr_assert(ftruncate(fd, 0) == 0);
	cr_assert(pthread_create(&thread, NULL, read_in_thread, NULL) == 0);
	cr_assert(pthread_join(thread, &result) == 0);
	cr_assert(result == (void *)1);
}

/* How a child that does it ends: the signal. */
static int death_of(void (*what)(void))
{
	const pid_t pid = fork();
	int status;

	if (pid == 0) {
		what();
		_exit(0);
	}
	cr_assert(waitpid(pid, &status, 0) == pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void fault_elsewhere(void)
{
	const uint8_t *other = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);

	(void)!ftruncate(fd, 0);
	(void)*(const volatile uint8_t *)other;
}

static void fault_when_unmapped(void)
{
	(void)sys->unmap(memory, PAGES * PAGE);
	(void)!mmap(memory, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	(void)!ftruncate(fd, 0);
	(void)read_at(0);
}

static void be_sent_one(void)
{
	(void)kill(getpid(), SIGBUS);
}

Test(bus, whatever_else_it_is_kills, .init = set_up, .fini = tear_down)
{
	cr_assert(death_of(fault_elsewhere) == SIGBUS);
	cr_assert(death_of(fault_when_unmapped) == SIGBUS);
	cr_assert(death_of(be_sent_one) == SIGBUS);
}
