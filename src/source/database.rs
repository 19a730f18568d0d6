//! Offsets that applications keep in a table of PostgreSQL, MySQL or MariaDB.
//!
//! The tables of applications have no common form, so the operator writes a query whose result columns have fixed
//! names. The query runs as a subselect in a read-only transaction, once per interval. All its columns are cast to text
//! by the server and parsed here, so that a bad value rejects only its own row.

use std::{
    collections::HashSet,
    fmt,
    hash::RandomState,
    io,
    marker::PhantomData,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::postgres::PgListener;
use tokio::runtime::{Builder, Runtime};

use super::{
    SourceSettings,
    polled::{FollowOutcome, Listing, ListingRound, PolledSource, SubsetReader},
    rate_limit::RequestLimit,
};
use crate::{
    config::{
        self, KindSettings, Secret, SettingError,
        error::Key,
        resolve::Resolver,
        section::{Section, section},
        value::Setting,
    },
    store::latest::SourceError,
};

mod address;
mod connection;
mod error;
mod listen;
mod query;
mod row;

use address::{Address, AddressError};
use connection::Connector;
use query::Dialect;
use row::{Cells, RowReader};

section! {
    /// Settings of a `[sources.NAME]` of kind postgres or mysql: offsets in a table of a database.
    #[derive(Clone, Debug)]
    pub struct DatabaseSettings {
        /// URL of the database: postgres://USER@HOST:PORT/DATABASE or mysql://USER@HOST:PORT/DATABASE. Parameters:
        /// sslmode (disable, prefer, require, verify-ca or verify-full), and host=DIRECTORY (PostgreSQL) or
        /// socket=FILE (MySQL) of a Unix socket. Only verify-ca and verify-full check the server's certificate.
        pub url: String = Text(""), "no default; required";
        /// Password of the user.
        pub password: Secret = SecretText(""), "test servers often have no password";
        /// One SELECT whose columns are group_id, topic, partition and committed_offset, and optionally committed_at
        /// and metadata. It must return one row per group, topic and partition. Without the column group_id or topic,
        /// the setting `group` or `topic` is required.
        pub query: String = Text(""), "no default; required";
        /// Time between two runs of the query; longer if it takes more than a twentieth of it.
        pub interval: Duration = Time("10s"), "reading 200,000 rows takes the database about one second";
        /// Time after which the database ends the query.
        pub timeout: Duration = Time("30s"), "a query that takes longer slows the database down for others";
        /// Channel of PostgreSQL whose notifications (NOTIFY) run the query immediately. Letter case matters; an
        /// unquoted name in a NOTIFY is in lower case. Needs a second connection. Empty: none.
        pub listen: String = Text(""), "few databases have a trigger that notifies";
        /// PEM file of CA certificates that may sign the server's certificate, besides those of the system. Implies
        /// sslmode=verify-full. Empty: only those of the system.
        pub ca: Option<PathBuf> = OptionalPath(""), "the system has the public CA certificates";
        /// PEM file of the client certificate, if the server requires one.
        pub cert: Option<PathBuf> = OptionalPath(""), "few servers require one";
        /// PEM file of the client certificate's private key.
        pub cert_key: Option<PathBuf> = OptionalPath(""), "as for cert";
    }
}

/// A kind of database.
pub trait Product: Clone + fmt::Debug + Send + Sync + 'static {
    /// The value of `kind`.
    const KIND: &'static str;
    /// Example values, by key, for the settings that have no default.
    const EXAMPLES: &'static [(&'static str, &'static str)];
    /// How the database is spoken to.
    const DIALECT: Dialect;
}

/// PostgreSQL, and databases that speak its protocol.
#[derive(Clone, Debug)]
pub struct Postgres;

/// MySQL, MariaDB, and databases that speak their protocol.
#[derive(Clone, Debug)]
pub struct Mysql;

impl Product for Postgres {
    const KIND: &'static str = "postgres";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("url", "postgres://offsetd@127.0.0.1/etl"),
        ("query", "SELECT group_id, topic, partition, committed_offset FROM kafka_offsets"),
    ];
    const DIALECT: Dialect = Dialect::Postgres;
}

impl Product for Mysql {
    const KIND: &'static str = "mysql";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("url", "mysql://offsetd@127.0.0.1/etl"),
        ("query", "SELECT group_id, topic, `partition`, committed_offset FROM kafka_offsets"),
    ];
    const DIALECT: Dialect = Dialect::Mysql;
}

/// The settings of a source in a database of kind `P`.
#[derive(Clone, Debug)]
pub struct Database<P>(DatabaseSettings, PhantomData<P>);

impl<P: Product> Section for Database<P> {
    const SETTINGS: &'static [Setting] = DatabaseSettings::SETTINGS;

    fn resolve(resolver: &mut Resolver<'_>, key: &Key) -> Self {
        Self(DatabaseSettings::resolve(resolver, key), PhantomData)
    }

    fn visit(key: &Key, each: &mut dyn FnMut(&Key, &[Setting])) {
        DatabaseSettings::visit(key, each);
    }
}

impl<P: Product> KindSettings for Database<P> {
    const KIND: &'static str = P::KIND;
    const EXAMPLES: &'static [(&'static str, &'static str)] = P::EXAMPLES;

    fn check(&self, _: &config::Source) -> Result<(), SettingError> {
        self.0.check(P::DIALECT).map_err(|error| SettingError { setting: error.setting(), cause: Box::new(error) })
    }
}

impl<P: Product> SourceSettings for Database<P> {
    type Source = PolledSource<DatabaseListing>;

    fn open(&self, common: &config::Source) -> Self::Source {
        PolledSource::new(DatabaseListing::new(P::DIALECT, &self.0, common), self.0.interval)
    }

    fn examine(&self, common: &config::Source) -> Result<String, SourceError> {
        DatabaseListing::new(P::DIALECT, &self.0, common).examine()
    }
}

/// An error in the settings.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The URL is invalid.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The query is missing.
    #[error(
        "missing; set it to a SELECT with the columns group_id, topic, partition and committed_offset, and optionally \
         committed_at and metadata"
    )]
    NoQuery,
    /// `listen` is set for MySQL.
    #[error("MySQL has no notifications; remove it")]
    NoNotifications,
    /// The library refuses the URL.
    #[error("{0}")]
    Options(#[source] sqlx::Error),
    /// `ca` is set, but the certificate of the server is not checked.
    #[error("has no effect with sslmode={0}; set sslmode=verify-full in `url`")]
    UnusedCa(String),
    /// Only one of `cert` and `cert_key` is set.
    #[error("only one of `cert` and `cert_key` is set; set both or neither")]
    IncompleteIdentity,
}

impl DatabaseError {
    /// Returns the setting at fault.
    fn setting(&self) -> &'static str {
        match self {
            Self::Address(_) | Self::Options(_) => "url",
            Self::NoQuery => "query",
            Self::NoNotifications => "listen",
            Self::UnusedCa(_) => "ca",
            Self::IncompleteIdentity => "cert_key",
        }
    }
}

impl DatabaseSettings {
    fn check(&self, dialect: Dialect) -> Result<(), DatabaseError> {
        let address = Address::parse(&self.url, dialect)?;
        if query::trimmed(&self.query).is_empty() {
            return Err(DatabaseError::NoQuery);
        }
        if dialect == Dialect::Mysql && !self.listen.is_empty() {
            return Err(DatabaseError::NoNotifications);
        }
        match address.tls {
            Some(mode) if self.ca.is_some() && !mode.verifies() => {
                return Err(DatabaseError::UnusedCa(mode.to_string()));
            }
            _ => {}
        }
        self.identity().map(drop)
    }

    /// Returns the paths of the client's certificate and key.
    fn identity(&self) -> Result<Option<(&Path, &Path)>, DatabaseError> {
        match (&self.cert, &self.cert_key) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => Err(DatabaseError::IncompleteIdentity),
        }
    }
}

/// A listing of the rows of a query.
pub struct DatabaseListing {
    dialect: Dialect,
    settings: DatabaseSettings,
    common: config::Source,
    limit: RequestLimit,
    /// Keys of the hashes in `duplicates`.
    hasher: RandomState,
    /// Hashes of the (group, topic, partition) that had several rows in the last listing.
    duplicates: HashSet<u64>,
    /// Set by the first listing.
    io: Option<Io>,
}

/// The runtime that drives the connections, and the connection that lives longer than a listing.
struct Io {
    runtime: Runtime,
    listener: Option<PgListener>,
    /// Whether the log already says that there is no listener.
    has_warned: bool,
}

impl DatabaseListing {
    fn new(dialect: Dialect, settings: &DatabaseSettings, common: &config::Source) -> Self {
        Self {
            dialect,
            settings: settings.clone(),
            common: common.clone(),
            limit: RequestLimit::new(common.max_requests_per_second),
            hasher: RandomState::new(),
            duplicates: HashSet::new(),
            io: None,
        }
    }

    /// Runs the query, and describes its result for operators.
    fn examine(&self) -> Result<String, SourceError> {
        let connector = connector(self.dialect, &self.settings, (&self.common, &self.limit))?;
        let (mut found, mut malformed) = (0_u64, 0_u64);
        let count = |cells: Option<Cells<'_>>| {
            found += 1;
            malformed += u64::from(cells.and_then(|cells| row::parse(&cells, &self.common)).is_none());
        };
        Io::new()?.runtime.block_on(connector.run(async { connector.begin().await?.read(count).await }))?;
        Ok(match (found, malformed) {
            (0, _) => "`query` returns no row; check its tables and conditions, and the database in `url`".to_owned(),
            (found, 0) => format!("rows of `query`: {found}"),
            (found, malformed) => format!("rows of `query`: {found}, of which malformed: {malformed}"),
        })
    }
}

fn connector<'a>(
    dialect: Dialect,
    settings: &'a DatabaseSettings,
    shared: (&'a config::Source, &'a RequestLimit),
) -> Result<Connector<'a>, SourceError> {
    let failed = |error: DatabaseError| SourceError::Unreachable { reason: format!("{}: {error}", error.setting()) };
    Connector::new(dialect, settings, shared).map_err(failed)
}

impl Listing for DatabaseListing {
    fn list(&mut self, round: &mut ListingRound<'_>) -> Result<bool, SourceError> {
        let connector = connector(self.dialect, &self.settings, (&self.common, &self.limit))?;
        let Io { runtime, listener, has_warned } = match &mut self.io {
            Some(io) => io,
            none => none.insert(Io::new()?),
        };
        let channel = &*self.settings.listen;
        let mut rows = RowReader::new(round, &self.common, (&self.hasher, &self.duplicates));
        let (read, listening) = runtime.block_on(async {
            // Notifications are subscribed before the query runs, so that no change after it is missed.
            let listening = match connector.postgres() {
                Some(options) if !channel.is_empty() && listener.is_none() => {
                    listen::start(options, channel).await.map(|started| *listener = Some(started))
                }
                _ => Ok(()),
            };
            (connector.run(async { connector.begin().await?.read(|cells| rows.add(cells)).await }).await, listening)
        });
        let duplicates = rows.finish();
        read?;
        match listening {
            Ok(()) => *has_warned = false,
            Err(error) if !std::mem::replace(has_warned, true) => {
                let source = &*self.common.name;
                tracing::warn!(source, channel, %error, "cannot listen for notifications; polling every interval");
            }
            Err(_) => {}
        }
        // The first row of a key that turns out to have several has been passed to the round already. The next listing
        // leaves out all rows of the key, and is then complete.
        let is_complete = duplicates.is_subset(&self.duplicates);
        self.duplicates = duplicates;
        Ok(is_complete)
    }

    fn follow(&mut self, timeout: Duration, _: &SubsetReader<'_>) -> Option<FollowOutcome> {
        let Io { runtime, listener, .. } = self.io.as_mut()?;
        match runtime.block_on(listen::wait(listener.as_mut()?, timeout)) {
            Ok(false) => Some(FollowOutcome::Read),
            Ok(true) => Some(FollowOutcome::ListAll),
            Err(listen::Lost) => {
                let _context = runtime.enter();
                *listener = None;
                Some(FollowOutcome::ListAll)
            }
        }
    }
}

impl Io {
    fn new() -> Result<Self, SourceError> {
        let failed = |error: io::Error| SourceError::Unreachable { reason: format!("cannot start a runtime: {error}") };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        Ok(Self { runtime, listener: None, has_warned: false })
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        // The listener spawns a task when it is dropped.
        let _context = self.runtime.enter();
        self.listener = None;
    }
}

impl fmt::Debug for DatabaseListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseListing").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
