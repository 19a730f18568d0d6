//! Errors of reading a database, as texts for operators.

use std::time::Duration;

use sqlx::{error::DatabaseError, mysql::MySqlDatabaseError};

use super::{Dialect, address::Address, query::ColumnError};
use crate::store::latest::SourceError;

/// Why a database cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The database or the connection failed.
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
    /// The columns of the query do not fit.
    #[error(transparent)]
    Columns(#[from] ColumnError),
    /// There was no answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

/// What an error of a database means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The login or a right is missing.
    Refused,
    /// The query ran for longer than the setting `timeout`.
    TooSlow,
    /// The query writes.
    Writes,
    /// The query cannot be parsed. A statement that is no SELECT cannot either, since it is sent as a subselect.
    Syntax,
    /// A value cannot be converted. The message may contain the value.
    Value,
    /// Any other error.
    Other,
}

impl ReadError {
    /// Returns the error as a text that names the place and what to do.
    pub(super) fn into_source_error(self, dialect: Dialect, address: &Address, timeout: Duration) -> SourceError {
        let place = format!("{} at {address}", dialect.name());
        let error = match self {
            Self::Sqlx(sqlx::Error::Database(error)) => error,
            // The only login that depends on how the library is built.
            Self::Sqlx(sqlx::Error::Configuration(error)) if error.to_string().starts_with("RSA") => {
                let reason = format!(
                    "{place}: the login of this user requires TLS; set sslmode=verify-full in `url`, and `ca` if needed"
                );
                return SourceError::Unreachable { reason };
            }
            error => return SourceError::Unreachable { reason: format!("{place}: {error}") },
        };
        let (code, message) = (error.code().unwrap_or_default(), error.message());
        let reason = match meaning(&*error) {
            Meaning::Refused => {
                let reason = format!(
                    "{place} refused access: {message}; check the user in `url`, `password`, and the user's right to \
                     SELECT from the tables of `query`"
                );
                return SourceError::Forbidden { reason };
            }
            Meaning::TooSlow => {
                format!("{place} ended `query` after {} s; make it faster, or raise `timeout`", timeout.as_secs_f64())
            }
            Meaning::Writes => format!("{place}: `query` must not write: {message}"),
            Meaning::Syntax => format!("{place}: {message}; `query` must be one SELECT"),
            Meaning::Value => format!(
                "{place}: `query` cannot convert a value of a row (error {code}); return the column as text instead, \
                 so that only this row is rejected"
            ),
            Meaning::Other => format!("{place}: {message} (error {code})"),
        };
        SourceError::Unreachable { reason }
    }
}

fn meaning(error: &dyn DatabaseError) -> Meaning {
    match error.try_downcast_ref::<MySqlDatabaseError>() {
        Some(error) => mysql_meaning(error.number()),
        None => postgres_meaning(&error.code().unwrap_or_default()),
    }
}

/// The SQLSTATE codes of PostgreSQL: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn postgres_meaning(code: &str) -> Meaning {
    match code {
        "42501" => Meaning::Refused,
        "57014" => Meaning::TooSlow,
        "25006" => Meaning::Writes,
        "42601" | "0A000" => Meaning::Syntax,
        code if code.starts_with("28") => Meaning::Refused,
        code if code.starts_with("22") => Meaning::Value,
        _ => Meaning::Other,
    }
}

/// The error numbers of MySQL and MariaDB. Their SQLSTATE codes do not tell a missing right from a wrong query.
fn mysql_meaning(number: u16) -> Meaning {
    match number {
        // ER_DBACCESS_DENIED_ERROR, ER_ACCESS_DENIED_ERROR, ER_HOST_NOT_PRIVILEGED, ER_TABLEACCESS_DENIED_ERROR,
        // ER_COLUMNACCESS_DENIED_ERROR, ER_SPECIFIC_ACCESS_DENIED_ERROR, ER_PROCACCESS_DENIED_ERROR,
        // ER_ACCESS_DENIED_NO_PASSWORD_ERROR
        1044 | 1045 | 1130 | 1142 | 1143 | 1227 | 1370 | 1698 => Meaning::Refused,
        // ER_STATEMENT_TIMEOUT of MariaDB, ER_QUERY_TIMEOUT of MySQL
        1969 | 3024 => Meaning::TooSlow,
        // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
        1792 => Meaning::Writes,
        // ER_PARSE_ERROR
        1064 => Meaning::Syntax,
        // ER_DATA_OUT_OF_RANGE, ER_INVALID_JSON_TEXT_IN_PARAM
        1690 | 3141 => Meaning::Value,
        _ => Meaning::Other,
    }
}

#[cfg(test)]
mod tests;
