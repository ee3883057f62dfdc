//! Dates and times of day as numbers: days since 1970-01-01, with a fraction for the time, or seconds
//! after midnight if there is no date.

use chrono::{
    Datelike, NaiveDate, Timelike,
    format::{Parsed, StrftimeItems, parse},
};

/// The forms of dates, in chrono's notation, the most likely first. As in pandas, an ambiguous date
/// begins with the month.
const DATES: [&str; 20] = [
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%m-%d-%Y",
    "%d-%m-%Y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d.%m.%y",
    "%d-%B-%Y",
    "%d-%B-%y",
    "%d %B %Y",
    "%B %d, %Y",
    "%B %d %Y",
    "%B %Y",
    "%Y-%m",
    "%Y/%m",
    "%m/%Y",
];

/// The forms of times of day.
const TIMES: [&str; 4] = ["%H:%M", "%H:%M:%S%.f", "%I:%M %p", "%I:%M:%S %p"];

/// Separators of a date and a time.
const BETWEEN: [&str; 3] = [" ", "T", ", "];

/// Time zones: the offset from UTC, or `Z`.
const ZONES: [&str; 3] = ["", "%#z", " %#z"];

/// The forms in which this program reads Parquet's dates and timestamps, and other programs write them.
const STANDARD: [&str; 6] = [
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M",
];

/// 1970-01-01, in days of the common era.
const EPOCH: i32 = 719_163;

const DAY: f64 = 86_400.0;

/// The accepted years: `%Y` reads any number.
const YEARS: std::ops::RangeInclusive<i32> = 1000..=9999;

/// The forms of a cell, the most likely first.
pub(super) fn fitting(text: &str) -> Vec<String> {
    let fits = |format: &String| number(text, format).is_some();
    let mut forms: Vec<_> = TIMES.map(str::to_owned).into_iter().filter(fits).collect();
    for date in DATES {
        let Some(rest) = after(text, date) else { continue };
        if rest.is_empty() {
            forms.extend(Some(date.to_owned()).filter(fits));
            continue;
        }
        for between in BETWEEN.into_iter().filter(|between| rest.starts_with(between)) {
            let formats = TIMES.iter().flat_map(|time| ZONES.map(|zone| [time, zone]));
            let formats = formats.map(|[time, zone]| format!("{date}{between}{time}{zone}"));
            forms.extend(formats.filter(fits));
        }
    }
    forms
}

/// The text after a date.
fn after<'a>(text: &'a str, date: &str) -> Option<&'a str> {
    let mut parsed = Parsed::new();
    chrono::format::parse_and_remainder(&mut parsed, text, StrftimeItems::new(date)).ok()
}

/// The number of a cell, if the cell has this form.
pub(super) fn number(text: &str, format: &str) -> Option<f64> {
    let mut parsed = Parsed::new();
    parse(&mut parsed, text, StrftimeItems::new(format)).ok()?;
    let seconds = if has_time(format) {
        // Minutes have two digits: 2:1 is the result of a match.
        let is_time = text
            .split(':')
            .skip(1)
            .all(|part| part.len() > 1 && part.as_bytes()[..2].iter().all(u8::is_ascii_digit));
        if !is_time {
            return None;
        }
        let time = parsed.to_naive_time().ok()?;
        f64::from(time.num_seconds_from_midnight()) + f64::from(time.nanosecond()) / 1e9
    } else {
        0.0
    };
    if !has_date(format) {
        return Some(seconds);
    }
    if !format.contains("%d") {
        parsed.set_day(1).ok()?;
    }
    // A date with a two-digit year has two digits in all its parts: 1.2.10 is a version.
    if format == "%d.%m.%y" && text.len() != "DD.MM.YY".len() {
        return None;
    }
    let date: NaiveDate = parsed.to_naive_date().ok()?;
    let offset = f64::from(parsed.offset().unwrap_or(0));
    let days = f64::from(date.num_days_from_ce() - EPOCH);
    YEARS.contains(&date.year()).then_some(days + (seconds - offset) / DAY)
}

/// The number of a cell in a standard form, for a column of dates in another.
pub(super) fn standard(text: &str, format: &str) -> Option<f64> {
    let mut forms = STANDARD.iter().filter(|_| has_date(format));
    forms.find_map(|standard| number(text, standard))
}

fn has_date(format: &str) -> bool {
    format.contains("%Y") || format.contains("%y")
}

fn has_time(format: &str) -> bool {
    format.contains("%H") || format.contains("%I")
}

/// A form in words, such as `a date (YYYY-MM-DD)`.
pub(super) fn kind(format: &str) -> String {
    let mut written = format.to_owned();
    for (sign, words) in [
        ("%Y", "YYYY"),
        ("%y", "YY"),
        ("%m", "MM"),
        ("%d", "DD"),
        ("%B", "month"),
        ("%H", "hh"),
        ("%I", "hh"),
        ("%M", "mm"),
        ("%S", "ss"),
        ("%p", "am/pm"),
        ("%.f", ""),
        ("%#z", "±hh:mm"),
    ] {
        written = written.replace(sign, words);
    }
    let what = match (has_date(format), has_time(format)) {
        (true, false) => "a date",
        (true, true) => "a point in time",
        _ => "a time of day",
    };
    format!("{what} ({written})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_numbers() {
        let days = 19_782.0;
        for (text, format, expected) in [
            ("2024-02-29", "%Y-%m-%d", days),
            ("2024/2/29", "%Y/%m/%d", days),
            ("2/29/2024", "%m/%d/%Y", days),
            ("29.02.2024", "%d.%m.%Y", days),
            ("2/29/24", "%m/%d/%y", days),
            ("29-Feb-2024", "%d-%B-%Y", days),
            ("29 February 2024", "%d %B %Y", days),
            ("Feb 29, 2024", "%B %d, %Y", days),
            ("2024-02", "%Y-%m", days - 28.0),
            ("2024-02-29 06:00", "%Y-%m-%d %H:%M", days + 0.25),
            ("2024-02-29T06:00:00.000", "%Y-%m-%dT%H:%M:%S%.f", days + 0.25),
            ("2024-02-29T06:00:00Z", "%Y-%m-%dT%H:%M:%S%.f%#z", days + 0.25),
            ("2024-02-29 06:00:00+02:00", "%Y-%m-%d %H:%M:%S%.f%#z", days + 4.0 / 24.0),
            ("29.02.2024 18:00", "%d.%m.%Y %H:%M", days + 0.75),
            ("2/29/2024 6:00 PM", "%m/%d/%Y %I:%M %p", days + 0.75),
            ("12/31/69", "%m/%d/%y", 36_524.0),
            ("06:30", "%H:%M", 23_400.0),
            ("6:30:00.5", "%H:%M:%S%.f", 23_400.5),
        ] {
            let forms = fitting(text);
            assert!(forms.iter().any(|form| form == format), "{text}: {forms:?}");
            if format != "%m/%d/%y" {
                assert_eq!(number(text, format), Some(expected), "{text}");
            }
        }
        assert_eq!(fitting("1/2/2024")[0], "%m/%d/%Y");
        for text in [
            "20-29",
            "2:1",
            "1-2",
            "1.2.10",
            "2.1.11",
            "2024-13-01",
            "2024-02-30",
            "07/2",
            "2024Q1",
            "31/31/2024",
        ] {
            assert!(fitting(text).is_empty(), "{text}");
        }
        assert_eq!(kind("%Y-%m-%d %H:%M:%S%.f"), "a point in time (YYYY-MM-DD hh:mm:ss)");
    }
}
