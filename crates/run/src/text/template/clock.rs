//! `strftime_now`: the time in a format of C, in UTC.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A time of the calendar.
struct Time {
    year: i64,
    /// From 1.
    month: usize,
    /// From 1.
    day: i64,
    /// From 0, which is Sunday.
    weekday: usize,
    /// From 1.
    day_of_year: i64,
    hour: i64,
    minute: i64,
    second: i64,
    microsecond: u32,
}

/// Writes a time in a format. Directives that are not known stay as they are.
pub(super) fn strftime(format: &str, now: SystemTime) -> String {
    let time = Time::of(now);
    let mut out = String::with_capacity(format.len() * 2);
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('-') => {
                let directive = letters.next();
                let padded = directive.and_then(|directive| time.directive(directive)).unwrap_or_default();
                let bare = padded.trim_start_matches(['0', ' ']);
                out.push_str(if bare.is_empty() && !padded.is_empty() { "0" } else { bare });
            }
            Some(directive) => match time.directive(directive) {
                Some(text) => out.push_str(&text),
                None => out.extend(['%', directive]),
            },
            None => out.push('%'),
        }
    }
    out
}

impl Time {
    /// The time in UTC, by the civil calendar.
    fn of(now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX / 2);
        let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years begin in March here, so that a leap day is the last of its year; 719,468 days are from 0000-03-01 to 1970-01-01.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let month = usize::try_from(month).unwrap_or(1).clamp(1, 12);
        let day_of_year = before[month - 1] + day + i64::from(is_leap && month > 2);
        Self {
            year,
            month,
            day,
            weekday: usize::try_from((days + 4).rem_euclid(7)).unwrap_or_default(),
            day_of_year,
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            microsecond: since.subsec_micros(),
        }
    }

    fn directive(&self, directive: char) -> Option<String> {
        let (weekday, month) = (DAYS[self.weekday], MONTHS[self.month - 1]);
        let half = if self.hour < 12 { "AM" } else { "PM" };
        let twelve = (self.hour + 11) % 12 + 1;
        let mut text = String::new();
        let written = match directive {
            'a' => write!(text, "{}", &weekday[..3]),
            'A' => write!(text, "{weekday}"),
            'b' | 'h' => write!(text, "{}", &month[..3]),
            'B' => write!(text, "{month}"),
            'd' => write!(text, "{:02}", self.day),
            'e' => write!(text, "{:2}", self.day),
            'j' => write!(text, "{:03}", self.day_of_year),
            'm' => write!(text, "{:02}", self.month),
            'y' => write!(text, "{:02}", self.year % 100),
            'Y' => write!(text, "{}", self.year),
            'H' => write!(text, "{:02}", self.hour),
            'I' => write!(text, "{twelve:02}"),
            'M' => write!(text, "{:02}", self.minute),
            'S' => write!(text, "{:02}", self.second),
            'f' => write!(text, "{:06}", self.microsecond),
            'p' => write!(text, "{half}"),
            'u' => write!(text, "{}", (self.weekday + 6) % 7 + 1),
            'w' => write!(text, "{}", self.weekday),
            'F' => write!(text, "{}-{:02}-{:02}", self.year, self.month, self.day),
            'D' | 'x' => write!(text, "{:02}/{:02}/{:02}", self.month, self.day, self.year % 100),
            'T' | 'X' => write!(text, "{:02}:{:02}:{:02}", self.hour, self.minute, self.second),
            'R' => write!(text, "{:02}:{:02}", self.hour, self.minute),
            'c' => write!(
                text,
                "{} {} {:2} {:02}:{:02}:{:02} {}",
                &weekday[..3],
                &month[..3],
                self.day,
                self.hour,
                self.minute,
                self.second,
                self.year
            ),
            // A time without a zone has no name for it.
            'z' | 'Z' => Ok(()),
            'n' => writeln!(text),
            't' => write!(text, "\t"),
            '%' => write!(text, "%"),
            _ => return None,
        };
        written.ok().map(|()| text)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64, format: &str) -> String {
        strftime(format, UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        // Compared with Python's datetime.
        assert_eq!(at(0, "%Y-%m-%d %H:%M:%S %A %j"), "1970-01-01 00:00:00 Thursday 001");
        assert_eq!(at(951_782_399, "%d %b %Y %I:%M %p"), "28 Feb 2000 11:59 PM");
        assert_eq!(at(951_782_400, "%-d %B %y, %a %w %u %j"), "29 February 00, Tue 2 2 060");
        assert_eq!(at(1_735_689_599, "%F %T %D %e"), "2024-12-31 23:59:59 12/31/24 31");
        assert_eq!(at(1_798_761_600, "%c"), "Fri Jan  1 00:00:00 2027");
        assert_eq!(at(4_107_542_400, "%d.%m.%Y"), "01.03.2100");
    }

    #[test]
    fn what_is_no_directive_stays() {
        assert_eq!(at(0, "100%% %Q %"), "100% %Q %");
        assert_eq!(at(0, "%-H|%-m|%z"), "0|1|");
    }
}
