//! Aligned tables that fit a terminal, and records as blocks of lines.

use std::{
    io::{self, Write},
    iter,
};

use super::{escape, escape_lines, shorten, width};

/// Rows that the widths of columns are taken from.
const MEASURED: usize = 1_000;
/// What is left at least of a text that is shortened.
const LEAST: usize = 12;
/// Between columns.
const GAP: usize = 2;
/// Columns of the line above a record.
const RULE: usize = 60;

/// Whether rows are shown as blocks, a column a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) enum Expanded {
    /// Where a table does not fit the terminal, however much its texts are shortened.
    #[default]
    Auto,
    On,
    Off,
}

/// How rows are laid out. By default as what comes out of a pipe: nothing is shortened.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cli) struct Layout {
    /// Columns of the terminal that is written to.
    pub(in crate::cli) width: Option<usize>,
    pub(in crate::cli) expanded: Expanded,
}

impl Layout {
    /// For standard output.
    pub(in crate::cli) fn of_output(expanded: Expanded) -> Self {
        let size = terminal_size::terminal_size_of(io::stdout());
        Self { width: size.map(|(width, _)| width.0.into()), expanded }
    }
}

/// A column of a table.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Column {
    name: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    /// Text that says something else when it is shortened: a time.
    Whole,
    /// Aligned to the right, never shortened.
    Number,
}

impl Column {
    pub(in crate::cli) fn left(name: &str) -> Self {
        Self { name: escape(name).into_owned(), kind: Kind::Text }
    }

    pub(in crate::cli) fn whole(name: &str) -> Self {
        Self { kind: Kind::Whole, ..Self::left(name) }
    }

    pub(in crate::cli) fn right(name: &str) -> Self {
        Self { kind: Kind::Number, ..Self::left(name) }
    }
}

type Row = Vec<String>;

/// Rows for people. Only the first ones are held, to measure them: later ones that are wider stick out.
#[derive(Debug)]
pub(in crate::cli) struct Table {
    columns: Vec<Column>,
    layout: Layout,
    form: Form,
    shortened: bool,
}

#[derive(Debug)]
enum Form {
    /// The first rows are awaited.
    Open(Vec<Row>),
    Aligned {
        widths: Vec<usize>,
        /// Beyond which a cell is shortened.
        limits: Vec<usize>,
    },
    Records {
        names: usize,
        written: usize,
    },
    /// Texts of several lines, whole, each row's below each other.
    Texts,
}

impl Table {
    /// A table that shortens nothing.
    pub(in crate::cli) fn new(columns: Vec<Column>) -> Self {
        Self::laid_out(columns, Layout::default())
    }

    /// Texts of several lines: the first of a row stands above the others.
    pub(in crate::cli) fn of_texts(columns: Vec<Column>) -> Self {
        Self { form: Form::Texts, ..Self::new(columns) }
    }

    pub(in crate::cli) fn laid_out(columns: Vec<Column>, layout: Layout) -> Self {
        Self { columns, layout, form: Form::Open(vec![]), shortened: false }
    }

    /// Adds a row; its cells are escaped here.
    pub(in crate::cli) fn row(&mut self, out: &mut impl Write, cells: Row) -> io::Result<()> {
        if matches!(self.form, Form::Texts) {
            return texts(out, &cells);
        }
        let cells: Row = cells.iter().map(|cell| escape(cell).into_owned()).collect();
        if let Form::Open(rows) = &mut self.form {
            rows.push(cells);
            return if rows.len() >= MEASURED { self.begin(out) } else { Ok(()) };
        }
        self.write(out, &cells)
    }

    /// Writes what is held.
    pub(in crate::cli) fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        if matches!(self.form, Form::Open(_)) { self.begin(out) } else { Ok(()) }
    }

    /// Whether any value was shortened.
    pub(in crate::cli) fn shortened(&self) -> bool {
        self.shortened
    }

    fn begin(&mut self, out: &mut impl Write) -> io::Result<()> {
        let mut widths: Vec<usize> = self.columns.iter().map(|column| width(&column.name)).collect();
        let names = widths.iter().copied().max().unwrap_or(0);
        let Form::Open(rows) = &mut self.form else { return Ok(()) };
        let rows = std::mem::take(rows);
        for row in &rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = width(cell).max(*widest);
            }
        }
        self.form = match self.fitted(&widths) {
            _ if self.layout.expanded == Expanded::On => Form::Records { names, written: 0 },
            None if self.layout.expanded == Expanded::Auto => Form::Records { names, written: 0 },
            None => self.aligned(&widths, LEAST, 0),
            Some((level, spare)) => self.aligned(&widths, level, spare),
        };
        if let Form::Aligned { widths, .. } = &self.form {
            let names: Row =
                self.columns.iter().zip(widths).map(|(column, wide)| shorten(&column.name, *wide).into()).collect();
            aligned(out, &self.columns, widths, &names)?;
            let rules: Row = widths.iter().map(|wide| "─".repeat(*wide)).collect();
            writeln!(out, "{}", rules.join(&" ".repeat(GAP)))?;
        }
        rows.iter().try_for_each(|row| self.write(out, row))
    }

    /// How wide the widest texts may be for the table to fit, and how much room is left then.
    fn fitted(&self, widths: &[usize]) -> Option<(usize, usize)> {
        let Some(total) = self.layout.width else { return Some((usize::MAX, usize::MAX)) };
        let gaps = GAP * widths.len().saturating_sub(1);
        let columns = || self.columns.iter().zip(widths);
        let fixed: usize = columns().filter(|(column, _)| column.kind != Kind::Text).map(|(_, wide)| *wide).sum();
        let mut room = total.checked_sub(gaps + fixed)?;
        let mut texts: Vec<usize> =
            columns().filter(|(column, _)| column.kind == Kind::Text).map(|(_, wide)| *wide).collect();
        texts.sort_unstable();
        // The narrow ones leave their share to the wide ones.
        for (at, wide) in texts.iter().enumerate() {
            let share = room / (texts.len() - at);
            if *wide > share {
                return (share >= LEAST).then_some((share, 0));
            }
            room -= wide;
        }
        Some((usize::MAX, room))
    }

    /// Columns with no text wider than `level`; a later row may stick out by what is spare.
    fn aligned(&self, widths: &[usize], level: usize, spare: usize) -> Form {
        let columns = || self.columns.iter().zip(widths);
        let wide = |(column, wide): (&Column, &usize)| if column.kind == Kind::Text { level.min(*wide) } else { *wide };
        let widths: Vec<usize> = columns().map(wide).collect();
        let limit = |(column, wide): (&Column, &usize)| match column.kind {
            Kind::Text => wide.saturating_add(spare),
            Kind::Whole | Kind::Number => usize::MAX,
        };
        let limits = self.columns.iter().zip(&widths).map(limit).collect();
        Form::Aligned { widths, limits }
    }

    fn write(&mut self, out: &mut impl Write, cells: &Row) -> io::Result<()> {
        match &mut self.form {
            Form::Open(_) | Form::Texts => Ok(()),
            Form::Aligned { widths, limits } => {
                let fitting: Row =
                    cells.iter().zip(limits).map(|(cell, limit)| shorten(cell, *limit).into_owned()).collect();
                self.shortened |= fitting != *cells;
                aligned(out, &self.columns, widths, &fitting)
            }
            Form::Records { names, written } => {
                *written += 1;
                let title = format!("─[ {written} ]");
                let rule = "─".repeat(self.layout.width.unwrap_or(RULE).min(RULE).saturating_sub(width(&title)));
                writeln!(out, "{title}{rule}")?;
                self.columns.iter().zip(cells).try_for_each(|(column, cell)| {
                    let pad = " ".repeat(names.saturating_sub(width(&column.name)) + GAP);
                    writeln!(out, "{}{pad}{cell}", column.name)
                })
            }
        }
    }
}

fn texts(out: &mut impl Write, cells: &[String]) -> io::Result<()> {
    for (indent, cell) in iter::once("").chain(iter::repeat("  ")).zip(cells) {
        escape_lines(cell).lines().try_for_each(|line| writeln!(out, "{indent}{line}"))?;
    }
    Ok(())
}

fn aligned(out: &mut impl Write, columns: &[Column], widths: &[usize], cells: &Row) -> io::Result<()> {
    let last = columns.len().saturating_sub(1);
    for (at, ((column, wide), cell)) in columns.iter().zip(widths).zip(cells).enumerate() {
        let pad = " ".repeat(wide.saturating_sub(width(cell)));
        let gap = if at == last { String::new() } else { " ".repeat(GAP) };
        match (column.kind, at == last) {
            (Kind::Number, _) => write!(out, "{pad}{cell}{gap}")?,
            (_, false) => write!(out, "{cell}{pad}{gap}")?,
            (_, true) => out.write_all(cell.as_bytes())?,
        }
    }
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a table of three columns, and whether values were shortened.
    fn table(layout: Layout, rows: &[[&str; 3]]) -> (String, bool) {
        let mut out = vec![];
        let columns = vec![Column::left("group_id"), Column::right("lag"), Column::left("topic")];
        let mut table = Table::laid_out(columns, layout);
        for row in rows {
            table.row(&mut out, row.iter().map(|cell| (*cell).to_owned()).collect()).unwrap();
        }
        table.finish(&mut out).unwrap();
        (String::from_utf8(out).unwrap(), table.shortened())
    }

    fn fit(width: usize, expanded: Expanded) -> Layout {
        Layout { width: Some(width), expanded }
    }

    #[test]
    fn tables_align_names_left_and_numbers_right() {
        let expected = "\
group_id   lag  topic
────────  ────  ───────
orders       1  a
消费者    1000  bcdefgh
";
        let rows = [["orders", "1", "a"], ["消费者", "1000", "bcdefgh"]];
        for layout in [Layout::default(), fit(24, Expanded::Auto), fit(23, Expanded::Off)] {
            assert_eq!(table(layout, &rows), (expected.to_owned(), false));
        }
        assert_eq!(table(Layout::default(), &[]).0.lines().count(), 2);
    }

    #[test]
    fn control_characters_are_escaped_in_every_form() {
        let row = [["x\u{1b}]0;y\u{7}", "1", "t"]];
        for expanded in [Expanded::Off, Expanded::On] {
            let (text, _) = table(fit(80, expanded), &row);
            assert!(text.contains("x\\u{1b}]0;y\\u{7}") && !text.contains('\u{1b}'), "{text}");
        }
    }

    #[test]
    fn the_widest_texts_are_shortened_until_the_table_fits_and_numbers_never() {
        let long = "a-group-with-a-long-name-indeed";
        let rows = [[long, "1234567890123456789", "orders"], ["short", "-1", "payments"]];
        let (text, shortened) = table(fit(50, Expanded::Auto), &rows);
        assert!(shortened);
        assert!(text.lines().all(|line| width(line) <= 50), "{text}");
        assert!(text.contains("a-group-with-a-lon…  1234567890123456789  orders\n"), "{text}");
        let whole = table(Layout::default(), &rows);
        assert!(whole.0.contains(long) && !whole.1, "a pipe gets all of it");
    }

    #[test]
    fn what_cannot_fit_becomes_a_record_a_block() {
        let rows = [["a-group-with-a-long-name-indeed", "1234567890123456789", "消费者"]];
        let expected = "\
─[ 1 ]──────────────
group_id  a-group-with-a-long-name-indeed
lag       1234567890123456789
topic     消费者
";
        assert_eq!(table(fit(20, Expanded::Auto), &rows), (expected.to_owned(), false));
        assert_eq!(table(fit(20, Expanded::On), &rows).0, expected);
        let (text, shortened) = table(fit(20, Expanded::Off), &rows);
        assert!(shortened && text.contains("a-group-wit…  1234567890123456789  消费者"), "{text}");
        assert_eq!(table(fit(10, Expanded::Auto), &[]).0, "");
    }

    #[test]
    fn times_are_shown_whole() {
        let mut table = Table::laid_out(vec![Column::whole("at"), Column::left("what")], fit(40, Expanded::Auto));
        let mut out = vec![];
        table.row(&mut out, vec!["2026-01-01T00:00:00Z".to_owned(), "x".repeat(100)]).unwrap();
        table.finish(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().last(), Some("2026-01-01T00:00:00Z  xxxxxxxxxxxxxxxxx…"));
    }

    #[test]
    fn a_long_table_is_not_held_in_memory() {
        for (layout, lines) in [(Layout::default(), MEASURED + 4), (fit(80, Expanded::On), 2 * (MEASURED + 2))] {
            let mut table = Table::laid_out(vec![Column::left("n")], layout);
            let mut out = vec![];
            for row in 0..MEASURED + 2 {
                table.row(&mut out, vec![format!("{row}")]).unwrap();
            }
            assert!(!matches!(table.form, Form::Open(_)));
            assert_eq!(String::from_utf8(out).unwrap().lines().count(), lines);
        }
    }

    #[test]
    fn a_later_row_that_is_wider_may_fill_the_terminal() {
        let mut table = Table::laid_out(vec![Column::left("a"), Column::left("b")], fit(40, Expanded::Auto));
        let mut out = vec![];
        for _ in 0..MEASURED {
            table.row(&mut out, vec!["x".to_owned(), "y".to_owned()]).unwrap();
        }
        out.clear();
        table.row(&mut out, vec!["x".to_owned(), "y".repeat(37)]).unwrap();
        assert!(!table.shortened());
        table.row(&mut out, vec!["x".to_owned(), "y".repeat(38)]).unwrap();
        assert!(table.shortened());
        assert!(String::from_utf8(out).unwrap().lines().all(|line| width(line) == 40));
    }
}
