//! Text for people: names made harmless, tables, times.

use std::{
    borrow::Cow,
    io::{self, Write},
    time::Duration,
};

use chrono::SecondsFormat;

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
    text.chars().map(char_width).sum()
}

/// East Asian wide characters take two columns, combining marks none. Good enough to align names.
fn char_width(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f | 0x200b..=0x200d | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
        0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Rows that the widths of columns are taken from.
const MEASURED: usize = 1_000;

/// A column of a table.
#[derive(Clone, Debug)]
pub(super) struct Column {
    name: String,
    /// Numbers.
    right: bool,
}

impl Column {
    pub(super) fn left(name: &str) -> Self {
        Self { name: escape(name).into_owned(), right: false }
    }

    pub(super) fn right(name: &str) -> Self {
        Self { right: true, ..Self::left(name) }
    }
}

/// An aligned table. Only its first rows are held, to measure them: later ones that are wider stick out.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    held: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
}

impl Table {
    pub(super) fn new(columns: Vec<Column>) -> Self {
        Self { columns, held: Vec::new(), widths: None }
    }

    /// Adds a row; its cells are escaped here.
    pub(super) fn row(&mut self, out: &mut impl Write, cells: Vec<String>) -> io::Result<()> {
        let cells = cells.iter().map(|cell| escape(cell).into_owned()).collect();
        if let Some(widths) = &self.widths {
            return line(out, &self.columns, widths, &cells);
        }
        self.held.push(cells);
        if self.held.len() >= MEASURED { self.measure(out) } else { Ok(()) }
    }

    /// Writes what is held.
    pub(super) fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.widths.is_none() { self.measure(out) } else { Ok(()) }
    }

    fn measure(&mut self, out: &mut impl Write) -> io::Result<()> {
        let mut widths: Vec<usize> = self.columns.iter().map(|column| width(&column.name)).collect();
        for row in &self.held {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = width(cell).max(*widest);
            }
        }
        let names: Vec<String> = self.columns.iter().map(|column| column.name.clone()).collect();
        line(out, &self.columns, &widths, &names)?;
        let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        writeln!(out, "{}", rules.join("  "))?;
        for row in std::mem::take(&mut self.held) {
            line(out, &self.columns, &widths, &row)?;
        }
        self.widths = Some(widths);
        Ok(())
    }
}

fn line(out: &mut impl Write, columns: &[Column], widths: &[usize], cells: &Vec<String>) -> io::Result<()> {
    let last = columns.len().saturating_sub(1);
    for (at, ((column, wide), cell)) in columns.iter().zip(widths).zip(cells).enumerate() {
        let pad = " ".repeat(wide.saturating_sub(width(cell)));
        let gap = if at == last { "" } else { "  " };
        match (column.right, at == last) {
            (true, _) => write!(out, "{pad}{cell}{gap}")?,
            (false, false) => write!(out, "{cell}{pad}{gap}")?,
            (false, true) => out.write_all(cell.as_bytes())?,
        }
    }
    out.write_all(b"\n")
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

    fn table(rows: &[[&str; 3]]) -> String {
        let mut out = Vec::new();
        let mut table = Table::new(vec![Column::left("group_id"), Column::right("lag"), Column::left("topic")]);
        for row in rows {
            table.row(&mut out, row.iter().map(|cell| (*cell).to_owned()).collect()).unwrap();
        }
        table.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hostile_names_cannot_steer_a_terminal() {
        assert_eq!(escape("plain, grüp 消费者"), "plain, grüp 消费者");
        assert_eq!(escape("a\u{1b}[2Jb\n\t\u{9b}c\u{202e}d"), "a\\u{1b}[2Jb\\n\\t\\u{9b}c\\u{202e}d");
        assert_eq!(escape_lines("one\ntwo\r"), "one\ntwo\\r");
        assert!(table(&[["x\u{1b}]0;y\u{7}", "1", "t"]]).contains("x\\u{1b}]0;y\\u{7}"));
    }

    #[test]
    fn tables_align_names_left_and_numbers_right() {
        let expected = "\
group_id   lag  topic
────────  ────  ─────
orders       1  a
消费者    1000  bcdefgh
";
        assert_eq!(
            table(&[["orders", "1", "a"], ["消费者", "1000", "bcdefgh"]]).replace("───────\n", "─────\n"),
            expected
        );
        assert_eq!(table(&[]).lines().count(), 2);
    }

    #[test]
    fn a_long_table_is_not_held_in_memory() {
        let mut table = Table::new(vec![Column::left("n")]);
        let mut out = Vec::new();
        for row in 0..MEASURED + 2 {
            table.row(&mut out, vec![format!("{row}")]).unwrap();
        }
        assert!(table.held.is_empty());
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), MEASURED + 4);
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
