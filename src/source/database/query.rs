//! The SQL that is sent: the operator's query as a subselect, and the columns that it has.

use std::time::Duration;

/// Maximum length of a cell in characters. The database cuts longer cells, and their rows are malformed.
pub(super) const MAX_CELL_CHARS: usize = 4096;

/// How a database is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
}

/// A column of the operator's query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    GroupId,
    Topic,
    Partition,
    CommittedOffset,
    CommittedAt,
    Metadata,
}

/// The columns, in the order of their cells.
pub(super) const COLUMNS: [(Column, &str); 6] = [
    (Column::GroupId, "group_id"),
    (Column::Topic, "topic"),
    (Column::Partition, "partition"),
    (Column::CommittedOffset, "committed_offset"),
    (Column::CommittedAt, "committed_at"),
    (Column::Metadata, "metadata"),
];

/// The columns of a query: for each of [`COLUMNS`], its name as the database spells it, or `None` if it is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueryColumns([Option<String>; COLUMNS.len()]);

/// Why the columns of a query do not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ColumnError {
    #[error("`query` returns the unknown column {0:?}; {ALLOWED}")]
    Unknown(String),
    #[error("`query` returns the column {0} twice; {ALLOWED}")]
    Twice(&'static str),
    #[error("`query` returns no column {0}; {ALLOWED}")]
    Missing(&'static str),
    #[error("`query` returns no column {column}, and the setting `{setting}` is not set; {ALLOWED}")]
    MissingOrFixed { column: &'static str, setting: &'static str },
    #[error("`query` returns the column {column}, and the setting `{setting}` is set too; remove either")]
    Fixed { column: &'static str, setting: &'static str },
}

const ALLOWED: &str =
    "it must return group_id, topic, partition and committed_offset, and may return committed_at and metadata";

impl QueryColumns {
    /// Finds the columns by their names. `fixed_group` and `fixed_topic` are the settings `group` and `topic`.
    pub(super) fn find<'a>(
        names: impl IntoIterator<Item = &'a str>,
        fixed_group: &str,
        fixed_topic: &str,
    ) -> Result<Self, ColumnError> {
        let mut found = [const { None }; COLUMNS.len()];
        for name in names {
            let mut cells = found.iter_mut().zip(COLUMNS);
            // MySQL ignores the case of column names.
            let cell = cells.find(|(_, (_, column))| column.eq_ignore_ascii_case(name));
            let (cell, (_, column)) = cell.ok_or_else(|| ColumnError::Unknown(name.to_owned()))?;
            if cell.replace(name.to_owned()).is_some() {
                return Err(ColumnError::Twice(column));
            }
        }
        for (cell, (column, name)) in found.iter().zip(COLUMNS) {
            let fixed = match column {
                Column::GroupId => Some(("group", fixed_group)),
                Column::Topic => Some(("topic", fixed_topic)),
                Column::Partition | Column::CommittedOffset => None,
                Column::CommittedAt | Column::Metadata => continue,
            };
            match (fixed, cell) {
                (None, Some(_)) => {}
                (None, None) => return Err(ColumnError::Missing(name)),
                (Some((setting, "")), None) => return Err(ColumnError::MissingOrFixed { column: name, setting }),
                (Some((_, "")), Some(_)) | (Some(_), None) => {}
                (Some((setting, _)), Some(_)) => return Err(ColumnError::Fixed { column: name, setting }),
            }
        }
        Ok(Self(found))
    }
}

impl Dialect {
    /// Returns the name of the database for operators.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
        }
    }

    /// Returns the statements that begin a read-only transaction in which a statement may run for at most `timeout`.
    pub(super) fn begin(self, timeout: Duration) -> String {
        // For both databases, 0 means no limit. The maximum is that of PostgreSQL.
        let timeout_ms = timeout.as_millis().clamp(1, i32::MAX.unsigned_abs().into());
        match self {
            Self::Postgres => format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {timeout_ms}"),
            // The first comment is code for MariaDB only, the second one for MySQL only: MariaDB skips the version
            // numbers 50700 to 50999.
            Self::Mysql => format!(
                "SET time_zone = '+00:00' /*M!100100 , max_statement_time = {}.{:03} */ \
                 /*!50708 , max_execution_time = {timeout_ms} */; START TRANSACTION READ ONLY",
                timeout_ms / 1000,
                timeout_ms % 1000
            ),
        }
    }

    /// Returns a query with the columns of `query` and one row of NULLs. The database does not run `query` for it.
    pub(super) fn describe(query: &str) -> String {
        format!(
            "SELECT t.* FROM (SELECT 1 AS one) AS r LEFT JOIN (SELECT * FROM (\n{}\n) AS q LIMIT 0) AS t ON r.one = 2",
            trimmed(query)
        )
    }

    /// Returns a query with the cells of `query` as texts, in the order of [`COLUMNS`].
    pub(super) fn select(self, query: &str, columns: &QueryColumns) -> String {
        let cells: Vec<String> = columns.0.iter().map(|name| self.cell(name.as_deref())).collect();
        format!("SELECT {} FROM (\n{}\n) AS t", cells.join(", "), trimmed(query))
    }

    fn cell(self, column: Option<&str>) -> String {
        let limit = MAX_CELL_CHARS + 1;
        match (column, self) {
            (None, _) => "NULL".to_owned(),
            (Some(name), Self::Postgres) => {
                format!("left(CAST(t.\"{}\" AS text), {limit})", name.replace('"', "\"\""))
            }
            (Some(name), Self::Mysql) => format!("left(CAST(t.`{}` AS char), {limit})", name.replace('`', "``")),
        }
    }
}

/// Returns a query without the semicolon at its end.
pub(super) fn trimmed(query: &str) -> &str {
    query.trim_end_matches(|last: char| last == ';' || last.is_whitespace()).trim_start()
}

#[cfg(test)]
mod tests;
