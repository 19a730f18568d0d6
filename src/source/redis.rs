//! Offsets that applications keep in Redis or Valkey, in hashes with a field per partition or in strings.
//!
//! All keys that match the layout are scanned periodically. In between, the keys that Redis reports as changed are
//! read. SCAN returns every key that exists from its start to its end, so that a complete scan also shows deleted and
//! expired keys.

use std::{fmt, fs, io, path::PathBuf, time::Duration};

use super::{
    SourceSettings,
    layout::{FixedParts, Layout, LayoutError, Placeholder, Preset, Template, Value, preset},
    node::Node,
    polled::{self, FollowOutcome, Listing, ListingRound, PolledSource, Subset},
    rate_limit::RequestLimit,
};
use crate::{
    config::{self, KindSettings, Secret, SettingError, section::section},
    store::latest::SourceError,
};

mod address;
mod connection;
mod scan;
mod tracking;

use address::{Address, AddressError};
use connection::{Connector, Server};
use scan::{ParsedKey, RedisType, Scan};
use tracking::{ServerChanges, Tracking};

section! {
    /// Settings of a `[sources.NAME]` of kind redis: offsets in Redis or Valkey.
    #[derive(Clone, Debug)]
    pub struct Redis {
        /// URL of the server: redis://USER@HOST:PORT/DATABASE, rediss:// for TLS, redis+cluster://HOST:PORT,HOST:PORT
        /// or redis+sentinel://HOST:PORT,HOST:PORT/NAME/DATABASE. User and database are optional.
        pub url: String = Text(""), "no default; required";
        /// Password of the user, or of the server.
        pub password: Secret = SecretText(""), "test servers often have no password";
        /// Template of the keys: an example key with {group}, {topic}, {partition} or {*} in place of the varying
        /// parts.
        pub key: String = Text(""), "no default; either key or layout is required";
        /// Template of the fields of a hash. Empty: {partition}; if the key contains the partition, the key is a
        /// string.
        pub field: String = Text(""), "most layouts have a field per partition";
        /// Form of the values: text, int64, int32 (big-endian bytes), or a template of text or JSON.
        pub value: String = Text("text"), "most applications store offsets as digits";
        /// Separator of the elements of a value that is a list. Empty: the value is not a list.
        pub list: String = Text(""), "most values are one offset";
        /// Named layout instead of key and field: spark-tutorial, gmall, group-hash or streampark.
        pub layout: String = Text(""), "no default; either key or layout is required";
        /// Time between two scans of the keys; longer if a scan takes more than a twentieth of it, and 60 times as long
        /// while Redis reports changes itself (from Redis 6, if the user may run CLIENT TRACKING).
        pub interval: Duration = Time("10s"), "scanning a million fields takes Redis about one second";
        /// PEM file of the CA certificates that sign the server's certificate. Empty: the CA certificates of the
        /// system.
        pub ca: Option<PathBuf> = OptionalPath(""), "the system has the public CA certificates";
        /// PEM file of the client certificate, if the server requires one.
        pub cert: Option<PathBuf> = OptionalPath(""), "few servers require one";
        /// PEM file of the client certificate's private key.
        pub cert_key: Option<PathBuf> = OptionalPath(""), "as for cert";
    }
}

impl KindSettings for Redis {
    const KIND: &'static str = "redis";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("url", "redis://127.0.0.1:6379/0"), ("key", "offset:{topic}:{group}")];

    fn check(&self, common: &config::Source) -> Result<(), SettingError> {
        let address = Address::parse(&self.url).map_err(RedisError::from);
        let checked = address.and_then(|_| self.read_layout(common)).and_then(|_| self.identity());
        checked.map(drop).map_err(|error| SettingError { setting: error.setting(), cause: error.into() })
    }
}

impl SourceSettings for Redis {
    type Source = PolledSource<RedisListing>;

    fn open(&self, common: &config::Source) -> Self::Source {
        PolledSource::new(RedisListing::new(self, common), self.interval)
    }

    fn layout(&self, common: &config::Source) -> Option<Layout> {
        self.read_layout(common).ok().map(|(layout, _)| layout)
    }

    fn location(&self) -> Option<String> {
        self.templates().ok().map(|(key, _)| key.to_owned())
    }

    fn examine(&self, common: &config::Source) -> Result<String, SourceError> {
        let (layout, _) = self.read_layout(common).map_err(|error| settings_error(&error))?;
        let limit = RequestLimit::new(common.max_requests_per_second);
        let servers = self.connector(limit).map_err(|error| settings_error(&error))?.connect()?;
        let pattern = layout.names().first().map(Template::glob).unwrap_or_default();
        let mut found = 0;
        for mut server in servers {
            found += scan::count(&mut server, &pattern)
                .map_err(|error| connection::to_source_error(&server.node, &error))?;
        }
        Ok(match found {
            0 => format!("no key matches {pattern:?}; check `key` and the database in `url`"),
            found => format!("{found} keys match {pattern:?}"),
        })
    }
}

/// An error in the settings.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// The URL is invalid.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A template is invalid, or the templates together are.
    #[error("{cause}")]
    Layout {
        /// The setting at fault.
        setting: &'static str,
        /// The error in the layout.
        #[source]
        cause: LayoutError,
    },
    /// The setting `layout` has an unknown name.
    #[error("unknown layout {0:?}; allowed: spark-tutorial, gmall, group-hash, streampark")]
    UnknownLayout(String),
    /// Neither `key` nor `layout` is set.
    #[error("missing; set it to a template such as \"offset:{{topic}}:{{group}}\", or set `layout`")]
    NoKey,
    /// Both `layout` and `key` or `field` are set.
    #[error("replaces `key` and `field`, which are set too; remove either")]
    LayoutAndKey,
    /// Only one of `cert` and `cert_key` is set.
    #[error("only one of `cert` and `cert_key` is set; set both or neither")]
    IncompleteIdentity,
    /// A certificate file cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The I/O error.
        #[source]
        error: io::Error,
    },
}

impl Redis {
    /// Builds the layout from the templates of the settings.
    fn read_layout(&self, common: &config::Source) -> Result<(Layout, RedisType), RedisError> {
        let (key, field) = self.templates()?;
        let wrong = |setting| move |cause| RedisError::Layout { setting, cause };
        let key = Template::parse(key).map_err(wrong("key"))?;
        let list = (!self.list.is_empty()).then_some(&*self.list);
        let value = Value::parse(&self.value, list).map_err(wrong("value"))?;
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let fixed = FixedParts { group: text(&common.group), topic: text(&common.topic), offset_is: common.offset_is };
        let is_string = field.is_empty() && Layout::new(vec![key.clone()], value.clone(), fixed.clone()).is_ok();
        if is_string {
            return Ok((Layout::new(vec![key], value, fixed).map_err(wrong("key"))?, RedisType::String));
        }
        let field = if field.is_empty() { "{partition}" } else { field };
        let field = Template::parse(field).map_err(wrong("field"))?;
        Ok((Layout::new(vec![key, field], value, fixed).map_err(wrong("key"))?, RedisType::Hash))
    }

    fn templates(&self) -> Result<(&str, &str), RedisError> {
        if self.layout.is_empty() {
            return if self.key.is_empty() { Err(RedisError::NoKey) } else { Ok((&self.key, &self.field)) };
        }
        if !self.key.is_empty() || !self.field.is_empty() {
            return Err(RedisError::LayoutAndKey);
        }
        let unknown = || RedisError::UnknownLayout(self.layout.clone());
        let Preset { settings, .. } = preset("redis", &self.layout).ok_or_else(unknown)?;
        let setting =
            |name| settings.iter().find(|(setting, _)| *setting == name).map_or("", |(_, template)| *template);
        Ok((setting("key"), setting("field")))
    }

    /// Returns the paths of the client's certificate and key.
    fn identity(&self) -> Result<Option<(&PathBuf, &PathBuf)>, RedisError> {
        match (&self.cert, &self.cert_key) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => Err(RedisError::IncompleteIdentity),
        }
    }

    fn connector(&self, limit: RequestLimit) -> Result<Connector, RedisError> {
        let address = Address::parse(&self.url)?;
        let read = |path: &PathBuf| fs::read(path).map_err(|error| RedisError::File { path: path.clone(), error });
        let identity = match self.identity()? {
            Some((cert, key)) => Some((read(cert)?, read(key)?)),
            None => None,
        };
        let password = (!self.password.is_empty()).then(|| self.password.0.clone());
        Ok(Connector { address, password, roots: self.ca.as_ref().map(read).transpose()?, identity, limit })
    }
}

impl RedisError {
    /// Returns the setting at fault.
    fn setting(&self) -> &'static str {
        match self {
            Self::Address(_) => "url",
            Self::Layout { setting, .. } => setting,
            Self::UnknownLayout(_) | Self::LayoutAndKey => "layout",
            Self::NoKey => "key",
            Self::IncompleteIdentity => "cert_key",
            Self::File { .. } => "ca",
        }
    }
}

/// Converts an error of the settings that appears only at run time, such as a missing file.
fn settings_error(error: &RedisError) -> SourceError {
    SourceError::Unreachable { reason: format!("{}: {error}", error.setting()) }
}

/// Factor by which the time between two scans exceeds `interval` while Redis reports changes.
const INTERVAL_FACTOR: u32 = 60;

/// A listing of all keys of a layout. Between two listings, it reads the keys that Redis reports as changed.
pub struct RedisListing {
    settings: Redis,
    common: config::Source,
    limit: RequestLimit,
    was_complete: bool,
    change_reader: Option<ChangeReader>,
}

/// The state needed to read changed keys.
struct ChangeReader {
    layout: Layout,
    redis_type: RedisType,
    /// The servers, in the order of the connections of `tracking`.
    servers: Vec<Server>,
    tracking: Tracking,
    changed: Vec<ServerChanges>,
}

impl RedisListing {
    fn new(settings: &Redis, common: &config::Source) -> Self {
        let limit = RequestLimit::new(common.max_requests_per_second);
        Self { settings: settings.clone(), common: common.clone(), limit, was_complete: false, change_reader: None }
    }

    /// Subscribes to key changes. Returns `None` if Redis does not report them, or if a key name does not identify its
    /// rows.
    fn start_tracking(&self, connector: &Connector, nodes: &[Node], layout: &Layout) -> Option<Tracking> {
        let key = layout.names().first()?;
        let has_group = !self.common.group.is_empty() || key.placeholders().any(|part| part == Placeholder::Group);
        if !has_group || !key.identifies_rows() {
            return None;
        }
        let started = Tracking::start(connector, nodes, key.prefix());
        started.map_err(|error| tracing::debug!(%error, "key tracking is unavailable; using scans only")).ok()
    }
}

impl Listing for RedisListing {
    fn list(&mut self, round: &mut ListingRound<'_>) -> Result<bool, SourceError> {
        self.change_reader = None;
        let (layout, redis_type) = self.settings.read_layout(&self.common).map_err(|error| settings_error(&error))?;
        // The certificate files are read each time, since they may have changed.
        let connector = self.settings.connector(self.limit.clone()).map_err(|error| settings_error(&error))?;
        let mut servers = connector.connect()?;
        let nodes: Vec<Node> = servers.iter().map(|server| server.node.clone()).collect();
        // Tracking starts before the scan, so that changes during the scan are reported.
        let tracking = self.start_tracking(&connector, &nodes, &layout);
        let mut scan = Scan::new(&layout, redis_type, round);
        for server in &mut servers {
            scan.read(server).map_err(|error| connection::to_source_error(&server.node, &error))?;
        }
        let (is_forbidden, has_moved, awaits_topics) = (scan.forbidden > 0, scan.has_moved, scan.awaits_topics());
        scan.finish();
        // A key that moves between two servers of a cluster during the scan may be missed on both.
        let is_cluster = connector.address.deployment == address::Deployment::Cluster;
        let is_steady = !has_moved && (!is_cluster || connector.primaries()? == nodes);
        // A key that the user may no longer read may still exist.
        let is_complete = is_steady && (!is_forbidden || !self.was_complete);
        self.was_complete |= is_complete;
        // Without tracking, the next scan comes soon. It resolves the keys that are ambiguous until the topics are
        // known.
        let tracking = tracking.filter(|_| !awaits_topics);
        self.change_reader =
            tracking.map(|tracking| ChangeReader { layout, redis_type, servers, tracking, changed: vec![] });
        Ok(is_complete)
    }

    fn interval_factor(&self) -> u32 {
        if self.change_reader.is_some() { INTERVAL_FACTOR } else { 1 }
    }

    fn follow(&mut self, timeout: Duration, subsets: &polled::SubsetReader<'_>) -> Option<FollowOutcome> {
        let outcome = self.change_reader.as_mut()?.read(timeout, subsets, &self.common.group);
        if outcome.is_none() {
            self.change_reader = None;
        }
        Some(outcome.unwrap_or(FollowOutcome::ListAll))
    }
}

impl ChangeReader {
    /// Waits for changes and reads them. Returns `None` if a connection is lost or a key has moved.
    fn read(&mut self, timeout: Duration, subsets: &polled::SubsetReader<'_>, group: &str) -> Option<FollowOutcome> {
        self.tracking.wait(timeout, &mut self.changed).ok()?;
        let topics = subsets.topics();
        for (server, changed) in self.servers.iter_mut().zip(&mut self.changed) {
            if std::mem::take(&mut changed.other_keys) {
                return Some(FollowOutcome::ListAll);
            }
            for name in changed.keys.drain() {
                let text = std::str::from_utf8(&name).ok();
                let key = self.layout.names().first();
                let read = |(text, key): (_, &Template)| polled::read_name(key, text, topics.as_deref());
                // A key that does not match the layout is counted by the next scan.
                let Some(Ok(names)) = text.zip(key).map(read) else { continue };
                let key = ParsedKey { name, parts: names.clone() };
                let group = names.group.as_deref().unwrap_or(group);
                let subset = Subset { group, topic: names.topic.as_deref(), partition: names.partition };
                let mut has_moved = false;
                let read = subsets.read(&subset, |round| {
                    let mut scan = Scan::new(&self.layout, self.redis_type, round);
                    scan.read_key(server, &key)?;
                    has_moved = scan.has_moved;
                    let is_complete = scan.forbidden == 0 && !has_moved;
                    scan.finish();
                    Ok::<_, redis::RedisError>(is_complete)
                });
                if read.is_err() || has_moved {
                    return None;
                }
            }
        }
        Some(FollowOutcome::Read)
    }
}

impl fmt::Debug for RedisListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisListing").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
