//! Aligned tables that fit a terminal, and records as blocks of lines.
//!
//! Only the first rows are held, to measure them; the rest is written as it comes, so that an answer of any size can be
//! shown. Libraries for tables hold all rows.

use std::io::{self, Write};

use super::{escape, escape_lines, shorten, width};

/// Rows that the widths of columns are taken from.
const MEASURED: usize = 1_000;
/// Columns of the terminal that are left at least of a text that is shortened.
const LEAST: usize = 12;
/// Blanks between columns.
const GAP: &str = "  ";
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

/// How rows are laid out. By default as in a pipe: nothing is shortened.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cli) struct Layout {
    /// Columns of the terminal that is written to.
    pub(in crate::cli) width: Option<usize>,
    pub(in crate::cli) expanded: Expanded,
    /// Whether words have colours.
    pub(in crate::cli) colour: bool,
}

impl Layout {
    /// For standard output.
    pub(in crate::cli) fn of_output(expanded: Expanded) -> Self {
        // Unit tests write to no terminal, also where they are started on one.
        let size = terminal_size::terminal_size_of(io::stdout()).filter(|_| !cfg!(test));
        Self { width: size.map(|(width, _)| width.0.into()), expanded, colour: size.is_some() && wants_colour() }
    }
}

/// Whether the environment allows colours (<https://no-color.org>).
#[must_use]
pub fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Kind {
    Text,
    /// Text that would have another meaning when shortened: a time.
    Whole,
    /// The status of a group or partition, coloured.
    Status,
    /// Aligned to the right, never shortened.
    Number,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Column {
    kind: Kind,
    name: String,
}

impl Column {
    pub(in crate::cli) fn new(kind: Kind, name: &str) -> Self {
        Self { kind, name: escape(name).into_owned() }
    }
}

/// A column of a table of known rows: what it holds, its name, its cells.
pub(in crate::cli) type ColumnOf<T> = (Kind, &'static str, fn(&T) -> String);

type Row = Vec<String>;

/// Rows for people. Rows after the first ones that are wider stick out.
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
    /// The width of each column, and the width beyond which its cells are shortened.
    Aligned(Vec<(usize, usize)>),
    /// How many are written.
    Records(usize),
    /// Texts of several lines, unshortened, each row's below each other.
    Texts,
}

impl Table {
    pub(in crate::cli) fn new(columns: Vec<Column>, layout: Layout) -> Self {
        Self { columns, layout, form: Form::Open(vec![]), shortened: false }
    }

    /// A table of texts of several lines: the first of a row stands above the others.
    pub(in crate::cli) fn of_texts() -> Self {
        Self { form: Form::Texts, ..Self::new(vec![], Layout::default()) }
    }

    /// Writes a table of these rows that fits the terminal.
    pub(in crate::cli) fn write_all<T>(out: &mut impl Write, columns: &[ColumnOf<T>], rows: &[T]) -> io::Result<()> {
        Self::write_fitting(out, columns, rows, Layout::of_output(Expanded::Auto), &[])
    }

    /// Writes a table of these rows. Of the optional columns, the first ones are left out until it fits; with
    /// [`Expanded::Off`], all are shown.
    pub(in crate::cli) fn write_fitting<T>(
        out: &mut impl Write,
        columns: &[ColumnOf<T>],
        rows: &[T],
        layout: Layout,
        optional: &[&str],
    ) -> io::Result<()> {
        let mut shown: Vec<&ColumnOf<T>> = columns.iter().collect();
        let mut optional = optional.iter();
        let mut table = loop {
            let names = shown.iter().map(|(kind, name, _)| Column::new(*kind, name)).collect();
            let table = Self::new(names, layout);
            let cells = |row: &T| shown.iter().map(|(_, _, cell)| escape(&cell(row)).into_owned()).collect::<Row>();
            let first: Vec<Row> = rows.iter().take(MEASURED).map(cells).collect();
            if layout.expanded != Expanded::Auto || table.level(&table.widths(&first)).is_some() {
                break table;
            }
            let Some(left_out) = optional.next() else { break table };
            shown.retain(|column| column.1 != *left_out);
        };
        for row in rows {
            table.row(out, shown.iter().map(|(_, _, cell)| cell(row)).collect())?;
        }
        table.finish(out)
    }

    /// Adds a row; its cells are escaped here.
    pub(in crate::cli) fn row(&mut self, out: &mut impl Write, cells: Row) -> io::Result<()> {
        let escaped = || cells.iter().map(|cell| escape(cell).into_owned()).collect();
        match &mut self.form {
            Form::Texts => {
                for (at, cell) in cells.iter().enumerate() {
                    let indent = if at == 0 { "" } else { GAP };
                    escape_lines(cell).lines().try_for_each(|line| writeln!(out, "{indent}{line}"))?;
                }
                Ok(())
            }
            Form::Open(rows) => {
                rows.push(escaped());
                if rows.len() >= MEASURED { self.finish(out) } else { Ok(()) }
            }
            Form::Aligned(_) | Form::Records(_) => self.write(out, &escaped()),
        }
    }

    /// Writes the rows that are held.
    pub(in crate::cli) fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        let Form::Open(rows) = &mut self.form else { return Ok(()) };
        let rows = std::mem::take(rows);
        let names = self.names();
        let widths = self.widths(&rows);
        self.form = match (self.layout.expanded, self.level(&widths)) {
            (Expanded::On, _) | (Expanded::Auto, None) => Form::Records(0),
            (Expanded::Off, None) => self.aligned(&widths, LEAST),
            (Expanded::Auto | Expanded::Off, Some(level)) => self.aligned(&widths, level),
        };
        if let Form::Aligned(widths) = &self.form {
            let names: Row = names.iter().zip(widths).map(|(name, (wide, _))| shorten(name, *wide).into()).collect();
            self.write_line(out, widths, &names, false)?;
            let rules: Row = widths.iter().map(|(wide, _)| "─".repeat(*wide)).collect();
            writeln!(out, "{}", rules.join(GAP))?;
        }
        rows.iter().try_for_each(|row| self.write(out, row))
    }

    /// Whether any value was shortened.
    pub(in crate::cli) fn shortened(&self) -> bool {
        self.shortened
    }

    fn names(&self) -> Row {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// The width of each column that its name and these rows take.
    fn widths(&self, rows: &[Row]) -> Vec<usize> {
        let names = self.names();
        let widest = |at: usize| rows.iter().chain([&names]).filter_map(|row| Some(width(row.get(at)?))).max();
        (0..names.len()).map(|at| widest(at).unwrap_or(0)).collect()
    }

    /// The columns that a table takes whose texts are no wider than `level`.
    fn total(&self, widths: &[usize], level: usize) -> usize {
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        self.columns.iter().zip(widths).map(|(column, wide)| column.fitted(*wide, level)).sum::<usize>() + gaps
    }

    /// How wide texts may be for the table to fit; `None` if it does not.
    fn level(&self, widths: &[usize]) -> Option<usize> {
        let Some(room) = self.layout.width else { return Some(usize::MAX) };
        let mut levels = std::iter::once(usize::MAX).chain((LEAST..=room).rev());
        levels.find(|level| self.total(widths, *level) <= room)
    }

    /// Columns with no text wider than `level`. If none is shortened, later rows may fill the terminal.
    fn aligned(&self, widths: &[usize], level: usize) -> Form {
        let spare = match self.layout.width {
            _ if level < usize::MAX => 0,
            Some(room) => room.saturating_sub(self.total(widths, level)),
            None => usize::MAX,
        };
        let columns = self.columns.iter().zip(widths).map(|(column, wide)| {
            let wide = column.fitted(*wide, level);
            (wide, if column.kind == Kind::Text { wide.saturating_add(spare) } else { usize::MAX })
        });
        Form::Aligned(columns.collect())
    }

    fn write(&mut self, out: &mut impl Write, cells: &Row) -> io::Result<()> {
        if let Form::Aligned(widths) = &self.form {
            let fitting = cells.iter().zip(widths).map(|(cell, (_, limit))| shorten(cell, *limit).into());
            let fitting: Row = fitting.collect();
            self.write_line(out, widths, &fitting, self.layout.colour)?;
            self.shortened |= fitting != *cells;
            return Ok(());
        }
        let Form::Records(written) = &mut self.form else { return Ok(()) };
        *written += 1;
        let title = format!("─[ {written} ]");
        let rule = self.layout.width.unwrap_or(RULE).min(RULE).saturating_sub(width(&title));
        writeln!(out, "{title}{}", "─".repeat(rule))?;
        let names = self.columns.iter().map(|column| width(&column.name)).max().unwrap_or(0);
        let mut lines = self.columns.iter().zip(cells);
        lines.try_for_each(|(column, cell)| {
            let cell = column.coloured(cell.clone(), cell, self.layout.colour);
            writeln!(out, "{}{GAP}{cell}", pad(&column.name, names, Kind::Text))
        })
    }

    fn write_line(&self, out: &mut impl Write, widths: &[(usize, usize)], cells: &Row, colour: bool) -> io::Result<()> {
        let columns = self.columns.iter().zip(widths).zip(cells).enumerate();
        let padded = columns.map(|(at, ((column, (wide, _)), cell))| {
            let is_last = at + 1 == self.columns.len();
            let padded =
                if is_last && column.kind != Kind::Number { cell.clone() } else { pad(cell, *wide, column.kind) };
            column.coloured(padded, cell, colour)
        });
        writeln!(out, "{}", padded.collect::<Row>().join(GAP))
    }
}

impl Column {
    fn fitted(&self, wide: usize, level: usize) -> usize {
        if self.kind == Kind::Text { wide.min(level) } else { wide }
    }

    /// The padded cell, in the colour of its status.
    fn coloured(&self, padded: String, cell: &str, colour: bool) -> String {
        let code = match cell {
            "ok" => "32",
            "lagging" | "rewind" => "33",
            "stalled" | "stopped" | "data_lost" => "31",
            _ => "",
        };
        if !colour || self.kind != Kind::Status || code.is_empty() {
            return padded;
        }
        padded.replacen(cell, &format!("\u{1b}[{code}m{cell}\u{1b}[0m"), 1)
    }
}

fn pad(cell: &str, wide: usize, kind: Kind) -> String {
    let blanks = " ".repeat(wide.saturating_sub(width(cell)));
    if kind == Kind::Number { blanks + cell } else { cell.to_owned() + &blanks }
}

#[cfg(test)]
mod tests;
