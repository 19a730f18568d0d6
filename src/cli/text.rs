//! Text for people: names made harmless, tables, times.

use std::{
    borrow::Cow,
    io::{self, Write},
    time::Duration,
};

use chrono::SecondsFormat;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

mod table;

pub(super) use self::table::{Column, Expanded, Layout, Table};
pub(super) use crate::rpc::json::{duration, time};

/// A name with everything escaped that could steer a terminal or forge a line: control characters and marks that turn
/// the direction of writing.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    escape_but(text, &[])
}

/// As [`escape`], for messages of several lines.
pub(super) fn escape_lines(text: &str) -> Cow<'_, str> {
    escape_but(text, &['\n'])
}

fn escape_but<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
    let harmful = |c: char| {
        let turns =
            matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        (c.is_control() || turns) && !kept.contains(&c)
    };
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    text.chars()
        .fold(String::with_capacity(text.len() + 8), |mut out, c| {
            if harmful(c) {
                out.extend(c.escape_default())
            } else {
                out.push(c)
            }
            out
        })
        .into()
}

/// Columns that a terminal needs for the text.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The text, or as much of it as so many columns hold, ending in `…`.
fn shorten(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let mut room = columns.saturating_sub(1);
    let fits = |c: &char| {
        let left = room.checked_sub(c.width().unwrap_or(1));
        room = left.unwrap_or(0);
        left.is_some()
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('…');
    short.into()
}

/// `key: value` lines with the values below each other; what is not known is left out.
pub(super) fn fields(out: &mut impl Write, fields: &[(&str, Option<String>)]) -> io::Result<()> {
    let known = || fields.iter().filter_map(|(key, value)| Some((*key, value.as_ref()?)));
    let wide = known().map(|(key, _)| width(key)).max().unwrap_or(0);
    for (key, value) in known() {
        writeln!(out, "{key}:{}  {}", " ".repeat(wide.saturating_sub(width(key))), escape(value))?;
    }
    Ok(())
}

/// Now, RFC 3339, UTC, with milliseconds.
pub(super) fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// `3 ms`, `1.25 s`
pub(super) fn elapsed(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}

/// `1 row`, `2 rows`
pub(super) fn count(number: impl Into<i128>, what: &str) -> String {
    let number = number.into();
    if number == 1 { format!("{number} {what}") } else { format!("{number} {what}s") }
}

/// A value that may be unknown, for a cell.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_cannot_steer_a_terminal() {
        assert_eq!(escape("plain, grüp 消费者"), "plain, grüp 消费者");
        assert_eq!(escape("a\u{1b}[2Jb\n\t\u{9b}c\u{202e}d"), "a\\u{1b}[2Jb\\n\\t\\u{9b}c\\u{202e}d");
        assert_eq!(escape_lines("one\ntwo\r"), "one\ntwo\\r");
    }

    #[test]
    fn widths_are_those_of_a_terminal() {
        for (text, columns) in [("orders", 6), ("消费者", 6), ("e\u{301}te", 3), ("🦀", 2), ("", 0)] {
            assert_eq!(width(text), columns, "{text}");
        }
    }

    #[test]
    fn a_text_is_shortened_to_what_fits() {
        assert_eq!(shorten("orders", 6), "orders");
        assert_eq!(shorten("orders", 5), "orde…");
        assert_eq!(shorten("消费者", 5), "消费…");
        assert_eq!(shorten("消费者", 4), "消…");
        assert_eq!(shorten("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}…");
    }

    #[test]
    fn times_and_counts_read_well() {
        let at = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 };
        assert_eq!(time(Some(&at)).as_deref(), Some("2023-11-14T22:13:20.005Z"));
        assert_eq!(time(Some(&prost_types::Timestamp { seconds: i64::MAX, nanos: 0 })), None);
        assert_eq!(elapsed(Duration::from_millis(3)), "3 ms");
        assert_eq!(elapsed(Duration::from_millis(1250)), "1.25 s");
        assert_eq!((count(1, "row"), count(0, "row")), ("1 row".to_owned(), "0 rows".to_owned()));
    }
}
