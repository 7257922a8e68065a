/*
 * faulty_disk.h - a back end of writer/io.h whose disk answers as the plan says, and in any order.
 */
#ifndef SHMLOG_TESTS_FAULT_FAULTY_DISK_H
#define SHMLOG_TESTS_FAULT_FAULTY_DISK_H

#include "session.h"

/* Operations are carried out and answered in the order of their submission. */
session_open_io faulty_disk_in_order;

/* ... in an order drawn from faulty_disk_seed, some of them later than others. */
session_open_io faulty_disk_shuffled;

/* The real back ends behind it. */
session_open_io faulty_disk_real;

extern uint64_t faulty_disk_seed;

#endif
