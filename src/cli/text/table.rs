//! Aligned tables that fit the terminal, and records that are shown as blocks of lines.
//!
//! Only the first rows are kept in memory, to compute the widths of the columns. All later rows are written
//! immediately, so that a result of any size can be shown. Table libraries keep all rows in memory.

use std::io::{self, Write};

use super::{escape, escape_lines, shorten, width};

/// Number of first rows that the widths of the columns are computed from.
const MEASURED_ROWS: usize = 1_000;
/// Minimum width, in terminal columns, of a text column that is shortened.
const MIN_TEXT_WIDTH: usize = 12;
/// The blanks between columns.
const GAP: &str = "  ";
/// Maximum width, in terminal columns, of the line above a record.
const MAX_RULE_WIDTH: usize = 60;

/// Whether rows are shown as blocks, with one line per column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) enum Expanded {
    /// Only if a table does not fit the terminal even with shortened texts.
    #[default]
    Auto,
    On,
    Off,
}

/// The layout of rows. The default is that of a pipe: nothing is shortened and nothing is coloured.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cli) struct TableLayout {
    /// Width of the terminal in columns; `None` if the output is not a terminal.
    pub(in crate::cli) width: Option<usize>,
    pub(in crate::cli) expanded: Expanded,
    /// Whether the status is coloured.
    pub(in crate::cli) colour: bool,
}

impl TableLayout {
    /// Returns the layout for standard output.
    pub(in crate::cli) fn of_output(expanded: Expanded) -> Self {
        // Unit tests must not depend on the terminal in which they are started.
        let size = terminal_size::terminal_size_of(io::stdout()).filter(|_| !cfg!(test));
        Self { width: size.map(|(width, _)| width.0.into()), expanded, colour: size.is_some() && wants_colour() }
    }
}

/// Returns whether the environment allows colours (<https://no-color.org>).
#[must_use]
pub fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The kind of values in a column, which decides their alignment and whether they may be shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum ColumnKind {
    /// Text, which may be shortened.
    Text,
    /// Text that must not be shortened, for example a time.
    Unshortened,
    /// The status of a group or partition, which is coloured.
    Status,
    /// A number: aligned to the right and never shortened.
    Number,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Column {
    kind: ColumnKind,
    name: String,
}

impl Column {
    pub(in crate::cli) fn new(kind: ColumnKind, name: &str) -> Self {
        Self { kind, name: escape(name).into_owned() }
    }
}

/// A column of a table of rows of type `T`: its kind, its name and the function that returns its cell.
pub(in crate::cli) type ColumnOf<T> = (ColumnKind, &'static str, fn(&T) -> String);

type Row = Vec<String>;

/// A table that is written row by row. After the first [`MEASURED_ROWS`] rows, a wider row is shortened or breaks the
/// alignment.
#[derive(Debug)]
pub(in crate::cli) struct Table {
    columns: Vec<Column>,
    layout: TableLayout,
    state: TableState,
    shortened: bool,
}

#[derive(Debug)]
enum TableState {
    /// The first rows are collected; nothing is written yet.
    Measuring(Vec<Row>),
    /// For each column, its width and the width above which its cells are shortened.
    Aligned(Vec<(usize, usize)>),
    /// Blocks of lines, with the number of records written so far.
    Records(usize),
    /// Texts of several lines, which are written one below the other and are not shortened.
    Texts,
}

impl Table {
    pub(in crate::cli) fn new(columns: Vec<Column>, layout: TableLayout) -> Self {
        Self { columns, layout, state: TableState::Measuring(vec![]), shortened: false }
    }

    /// Returns a table of texts of several lines. The first text of a row is written above the others, which are
    /// indented.
    pub(in crate::cli) fn of_texts() -> Self {
        Self { state: TableState::Texts, ..Self::new(vec![], TableLayout::default()) }
    }

    /// Writes a table of these rows, fitted to the terminal.
    pub(in crate::cli) fn write_all<T>(out: &mut impl Write, columns: &[ColumnOf<T>], rows: &[T]) -> io::Result<()> {
        Self::write_fitting(out, columns, rows, TableLayout::of_output(Expanded::Auto), &[])
    }

    /// Writes a table of these rows. The optional columns are left out, in their order, until the table fits the
    /// terminal. With [`Expanded::Off`], all columns are shown.
    pub(in crate::cli) fn write_fitting<T>(
        out: &mut impl Write,
        columns: &[ColumnOf<T>],
        rows: &[T],
        layout: TableLayout,
        optional: &[&str],
    ) -> io::Result<()> {
        let mut shown: Vec<&ColumnOf<T>> = columns.iter().collect();
        let mut optional = optional.iter();
        let mut table = loop {
            let names = shown.iter().map(|(kind, name, _)| Column::new(*kind, name)).collect();
            let table = Self::new(names, layout);
            let cells = |row: &T| shown.iter().map(|(_, _, cell)| escape(&cell(row)).into_owned()).collect::<Row>();
            let first: Vec<Row> = rows.iter().take(MEASURED_ROWS).map(cells).collect();
            if layout.expanded != Expanded::Auto || table.fitting_text_width(&table.widths(&first)).is_some() {
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

    /// Adds a row. The table escapes its cells.
    pub(in crate::cli) fn row(&mut self, out: &mut impl Write, cells: Row) -> io::Result<()> {
        let escaped = || cells.iter().map(|cell| escape(cell).into_owned()).collect();
        match &mut self.state {
            TableState::Texts => {
                for (at, cell) in cells.iter().enumerate() {
                    let indent = if at == 0 { "" } else { GAP };
                    escape_lines(cell).lines().try_for_each(|line| writeln!(out, "{indent}{line}"))?;
                }
                Ok(())
            }
            TableState::Measuring(rows) => {
                rows.push(escaped());
                if rows.len() >= MEASURED_ROWS { self.finish(out) } else { Ok(()) }
            }
            TableState::Aligned(_) | TableState::Records(_) => self.write(out, &escaped()),
        }
    }

    /// Chooses the layout and writes the rows that are collected so far.
    pub(in crate::cli) fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        let TableState::Measuring(rows) = &mut self.state else { return Ok(()) };
        let rows = std::mem::take(rows);
        let names = self.names();
        let widths = self.widths(&rows);
        self.state = match (self.layout.expanded, self.fitting_text_width(&widths)) {
            (Expanded::On, _) | (Expanded::Auto, None) => TableState::Records(0),
            (Expanded::Off, None) => self.aligned(&widths, MIN_TEXT_WIDTH),
            (Expanded::Auto | Expanded::Off, Some(text_width)) => self.aligned(&widths, text_width),
        };
        if let TableState::Aligned(widths) = &self.state {
            let names: Row = names.iter().zip(widths).map(|(name, (wide, _))| shorten(name, *wide).into()).collect();
            self.write_line(out, widths, &names, false)?;
            let rules: Row = widths.iter().map(|(wide, _)| "─".repeat(*wide)).collect();
            writeln!(out, "{}", rules.join(GAP))?;
        }
        rows.iter().try_for_each(|row| self.write(out, row))
    }

    /// Returns whether any value was shortened.
    pub(in crate::cli) fn shortened(&self) -> bool {
        self.shortened
    }

    fn names(&self) -> Row {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// Returns the width that each column needs for its name and these rows.
    fn widths(&self, rows: &[Row]) -> Vec<usize> {
        let names = self.names();
        let widest = |at: usize| rows.iter().chain([&names]).filter_map(|row| Some(width(row.get(at)?))).max();
        (0..names.len()).map(|at| widest(at).unwrap_or(0)).collect()
    }

    /// Returns the width of the table if no text column is wider than `text_width`.
    fn total_width(&self, widths: &[usize], text_width: usize) -> usize {
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        self.columns.iter().zip(widths).map(|(column, wide)| column.fitted_width(*wide, text_width)).sum::<usize>()
            + gaps
    }

    /// Returns the greatest width of text columns with which the table fits the terminal; `None` if it does not fit.
    fn fitting_text_width(&self, widths: &[usize]) -> Option<usize> {
        let Some(room) = self.layout.width else { return Some(usize::MAX) };
        let mut levels = std::iter::once(usize::MAX).chain((MIN_TEXT_WIDTH..=room).rev());
        levels.find(|text_width| self.total_width(widths, *text_width) <= room)
    }

    /// Returns aligned columns with no text wider than `text_width`. If no column is shortened, wider texts of later rows may
    /// use the rest of the terminal.
    fn aligned(&self, widths: &[usize], text_width: usize) -> TableState {
        let spare = match self.layout.width {
            _ if text_width < usize::MAX => 0,
            Some(room) => room.saturating_sub(self.total_width(widths, text_width)),
            None => usize::MAX,
        };
        let columns = self.columns.iter().zip(widths).map(|(column, wide)| {
            let wide = column.fitted_width(*wide, text_width);
            (wide, if column.kind == ColumnKind::Text { wide.saturating_add(spare) } else { usize::MAX })
        });
        TableState::Aligned(columns.collect())
    }

    fn write(&mut self, out: &mut impl Write, cells: &Row) -> io::Result<()> {
        if let TableState::Aligned(widths) = &self.state {
            let fitting = cells.iter().zip(widths).map(|(cell, (_, limit))| shorten(cell, *limit).into());
            let fitting: Row = fitting.collect();
            self.write_line(out, widths, &fitting, self.layout.colour)?;
            self.shortened |= fitting != *cells;
            return Ok(());
        }
        let TableState::Records(written) = &mut self.state else { return Ok(()) };
        *written += 1;
        let title = format!("─[ {written} ]");
        let rule = self.layout.width.unwrap_or(MAX_RULE_WIDTH).min(MAX_RULE_WIDTH).saturating_sub(width(&title));
        writeln!(out, "{title}{}", "─".repeat(rule))?;
        let names = self.columns.iter().map(|column| width(&column.name)).max().unwrap_or(0);
        let mut lines = self.columns.iter().zip(cells);
        lines.try_for_each(|(column, cell)| {
            let cell = column.coloured(cell.clone(), cell, self.layout.colour);
            writeln!(out, "{}{GAP}{cell}", pad(&column.name, names, ColumnKind::Text))
        })
    }

    fn write_line(&self, out: &mut impl Write, widths: &[(usize, usize)], cells: &Row, colour: bool) -> io::Result<()> {
        let columns = self.columns.iter().zip(widths).zip(cells).enumerate();
        let padded = columns.map(|(at, ((column, (wide, _)), cell))| {
            let is_last = at + 1 == self.columns.len();
            let padded =
                if is_last && column.kind != ColumnKind::Number { cell.clone() } else { pad(cell, *wide, column.kind) };
            column.coloured(padded, cell, colour)
        });
        writeln!(out, "{}", padded.collect::<Row>().join(GAP))
    }
}

impl Column {
    fn fitted_width(&self, wide: usize, text_width: usize) -> usize {
        if self.kind == ColumnKind::Text { wide.min(text_width) } else { wide }
    }

    /// Returns the padded cell, coloured by its status.
    fn coloured(&self, padded: String, cell: &str, colour: bool) -> String {
        let code = match cell {
            "ok" => "32",
            "lagging" | "rewind" => "33",
            "stalled" | "stopped" | "data_lost" => "31",
            _ => "",
        };
        if !colour || self.kind != ColumnKind::Status || code.is_empty() {
            return padded;
        }
        padded.replacen(cell, &format!("\u{1b}[{code}m{cell}\u{1b}[0m"), 1)
    }
}

fn pad(cell: &str, wide: usize, kind: ColumnKind) -> String {
    let blanks = " ".repeat(wide.saturating_sub(width(cell)));
    if kind == ColumnKind::Number { blanks + cell } else { cell.to_owned() + &blanks }
}

#[cfg(test)]
mod tests;
