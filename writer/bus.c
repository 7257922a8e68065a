/*
 * bus.c - the handler of SIGBUS and its table. See bus.h.
 *
 * I1. An entry is in use while its `base` is not 0. The drain's thread adds and removes entries;
 *     `base` is stored last, and cleared first.
 * I2. The handler runs in the thread that faulted, drain's or janitor's, and makes no call but
 *     mmap. Two threads that fault on one page at a time both replace it: both find zeros.
 * I3. A thread unmaps nothing that the other may still touch.
 */
#include "bus.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

#include "atomic.h"
#include "base.h"

enum { MAPPINGS_MAX = 32, MEMORY_PAGE = 4096 };

struct mapping {
	struct shared_u64 base;
	struct shared_u64 size;
	struct shared_u32 protection;
	struct shared_u32 is_hit;
};

static struct mapping mappings[MAPPINGS_MAX];
static struct sys guarded;

static struct mapping *find_around(uintptr_t address)
{
	for (size_t i = 0; i < MAPPINGS_MAX; i++) {
		struct mapping *mapping = &mappings[i];
		const uint64_t base =
			load_acquire(&mapping->base); /* MO bus_entry:B <- bus_entry:A */

		if (base != 0 && address >= base && address - base < load_relaxed(&mapping->size))
			return mapping;
	}
	return NULL;
}

static struct mapping *find_base(uint64_t base)
{
	for (size_t i = 0; i < MAPPINGS_MAX; i++)
		if (load_relaxed(&mappings[i].base) == base)
			return &mappings[i];
	return NULL;
}

/* ---- the signal ---- */

static bool map_zeros(uint64_t from, uint64_t size, int protection)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;

	return mmap((void *)(uintptr_t)from, size, protection, flags, -1, 0) != MAP_FAILED;
}

/* One page. Where the kernel allows no more separate mappings, all from there on: one mapping. */
static bool replace(struct mapping *mapping, uintptr_t address)
{
	const uint64_t page = address & ~(uint64_t)(MEMORY_PAGE - 1);
	const uint64_t end = load_relaxed(&mapping->base) + load_relaxed(&mapping->size);
	const int protection = (int)load_relaxed_u32(&mapping->protection);

	if (!map_zeros(page, MEMORY_PAGE, protection) && !map_zeros(page, end - page, protection))
		return false;
	store_relaxed_u32(&mapping->is_hit, 1);
	return true;
}

/* Back in the instruction it faults again, and ends the process where it stands; what somebody
 * merely sent comes back at once. */
static void end_as_before(void)
{
	(void)signal(SIGBUS, SIG_DFL);
	(void)raise(SIGBUS);
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
	const int kept = errno;
	struct mapping *mapping = NULL;

	(void)number;
	(void)context;
	if (info->si_code == BUS_ADRERR)
		mapping = find_around((uintptr_t)info->si_addr);
	if (!mapping || !replace(mapping, (uintptr_t)info->si_addr))
		end_as_before();
	errno = kept;
}

/* ---- the table ---- */

static void add(uint64_t base, uint64_t size, int protection)
{
	struct mapping *mapping = find_base(base);

	if (!mapping)
		mapping = find_base(0);
	if (!mapping)
		return;
	store_relaxed(&mapping->size, size);
	store_relaxed_u32(&mapping->protection, (uint32_t)protection);
	store_relaxed_u32(&mapping->is_hit, 0);
	store_release(&mapping->base, base); /* MO bus_entry:A -> bus_entry:B */
}

static int guarded_map(void *address, size_t size, int protection, int flags, int fd, off_t offset,
		       void **ret)
{
	const int r = sys_real.map(address, size, protection, flags, fd, offset, ret);

	if (r == 0 && fd >= 0 && (flags & MAP_SHARED))
		add((uintptr_t)*ret, align_up(size, MEMORY_PAGE), protection);
	return r;
}

static int guarded_unmap(void *address, size_t size)
{
	struct mapping *mapping = find_base((uintptr_t)address);

	if (mapping)
		store_release(&mapping->base, 0); /* MO bus_entry:A -> bus_entry:B */
	return sys_real.unmap(address, size);
}

bool bus_was_hit(const void *base)
{
	const struct mapping *mapping = base ? find_base((uintptr_t)base) : NULL;

	return mapping && load_relaxed_u32(&mapping->is_hit);
}

const struct sys *bus_guard(void)
{
	struct sigaction action = { .sa_flags = SA_SIGINFO | SA_RESTART };
	sigset_t bus;

	action.sa_sigaction = on_bus_error;
	(void)sigemptyset(&action.sa_mask);
	(void)sigaction(SIGBUS, &action, NULL);
	(void)sigemptyset(&bus);
	(void)sigaddset(&bus, SIGBUS);
	(void)sigprocmask(SIG_UNBLOCK, &bus, NULL); /* whoever started us may have blocked it */
	guarded = sys_real;
	guarded.map = guarded_map;
	guarded.unmap = guarded_unmap;
	return &guarded;
}
