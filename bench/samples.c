/*
 * samples.c - medians, percentiles, columns. See samples.h.
 */
#include "samples.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "common.h"

void samples_reserve(struct samples *samples)
{
	if (!samples->values)
		samples->values = shared_memory(SAMPLES_MAX * sizeof(*samples->values));
}

void samples_add(struct samples *samples, double value)
{
	samples_reserve(samples);
	if (samples->count == SAMPLES_MAX)
		return;
	samples->values[samples->count++] = (float)value;
	samples->is_sorted = false;
}

static int compare_floats(const void *left, const void *right)
{
	const float a = *(const float *)left, b = *(const float *)right;

	return (a > b) - (a < b);
}

double samples_at(struct samples *samples, double share)
{
	if (samples->count == 0)
		return 0;
	if (!samples->is_sorted)
		qsort(samples->values, samples->count, sizeof(*samples->values), compare_floats);
	samples->is_sorted = true;
	return (double)samples->values[(size_t)((double)(samples->count - 1) * share + 0.5)];
}

void samples_free(struct samples *samples)
{
	if (samples->values)
		(void)munmap(samples->values, SAMPLES_MAX * sizeof(*samples->values));
	*samples = (struct samples){ 0 };
}

void print_spread(struct samples *samples, int digits)
{
	char range[32];

	(void)snprintf(range, sizeof(range), "(%.*f .. %.*f)", digits, samples_at(samples, 0.1),
		       digits, samples_at(samples, 0.9));
	printf(" %8.*f %-17s", digits, samples_at(samples, 0.5), range);
}

void json_spread(const char *name, struct samples *samples)
{
	printf(",\"%s\":[%.4g,%.4g,%.4g]", name, samples_at(samples, 0.5), samples_at(samples, 0.1),
	       samples_at(samples, 0.9));
}

void json_percentiles(const char *name, struct samples *samples)
{
	static const double shares[] = { 0.5,   0.75,  0.9,   0.95,   0.98,   0.99,
					 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999 };

	printf(",\"%s\":[", name);
	for (size_t i = 0; i < COUNT_OF(shares); i++)
		if ((double)samples->count * (1 - shares[i]) >= 1)
			printf("[%g,%.1f],", shares[i], samples_at(samples, shares[i]));
	printf("[1,%.1f]]", samples_at(samples, 1));
}

/* ---- columns ---- */

enum { NARROW_COLUMNS = 9 };

void metrics_head(const char *label, const struct metric *metrics, size_t count)
{
	if (bench.is_json)
		return;
	printf("%s", label);
	for (size_t i = 0; i < count; i++)
		printf(" %*s%*s", NARROW_COLUMNS - 1, metrics[i].title,
		       metrics[i].is_narrow ? 0 : SPREAD_COLUMNS - NARROW_COLUMNS, "");
	printf("\n");
}

static void print_metric(struct metric *metric)
{
	if (bench.is_json)
		json_spread(metric->key, &metric->values);
	else if (metric->is_narrow)
		printf(" %*.*f", NARROW_COLUMNS - 1, metric->digits,
		       samples_at(&metric->values, 0.5));
	else
		print_spread(&metric->values, metric->digits);
}

void metrics_print(struct metric *metrics, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		print_metric(&metrics[i]);
		samples_free(&metrics[i].values);
	}
}
