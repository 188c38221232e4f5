/* SPDX-License-Identifier: MIT */
#include "server/date.h"

static const char day_names[7][4] = { "Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed" };
static const char month_names[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					 "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

/* Days since 1970 to a date of the Gregorian calendar, in years that start in March. */
static void civil(u64 days, u32 *year, u32 *month, u32 *day)
{
	u64 z = days + 719468, era = z / 146097;
	u32 doe = (u32)(z - era * 146097);
	u32 yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	u32 doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	u32 mp = (5 * doy + 2) / 153;

	*day = doy - (153 * mp + 2) / 5 + 1;
	*month = mp < 10 ? mp + 3 : mp - 9;
	*year = (u32)(yoe + era * 400) + (*month <= 2);
}

static u64 days_of(u32 year, u32 month, u32 day)
{
	u64 y = year - (month <= 2), era = y / 400;
	u32 yoe = (u32)(y - era * 400);
	u32 doy = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void two(char *p, u32 n)
{
	p[0] = (char)('0' + n / 10);
	p[1] = (char)('0' + n % 10);
}

void date_set(struct date *d, u64 second)
{
	u32 year, month, day, left = (u32)(second % 86400);
	char *p = d->text;

	if (d->second == second && p[0])
		return;
	d->second = second;
	civil(second / 86400, &year, &month, &day);
	memcpy(p, day_names[second / 86400 % 7], 3);
	memcpy(p + 3, ", ", 2);
	two(p + 5, day);
	p[7] = ' ';
	memcpy(p + 8, month_names[month - 1], 3);
	p[11] = ' ';
	two(p + 12, year / 100);
	two(p + 14, year % 100);
	p[16] = ' ';
	two(p + 17, left / 3600);
	p[19] = ':';
	two(p + 20, left / 60 % 60);
	p[22] = ':';
	two(p + 23, left % 60);
	memcpy(p + 25, " GMT", 5);
}

/* Takes @nr digits (with @blank a space may stand for the first); -1 when they are none. */
static int digits(struct view *v, u32 nr, bool blank)
{
	int n = 0;

	if (v->len < nr)
		return -1;
	for (u32 i = 0; i < nr; i++) {
		char c = v->p[i];

		if (i == 0 && blank && c == ' ')
			continue;
		if (c < '0' || c > '9')
			return -1;
		n = n * 10 + (c - '0');
	}
	v->p += nr;
	v->len -= nr;
	return n;
}

static bool skip(struct view *v, const char *text)
{
	size_t n = strlen(text);

	if (v->len < n || memcmp(v->p, text, n) != 0)
		return false;
	v->p += n;
	v->len -= n;
	return true;
}

static int month_of(struct view *v)
{
	for (int m = 0; m < 12; m++)
		if (skip(v, month_names[m]))
			return m + 1;
	return -1;
}

static bool time_of(struct view *v, u64 *seconds)
{
	int h = digits(v, 2, false), m, s;

	if (h < 0 || h > 23 || !skip(v, ":"))
		return false;
	m = digits(v, 2, false);
	if (m < 0 || m > 59 || !skip(v, ":"))
		return false;
	s = digits(v, 2, false);
	if (s < 0 || s > 60)
		return false;
	*seconds = (u64)h * 3600 + (u64)m * 60 + (u64)s;
	return true;
}

/* The name of a day, any: whether it is that of the date is not for us to say. */
static bool skip_day(struct view *v, bool *full)
{
	static const char rests[7][7] = { "rsday", "day", "urday", "day", "day", "sday", "nesday" };

	for (int d = 0; d < 7; d++) {
		if (skip(v, day_names[d])) {
			*full = skip(v, rests[d]);
			return true;
		}
	}
	return false;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" and "Sunday, 06-Nov-94 08:49:37 GMT" (@old), behind the day. */
static bool fixdate(struct view v, bool old, int *year, int *month, int *day, u64 *secs)
{
	*day = digits(&v, 2, false);
	if (*day < 0 || !skip(&v, old ? "-" : " "))
		return false;
	*month = month_of(&v);
	if (*month < 0 || !skip(&v, old ? "-" : " "))
		return false;
	*year = digits(&v, old ? 2 : 4, false);
	if (*year < 0)
		return false;
	if (old)
		*year += *year < 70 ? 2000 : 1900;
	return skip(&v, " ") && time_of(&v, secs) && skip(&v, " GMT") && v.len == 0;
}

/* "Sun Nov  6 08:49:37 1994", behind the day. */
static bool asctime_date(struct view v, int *year, int *month, int *day, u64 *secs)
{
	*month = month_of(&v);
	if (*month < 0 || !skip(&v, " "))
		return false;
	*day = digits(&v, 2, true);
	if (*day < 0 || !skip(&v, " ") || !time_of(&v, secs) || !skip(&v, " "))
		return false;
	*year = digits(&v, 4, false);
	return *year >= 0 && v.len == 0;
}

/* Is there such a day? */
static bool exists(u32 year, u32 month, u32 day)
{
	u32 y, m, d;

	civil(days_of(year, month, day), &y, &m, &d);
	return day && m == month && d == day;
}

int date_parse(struct view v, u64 *second)
{
	int year, month, day;
	bool full, ok;
	u64 secs;

	if (!skip_day(&v, &full))
		return -EINVAL;
	if (skip(&v, ", "))
		ok = fixdate(v, full, &year, &month, &day, &secs);
	else
		ok = !full && skip(&v, " ") && asctime_date(v, &year, &month, &day, &secs);
	if (!ok || year < 1970 || !exists((u32)year, (u32)month, (u32)day))
		return -EINVAL;
	*second = days_of((u32)year, (u32)month, (u32)day) * 86400 + secs;
	return 0;
}
