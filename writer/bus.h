/*
 * bus.h - memory of a ring that is taken away under the writer: zeros and a flag, instead of death.
 *
 * Whoever may write to a ring may truncate it, or punch holes into it while there is no memory for
 * new pages. Then a load or store through a mapping of it raises SIGBUS. The writer maps what is
 * shared through the calls that bus_guard() returns; where such a mapping faults, a page of zeros
 * takes the place of the one that is gone, the instruction is repeated, and the mapping is marked.
 * The drain checks zeros as it checks all that comes from others; the loop asks for the mark after
 * each pass.
 *
 * Owns the signal SIGBUS and the table of guarded mappings: of the process, since a signal has no
 * argument. The library never does this to its users' processes.
 */
#ifndef SHMLOG_WRITER_BUS_H
#define SHMLOG_WRITER_BUS_H

#include "sys.h"

/**
 * bus_guard() - take SIGBUS from here on.
 * A fault outside of the guarded mappings ends the process as before.
 * Return: sys_real, but that shared mappings of files are guarded from map to unmap. More than
 *         there is room for (32) are mapped without a guard.
 */
const struct sys *bus_guard(void);

/* Has the guarded mapping that begins at @base lost a page since it was mapped, or mapped anew? */
bool bus_was_hit(const void *base);

#endif
