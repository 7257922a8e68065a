/*
 * soak_producer.c - a producer that is a program of its own.
 *
 *	soak_producer RING JOURNAL PRODUCER SEED
 */
#include <stdlib.h>

#include "producer.h"
#include "program.h"

int main(int argc, char **argv)
{
	if (argc != 5)
		broken("usage: soak_producer RING JOURNAL PRODUCER SEED");
	return producer_run(argv[1], argv[2], (unsigned)strtoul(argv[3], NULL, 10),
			    strtoull(argv[4], NULL, 10));
}
