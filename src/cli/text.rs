//! Readable output: escaped names, aligned fields, times and counts.

use std::{
    borrow::Cow,
    io::{self, Write},
    time::Duration,
};

use chrono::SecondsFormat;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

mod table;

pub use self::table::wants_colour;
pub(super) use self::table::{Column, ColumnKind, ColumnOf, Expanded, Table, TableLayout};
pub(super) use crate::rpc::json::{duration, time};

/// Escapes the characters of a name that could control a terminal or forge a line: control characters and marks that
/// change the writing direction.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    escape_but(text, &[])
}

/// Like [`escape`], but keeps line breaks.
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

/// Returns the number of terminal columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// Returns the text, cut off with `…` if it is wider than `columns`.
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

/// Writes `key: value` lines with aligned values. Unknown values are left out.
pub(super) fn fields(out: &mut impl Write, fields: &[(&str, Option<String>)]) -> io::Result<()> {
    let known = || fields.iter().filter_map(|(key, value)| Some((*key, value.as_ref()?)));
    let wide = known().map(|(key, _)| width(key)).max().unwrap_or(0);
    for (key, value) in known() {
        writeln!(out, "{key}:{}  {}", " ".repeat(wide.saturating_sub(width(key))), escape(value))?;
    }
    Ok(())
}

/// Returns the current time in RFC 3339, in UTC, with milliseconds.
pub(super) fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Returns a duration as `3 ms` or `1.25 s`.
pub(super) fn elapsed(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}

/// Returns a number with its noun, for example `1 row` or `2 rows`.
pub(super) fn count(number: impl Into<i128>, what: &str) -> String {
    let number = number.into();
    if number == 1 { format!("{number} {what}") } else { format!("{number} {what}s") }
}

/// Returns the text of a table cell; `-` if the value is unknown.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests;
