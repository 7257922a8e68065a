/*
 * option.c - values of options: text to binary, checked, and back.
 */
#include "option.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "segment.h"
#include "units.h"

struct unit {
	uint64_t factor;
	const char *suffix;
};

/* Largest first: the first that divides a value writes it. */
static const struct unit size_units[] = {
	{ UINT64_C(1) << 40, "T" }, { 1 << 30, "G" }, { 1 << 20, "M" }, { 1 << 10, "K" }, { 1, "" },
};

static const struct unit time_units[] = {
	{ UINT64_C(86400) * NS_PER_S, "d" },
	{ UINT64_C(3600) * NS_PER_S, "h" },
	{ UINT64_C(60) * NS_PER_S, "m" },
	{ NS_PER_S, "s" },
	{ NS_PER_MS, "ms" },
	{ NS_PER_US, "us" },
	{ 1, "ns" },
};

static void *field(const struct option_spec *spec, struct config *config)
{
	return (char *)config + spec->offset;
}

static const void *const_field(const struct option_spec *spec, const struct config *config)
{
	return (const char *)config + spec->offset;
}

static void store_u32(const struct option_spec *spec, struct config *config, uint32_t value)
{
	memcpy(field(spec, config), &value, sizeof(value));
}

static void store_u64(const struct option_spec *spec, struct config *config, uint64_t value)
{
	memcpy(field(spec, config), &value, sizeof(value));
}

static uint32_t load_u32(const struct option_spec *spec, const struct config *config)
{
	uint32_t value;

	memcpy(&value, const_field(spec, config), sizeof(value));
	return value;
}

static uint64_t load_u64(const struct option_spec *spec, const struct config *config)
{
	uint64_t value;

	memcpy(&value, const_field(spec, config), sizeof(value));
	return value;
}

enum { QUANTITY_SIZE = 24 };

static void format_quantity(char text[QUANTITY_SIZE], uint64_t value, const struct unit *units)
{
	if (value == 0) {
		snprintf(text, QUANTITY_SIZE, "0");
		return;
	}
	while (value % units->factor)
		units++;
	snprintf(text, QUANTITY_SIZE, "%" PRIu64 "%s", value / units->factor, units->suffix);
}

static const struct unit *units_of(const struct option_spec *spec)
{
	static const struct unit plain = { 1, "" };

	switch (spec->type) {
	case TYPE_SIZE:
	case TYPE_POWER:
		return size_units;
	case TYPE_TIME:
	case TYPE_SYNC:
		return time_units;
	default:
		return &plain;
	}
}

static int check_range(const struct option_spec *spec, const char *text, uint64_t value)
{
	char min[QUANTITY_SIZE];
	char max[QUANTITY_SIZE];

	if (value >= spec->min && value <= spec->max)
		return 0;
	format_quantity(min, spec->min, units_of(spec));
	format_quantity(max, spec->max, units_of(spec));
	return reason_set(-ERANGE, "\"%.200s\": too %s (%s .. %s)", text,
			  value < spec->min ? "small" : "large", min, max);
}

static int parse_number(const struct option_spec *spec, const char *text, struct config *config)
{
	uint64_t value;
	int error = units_parse_number(text, spec->max, &value);

	if (!error)
		error = check_range(spec, text, value);
	if (!error)
		store_u32(spec, config, (uint32_t)value);
	return error;
}

static int parse_size(const struct option_spec *spec, const char *text, struct config *config)
{
	uint64_t value;
	int error = units_parse_size(text, &value);

	if (!error)
		error = check_range(spec, text, value);
	if (!error && spec->type == TYPE_POWER && !is_power_of_two(value))
		error = reason_set(-EINVAL, "\"%s\": not a power of two (64K, 128K, .. 1G)", text);
	if (!error)
		store_u64(spec, config, value);
	return error;
}

static int parse_time(const struct option_spec *spec, const char *text, int64_t *ret_ns)
{
	int64_t value;
	int error = units_parse_time_ns(text, &value);

	if (!error)
		error = check_range(spec, text, (uint64_t)value);
	if (!error)
		*ret_ns = value;
	return error;
}

static int parse_time_field(const struct option_spec *spec, const char *text, struct config *config)
{
	int64_t value;
	const int error = parse_time(spec, text, &value);

	if (!error)
		store_u64(spec, config, (uint64_t)value);
	return error;
}

static int parse_sync(const struct option_spec *spec, const char *text, struct config *config)
{
	const bool is_time = text[0] >= '0' && text[0] <= '9';
	int64_t interval_ns;
	int error;

	if (strcmp(text, "none") == 0) {
		config->sync = SYNC_NONE;
		return 0;
	}
	if (strcmp(text, "page") == 0) {
		config->sync = SYNC_PAGE;
		return 0;
	}
	if (!is_time)
		return reason_set(-EINVAL, "\"%.200s\": unknown (none, page or a time like 1s)",
				  text);
	error = parse_time(spec, text, &interval_ns);
	if (error)
		return error;
	config->sync = SYNC_INTERVAL;
	config->sync_interval_ns = interval_ns;
	return 0;
}

/* Whoever may attach must be able to write, and the owner always may. */
static int parse_mode(const struct option_spec *spec, const char *text, struct config *config)
{
	uint32_t value = 0;
	size_t digits = strspn(text, "01234567");

	if (digits == 0 || digits > 6 || text[digits] != '\0')
		return reason_set(-EINVAL, "\"%.200s\": not an octal mode (0600, 0660)", text);
	for (const char *digit = text; *digit; digit++)
		value = value * 8 + (uint32_t)(*digit - '0');
	if ((value & 0600) != 0600 || (value & ~0666U) != 0)
		return reason_set(
			-ERANGE,
			"\"%s\": not a mode for a ring (0600 .. 0666: the owner reads and "
			"writes, nobody executes)",
			text);
	store_u32(spec, config, value);
	return 0;
}

static int parse_group(const struct option_spec *spec, const char *text, struct config *config)
{
	const struct group *group;
	uint64_t number;

	if (text[0] >= '0' && text[0] <= '9') {
		const int error = units_parse_number(text, UINT32_MAX - 1, &number);

		if (!error)
			store_u32(spec, config, (uint32_t)number);
		return error;
	}
	group = getgrnam(text);
	if (!group)
		return reason_set(-EINVAL, "\"%.200s\": no such group", text);
	store_u32(spec, config, group->gr_gid);
	return 0;
}

static int parse_choice(const struct option_spec *spec, const char *text, struct config *config)
{
	char names[128] = "";
	size_t used = 0;

	for (const struct option_choice *choice = spec->choices; choice->name; choice++) {
		if (strcmp(choice->name, text) == 0) {
			store_u32(spec, config, choice->value);
			return 0;
		}
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
					 used ? ", " : "", choice->name);
		assert(used < sizeof(names));
	}
	return reason_set(-EINVAL, "\"%.200s\": unknown (one of %s)", text, names);
}

static int parse_ring(const struct option_spec *spec, const char *text, struct config *config)
{
	const int error = segment_check_name(text);

	if (!error)
		memcpy(field(spec, config), text, strlen(text) + 1);
	return error;
}

/* What a configuration file could not hold is refused everywhere, so that each configuration can be
 * printed and read back. */
static bool is_plain_text(const char *text)
{
	const size_t length = strlen(text);

	for (size_t i = 0; i < length; i++) {
		const unsigned char character = (unsigned char)text[i];

		if (character < ' ' || character == 0x7f)
			return false;
		if (character == ';' && i > 0 && text[i - 1] == ' ')
			return false;
	}
	return length > 0 && text[0] != ' ' && text[0] != ';' && text[length - 1] != ' ';
}

static int parse_path(const struct option_spec *spec, const char *text, struct config *config)
{
	if (text[0] == '\0')
		return reason_set(-EINVAL, "\"\": the path is empty");
	if (strlen(text) >= PATH_MAX)
		return reason_set(-ERANGE, "\"%.40s...\": the path is too long (at most %d bytes)",
				  text, PATH_MAX - 1);
	if (!is_plain_text(text))
		return reason_set(-EINVAL,
				  "\"%.200s\": a path with control characters, spaces at an end or "
				  "\" ;\" cannot stand in a configuration",
				  text);
	memcpy(field(spec, config), text, strlen(text) + 1);
	return 0;
}

static int parse_flag(const struct option_spec *spec, struct config *config)
{
	const bool on = true;

	memcpy(field(spec, config), &on, sizeof(on));
	return 0;
}

static int parse_switch(const struct option_spec *spec, const char *text, struct config *config)
{
	const bool on = strcmp(text, "yes") == 0;

	if (!on && strcmp(text, "no") != 0)
		return reason_set(-EINVAL, "\"%.200s\": unknown (yes or no)", text);
	memcpy(field(spec, config), &on, sizeof(on));
	return 0;
}

enum { PERCENT_MAX = 99 };

static int parse_percent(const char *text, uint32_t *ret)
{
	char digits[8];
	const size_t length = strlen(text) - 1;
	uint64_t value = 0;
	int r = -EINVAL;

	if (length < sizeof(digits)) {
		(void)snprintf(digits, sizeof(digits), "%.*s", (int)length, text);
		r = units_parse_number(digits, PERCENT_MAX, &value);
	}
	if (r < 0)
		return reason_set(-EINVAL, "\"%.200s\": not a share (0%% .. %d%%)", text,
				  PERCENT_MAX);
	*ret = (uint32_t)value;
	return 0;
}

/* SIZE, N% or SIZE,N%: the smaller of both. */
static int parse_room(const struct option_spec *spec, const char *text, struct config *config)
{
	const char *comma = strchr(text, ',');
	const size_t length = strlen(text);
	uint64_t size = UINT64_MAX;
	uint32_t percent = ROOM_NO_SHARE;
	char first[QUANTITY_SIZE];
	int r = 0;

	if (comma && (size_t)(comma - text) >= sizeof(first))
		return reason_set(-EINVAL, "\"%.200s\": not a size like 1G", text);
	(void)snprintf(first, sizeof(first), "%.*s", (int)(comma ? comma - text : 0), text);
	if (comma || length == 0 || text[length - 1] != '%')
		r = units_parse_size(comma ? first : text, &size);
	if (r == 0 && size != UINT64_MAX)
		r = check_range(spec, text, size);
	if (r == 0 && (comma || size == UINT64_MAX))
		r = parse_percent(comma ? comma + 1 : text, &percent);
	if (r < 0)
		return r;
	config->min_free = size;
	config->min_free_percent = percent;
	return 0;
}

int option_parse(const struct option_spec *spec, const char *text, struct config *config)
{
	switch (spec->type) {
	case TYPE_NUMBER:
	case TYPE_CPU:
		return parse_number(spec, text, config);
	case TYPE_SIZE:
	case TYPE_POWER:
		return parse_size(spec, text, config);
	case TYPE_TIME:
		return parse_time_field(spec, text, config);
	case TYPE_MODE:
		return parse_mode(spec, text, config);
	case TYPE_GROUP:
		return parse_group(spec, text, config);
	case TYPE_CHOICE:
		return parse_choice(spec, text, config);
	case TYPE_SYNC:
		return parse_sync(spec, text, config);
	case TYPE_RING:
		return parse_ring(spec, text, config);
	case TYPE_PATH:
		return parse_path(spec, text, config);
	case TYPE_FLAG:
		return parse_flag(spec, config);
	case TYPE_SWITCH:
		return parse_switch(spec, text, config);
	case TYPE_ROOM:
		return parse_room(spec, text, config);
	}
	assert(!"unknown type of option");
	return -EINVAL;
}

static bool format_number(uint32_t value, bool set, char text[OPTION_TEXT_SIZE])
{
	snprintf(text, OPTION_TEXT_SIZE, "%" PRIu32, value);
	return set;
}

static bool format_sync(const struct config *config, char text[OPTION_TEXT_SIZE])
{
	if (config->sync == SYNC_INTERVAL)
		format_quantity(text, (uint64_t)config->sync_interval_ns, time_units);
	else
		(void)snprintf(text, OPTION_TEXT_SIZE, "%s",
			       config->sync == SYNC_PAGE ? "page" : "none");
	return true;
}

static bool format_choice(const struct option_spec *spec, uint32_t value,
			  char text[OPTION_TEXT_SIZE])
{
	for (const struct option_choice *choice = spec->choices; choice->name; choice++) {
		if (choice->value == value)
			(void)snprintf(text, OPTION_TEXT_SIZE, "%s", choice->name);
	}
	return true;
}

static bool format_text(const char *value, char text[OPTION_TEXT_SIZE])
{
	snprintf(text, OPTION_TEXT_SIZE, "%s", value);
	return value[0] != '\0';
}

static bool format_switch(const struct option_spec *spec, const struct config *config,
			  char text[OPTION_TEXT_SIZE])
{
	bool on;

	memcpy(&on, const_field(spec, config), sizeof(on));
	(void)snprintf(text, OPTION_TEXT_SIZE, "%s", on ? "yes" : "no");
	return true;
}

static bool format_room(const struct config *config, char text[OPTION_TEXT_SIZE])
{
	char size[QUANTITY_SIZE] = "";
	char share[QUANTITY_SIZE] = "";

	if (config->min_free != UINT64_MAX)
		format_quantity(size, config->min_free, size_units);
	if (config->min_free_percent != ROOM_NO_SHARE)
		(void)snprintf(share, sizeof(share), "%" PRIu32 "%%", config->min_free_percent);
	(void)snprintf(text, OPTION_TEXT_SIZE, "%s%s%s", size, *size && *share ? "," : "", share);
	return true;
}

bool option_format(const struct option_spec *spec, const struct config *config,
		   char text[OPTION_TEXT_SIZE])
{
	text[0] = '\0';
	switch (spec->type) {
	case TYPE_NUMBER:
		return format_number(load_u32(spec, config), true, text);
	case TYPE_CPU:
	case TYPE_GROUP:
		return format_number(load_u32(spec, config), load_u32(spec, config) != UINT32_MAX,
				     text);
	case TYPE_SIZE:
	case TYPE_POWER:
	case TYPE_TIME:
		format_quantity(text, load_u64(spec, config), units_of(spec));
		return true;
	case TYPE_MODE:
		snprintf(text, OPTION_TEXT_SIZE, "%04o", load_u32(spec, config));
		return true;
	case TYPE_CHOICE:
		return format_choice(spec, load_u32(spec, config), text);
	case TYPE_SYNC:
		return format_sync(config, text);
	case TYPE_RING:
	case TYPE_PATH:
		return format_text(const_field(spec, config), text);
	case TYPE_SWITCH:
		return format_switch(spec, config, text);
	case TYPE_ROOM:
		return format_room(config, text);
	case TYPE_FLAG:
		return false;
	}
	return false;
}
