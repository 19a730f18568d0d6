//! Connections to a database, and the transaction in which the query runs.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Row as _,
    mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow, MySqlSslMode},
    postgres::{PgConnectOptions, PgConnection, PgRow, PgSslMode},
};
use tokio::time;

use super::{
    DatabaseError, DatabaseSettings, Dialect,
    address::{Address, TlsMode},
    error::ReadError,
    query::QueryColumns,
    row::Cells,
};
use crate::{config, source::rate_limit::RequestLimit, store::latest::SourceError};

/// Timeout of connecting, with the login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a read may take beyond the timeouts of connecting and of the query.
const GRACE: Duration = Duration::from_secs(5);

/// The settings needed to read a database.
pub(super) struct Connector<'a> {
    settings: &'a DatabaseSettings,
    common: &'a config::Source,
    dialect: Dialect,
    address: Address,
    options: Options,
    limit: &'a RequestLimit,
}

enum Options {
    Postgres(Box<PgConnectOptions>),
    Mysql(Box<MySqlConnectOptions>),
}

/// A connection in a read-only transaction.
pub(super) struct Reader<'a> {
    connection: Connection,
    connector: &'a Connector<'a>,
}

enum Connection {
    Postgres(PgConnection),
    Mysql(MySqlConnection),
}

enum Row {
    Postgres(PgRow),
    Mysql(MySqlRow),
}

impl<'a> Connector<'a> {
    pub(super) fn new(
        dialect: Dialect,
        settings: &'a DatabaseSettings,
        (common, limit): (&'a config::Source, &'a RequestLimit),
    ) -> Result<Self, DatabaseError> {
        let address = Address::parse(&settings.url, dialect)?;
        let options = match dialect {
            Dialect::Postgres => Options::Postgres(Box::new(postgres_options(&address, settings)?)),
            Dialect::Mysql => Options::Mysql(Box::new(mysql_options(&address, settings)?)),
        };
        Ok(Self { settings, common, dialect, address, options, limit })
    }

    /// Returns the options of a further connection to a PostgreSQL.
    pub(super) fn postgres(&self) -> Option<&PgConnectOptions> {
        match &self.options {
            Options::Postgres(options) => Some(options),
            Options::Mysql(_) => None,
        }
    }

    /// Waits for `work`, which uses this connector, for a limited time.
    pub(super) async fn run<T>(&self, work: impl Future<Output = Result<T, ReadError>>) -> Result<T, SourceError> {
        let limit = CONNECT_TIMEOUT + self.settings.timeout + GRACE;
        let result = time::timeout(limit, work).await.unwrap_or(Err(ReadError::Timeout(limit)));
        result.map_err(|error| error.into_source_error(self.dialect, &self.address, self.settings.timeout))
    }

    /// Connects and begins a read-only transaction.
    pub(super) async fn begin(&self) -> Result<Reader<'_>, ReadError> {
        self.limit.wait();
        let connect = async {
            match &self.options {
                Options::Postgres(options) => options.connect().await.map(Connection::Postgres),
                Options::Mysql(options) => options.connect().await.map(Connection::Mysql),
            }
        };
        let connected = time::timeout(CONNECT_TIMEOUT, connect).await;
        let mut connection = connected.map_err(|_| ReadError::Timeout(CONNECT_TIMEOUT))??;
        self.limit.wait();
        connection.execute(self.dialect.begin(self.settings.timeout)).await?;
        Ok(Reader { connection, connector: self })
    }
}

impl Reader<'_> {
    /// Runs the query and passes the cells of each row to `each`: `None` if one is not UTF-8.
    pub(super) async fn read(mut self, mut each: impl FnMut(Option<Cells<'_>>)) -> Result<(), ReadError> {
        let columns = self.columns().await?;
        let statement = self.connector.dialect.select(&self.connector.settings.query, &columns);
        let mut rows = self.rows(statement);
        while let Some(row) = rows.try_next().await? {
            each(row.cells());
        }
        drop(rows);
        self.close().await;
        Ok(())
    }

    async fn columns(&mut self) -> Result<QueryColumns, ReadError> {
        let statement = Dialect::describe(&self.connector.settings.query);
        let row = self.rows(statement).try_next().await?;
        let names = row.as_ref().map(Row::names).unwrap_or_default();
        let common = self.connector.common;
        Ok(QueryColumns::find(names, &common.group, &common.topic)?)
    }

    /// Runs a statement. It is sent as a prepared statement, so that the database refuses several statements.
    fn rows(&mut self, statement: String) -> BoxStream<'_, Result<Row, sqlx::Error>> {
        self.connector.limit.wait();
        let statement = AssertSqlSafe(statement);
        match &mut self.connection {
            // The statement has no name. A pooler such as PgBouncer would keep a named one.
            Connection::Postgres(connection) => {
                sqlx::query(statement).persistent(false).fetch(connection).map_ok(Row::Postgres).boxed()
            }
            Connection::Mysql(connection) => {
                sqlx::query(statement).persistent(false).fetch(connection).map_ok(Row::Mysql).boxed()
            }
        }
    }

    /// Ends the transaction and the connection. Errors do not matter, since everything has been read.
    async fn close(self) {
        let _ = match self.connection {
            Connection::Postgres(connection) => connection.close().await,
            Connection::Mysql(connection) => connection.close().await,
        };
    }
}

impl Connection {
    /// Runs one or several statements without result.
    async fn execute(&mut self, statements: String) -> Result<(), sqlx::Error> {
        let statements = sqlx::raw_sql(AssertSqlSafe(statements));
        match self {
            Self::Postgres(connection) => statements.execute(connection).await.map(drop),
            Self::Mysql(connection) => statements.execute(connection).await.map(drop),
        }
    }
}

impl Row {
    fn names(&self) -> Vec<&str> {
        match self {
            Self::Postgres(row) => row.columns().iter().map(|column| column.name()).collect(),
            Self::Mysql(row) => row.columns().iter().map(|column| column.name()).collect(),
        }
    }

    /// Returns all cells, or `None` if one is not UTF-8.
    fn cells(&self) -> Option<Cells<'_>> {
        let mut cells = Cells::default();
        for (index, cell) in cells.iter_mut().enumerate() {
            let read = match self {
                Self::Postgres(row) => row.try_get_unchecked(index),
                Self::Mysql(row) => row.try_get_unchecked(index),
            };
            *cell = read.ok()?;
        }
        Some(cells)
    }
}

/// Returns the TLS mode: that of the URL, or else the strictest one that the settings allow.
fn tls_mode(address: &Address, settings: &DatabaseSettings) -> TlsMode {
    let default = if settings.ca.is_some() { TlsMode::VerifyFull } else { TlsMode::Preferred };
    address.tls.unwrap_or(default)
}

fn postgres_options(address: &Address, settings: &DatabaseSettings) -> Result<PgConnectOptions, DatabaseError> {
    let options = PgConnectOptions::from_url(&address.url).map_err(DatabaseError::Options)?;
    let mut options = options.host(address.host()).ssl_mode(match tls_mode(address, settings) {
        TlsMode::Disabled => PgSslMode::Disable,
        TlsMode::Preferred => PgSslMode::Prefer,
        TlsMode::Required => PgSslMode::Require,
        TlsMode::VerifyCa => PgSslMode::VerifyCa,
        TlsMode::VerifyFull => PgSslMode::VerifyFull,
    });
    if !settings.password.is_empty() {
        options = options.password(&settings.password.0);
    }
    if let Some(ca) = &settings.ca {
        options = options.ssl_root_cert(ca);
    }
    if let Some((cert, key)) = settings.identity()? {
        options = options.ssl_client_cert(cert).ssl_client_key(key);
    }
    // PgBouncer refuses parameters that it does not know.
    Ok(options.extra_float_digits(None).application_name("offsetd").disable_statement_logging())
}

fn mysql_options(address: &Address, settings: &DatabaseSettings) -> Result<MySqlConnectOptions, DatabaseError> {
    let options = MySqlConnectOptions::from_url(&address.url).map_err(DatabaseError::Options)?;
    let mut options = options.host(address.host()).ssl_mode(match tls_mode(address, settings) {
        TlsMode::Disabled => MySqlSslMode::Disabled,
        TlsMode::Preferred => MySqlSslMode::Preferred,
        TlsMode::Required => MySqlSslMode::Required,
        TlsMode::VerifyCa => MySqlSslMode::VerifyCa,
        TlsMode::VerifyFull => MySqlSslMode::VerifyIdentity,
    });
    if !settings.password.is_empty() {
        options = options.password(&settings.password.0);
    }
    if let Some(ca) = &settings.ca {
        options = options.ssl_ca(ca);
    }
    if let Some((cert, key)) = settings.identity()? {
        options = options.ssl_client_cert(cert).ssl_client_key(key);
    }
    // The query means the same as in the client of the operator.
    Ok(options.pipes_as_concat(false).no_engine_substitution(false).disable_statement_logging())
}
