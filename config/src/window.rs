//! Times of the week: `22:00-06:00 Mon-Fri`.

use std::fmt;
use std::str::FromStr;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY: u16 = 24 * 60;
const WEEK: u16 = 7 * DAY;

/// A time of the day on some days of the week. One that ends before it begins, or when it begins, ends on the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// In minutes after midnight.
    from: u16,
    to: u16,
    /// On which days it begins, from Monday.
    days: [bool; DAYS.len()],
}

/// A minute of the week, of 0 to 10,079, from Monday 00:00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MinuteOfWeek(u16);

impl MinuteOfWeek {
    /// The minute of a day, 0 being Monday. Both are taken as they repeat.
    pub const fn new(day: u16, hour: u16, minute: u16) -> Self {
        Self((day % 7 * DAY + hour % 24 * 60 + minute % 60) % WEEK)
    }
}

/// A text that is no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no time window; write \"22:00-06:00\", or \"22:00-06:00 Mon-Fri\", or \"09:00-17:30 Mon,Wed,Sat-Sun\""
)]
pub struct NoWindow(String);

impl Window {
    /// Whether a minute lies in it.
    pub fn contains(&self, at: MinuteOfWeek) -> bool {
        let length = if self.to > self.from { self.to - self.from } else { DAY + self.to - self.from };
        let begins = (0..).zip(self.days).filter(|(_, begins)| *begins).map(|(day, _)| day * DAY + self.from);
        begins.into_iter().any(|begin: u16| (WEEK + at.0 - begin) % WEEK < length)
    }

    /// Whether some minute lies in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        (0..WEEK).map(MinuteOfWeek).any(|at| self.contains(at) && other.contains(at))
    }
}

impl FromStr for Window {
    type Err = NoWindow;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| NoWindow(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Window> {
    let mut words = text.split_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let (from, to) = (minutes(from)?, minutes(to)?);
    let days = words.next().map_or(Some([true; 7]), days)?;
    // 24:00 is the end of a day, and no begin.
    (words.next().is_none() && from < DAY).then_some(Window { from, to: to % DAY, days })
}

/// `hh:mm`, up to 24:00.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse::<u16>().ok())?
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60 || (hours, minutes) == (24, 0)).then_some(hours * 60 + minutes)
}

/// `Mon`, `Mon-Fri`, and lists of these.
fn days(text: &str) -> Option<[bool; DAYS.len()]> {
    let day = |name: &str| DAYS.iter().position(|day| *day == name);
    let mut days = [false; DAYS.len()];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let count = (last + DAYS.len() - first) % DAYS.len() + 1;
        (first..first + count).for_each(|day| days[day % DAYS.len()] = true);
    }
    Some(days)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, days } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)?;
        if days.iter().all(|begins| *begins) {
            return Ok(());
        }
        let names = DAYS.into_iter().zip(days).filter(|(_, begins)| **begins).map(|(name, _)| name);
        write!(f, " {}", names.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(text: &str) -> Window {
        text.parse().unwrap()
    }

    /// Which of the days, hours and minutes lie in a window.
    fn within(text: &str, times: &[(u16, u16, u16)]) -> Vec<bool> {
        let window = window(text);
        times
            .iter()
            .map(|(day, hour, minute)| window.contains(MinuteOfWeek::new(*day, *hour, *minute)))
            .collect()
    }

    #[test]
    fn a_window_goes_from_its_begin_to_just_before_its_end() {
        let times = [(0, 8, 59), (0, 9, 0), (4, 17, 29), (4, 17, 30), (5, 12, 0)];
        assert_eq!(within("09:00-17:30 Mon-Fri", &times), [false, true, true, false, false]);
        assert_eq!(within("09:00-17:30", &times), [false, true, true, false, true]);
    }

    #[test]
    fn one_past_midnight_belongs_to_the_day_on_which_it_begins() {
        let times = [(4, 23, 0), (5, 5, 59), (5, 6, 0), (5, 23, 0), (6, 1, 0), (0, 1, 0)];
        assert_eq!(within("22:00-06:00 Mon-Fri", &times), [true, true, false, false, false, false]);
        // From Sunday night into Monday.
        assert_eq!(within("22:00-06:00 Sun", &times), [false, false, false, false, false, true]);
        assert_eq!(within("00:00-24:00 Sat", &times), [false, true, true, true, false, false]);
        assert_eq!(within("06:00-06:00 Fri", &times), [true, true, false, false, false, false]);
    }

    #[test]
    fn days_are_lists_of_days_and_spans_also_over_the_end_of_a_week() {
        assert_eq!(window("10:00-11:00 Sat-Mon,Wed").to_string(), "10:00-11:00 Mon,Wed,Sat,Sun");
        assert_eq!(window("10:00-11:00 Mon-Sun"), window("10:00-11:00"));
        for text in ["22:00-06:00", "00:00-00:00 Mon", "09:05-17:30 Mon,Wed"] {
            assert_eq!(window(text).to_string(), text);
        }
    }

    #[test]
    fn windows_overlap_where_they_share_a_minute() {
        let overlap = |one: &str, other: &str| window(one).overlaps(&window(other));
        assert!(overlap("22:00-06:00 Mon", "05:59-07:00 Tue"));
        assert!(!overlap("22:00-06:00 Mon", "06:00-07:00 Tue"));
        assert!(!overlap("22:00-06:00 Mon", "05:59-07:00 Mon"));
        assert!(overlap("00:00-24:00 Sun", "12:00-12:01"));
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in [
            "",
            "22:00",
            "22:00-",
            "22-06",
            "22:00-06:00 Mon Tue",
            "22:00-06:00 mon",
            "22:00-06:00 Mon-",
            "25:00-06:00",
            "22:60-06:00",
            "2:00-06:00",
            "24:00-06:00",
            "22:00-24:01",
            "22:00-06:00 ,",
            "22:00-06:00 Monday",
            "+2:00-06:00",
        ] {
            assert!(
                text.parse::<Window>().unwrap_err().to_string().contains("22:00-06:00 Mon-Fri"),
                "{text:?}"
            );
        }
    }
}
