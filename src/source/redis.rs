//! Offsets that applications keep in Redis or Valkey: in hashes with a field for each partition, or in strings.
//!
//! All keys that match the layout are read again and again, and between, those that Redis tells to have changed. SCAN returns each key that is there throughout, so that a complete
//! walk tells of deletions and expired keys too.

use std::{fmt, fs, io, path::PathBuf, time::Duration};

use super::{
    Configured,
    layout::{Fixed, Layout, LayoutError, Placeholder, Preset, Template, Value, preset},
    polled::{self, Listing, Part, Polled, Round, Told},
};
use crate::{
    config::{self, KindSettings, Secret, SettingError, section::section},
    store::latest::SourceError,
};

mod address;
mod connection;
mod scan;
mod tracking;

use address::{Address, AddressError, Node};
use connection::{Connector, Server};
use scan::{Form, Key, Scan};
use tracking::{Changed, Tracking};

section! {
    /// `[sources.NAME]` of kind redis: offsets in Redis or Valkey.
    #[derive(Clone, Debug)]
    pub struct Redis {
        /// Where it is: redis://USER@HOST:PORT/DATABASE, rediss:// for TLS, redis+cluster://HOST:PORT,HOST:PORT or
        /// redis+sentinel://HOST:PORT,HOST:PORT/NAME/DATABASE. The user and the database may be left out.
        pub url: String = Text(""), "there is no default: it must be given";
        /// Password of the user, or of the server.
        pub password: Secret = SecretText(""), "servers of tests have none";
        /// Keys, as a template: an example with {group}, {topic}, {partition} or {*} in the place of what differs.
        pub key: String = Text(""), "a layout, or a key, must be given";
        /// Fields of hashes, as a template. Empty: {partition}, or a string where the key names the partition.
        pub field: String = Text(""), "most layouts have a field for each partition";
        /// Values: text, int64, int32 (bytes, the highest first), or a template of text or JSON.
        pub value: String = Text("text"), "offsets are kept as digits";
        /// What stands between the elements of a value that is a list. Empty: it is none.
        pub list: String = Text(""), "most values are one offset";
        /// The layout by name, in the place of key and field: spark-tutorial, gmall, group-hash or streampark.
        pub layout: String = Text(""), "a key, or a layout, must be given";
        /// Time between two walks over the keys; longer if a walk takes more than a twentieth of it, and 60 times as long while
        /// Redis tells of changes (from Redis 6 on, and if the user may use CLIENT TRACKING).
        pub interval: Duration = Time("10s"), "a walk over a million fields takes a second of Redis";
        /// PEM file of the certificates that the server's must be signed by. Empty: those of the system.
        pub ca: Option<PathBuf> = OptionalPath(""), "the system knows public certificates";
        /// PEM file of the client's certificate, if the server wants one.
        pub cert: Option<PathBuf> = OptionalPath(""), "few servers want one";
        /// PEM file of its private key.
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

impl Configured for Redis {
    type Source = Polled<Keys>;

    fn open(&self, common: &config::Source) -> Self::Source {
        Polled::new(Keys::new(self, common), self.interval)
    }

    fn examine(&self, common: &config::Source) -> Result<String, SourceError> {
        let (layout, _) = self.read_layout(common).map_err(|error| unusable(&error))?;
        let servers = self.connector().map_err(|error| unusable(&error))?.connect()?;
        let pattern = layout.names().first().map(Template::glob).unwrap_or_default();
        let mut found = 0;
        for mut server in servers {
            found += scan::count(&mut server, &pattern).map_err(|error| connection::failed(&server.node, &error))?;
        }
        Ok(match found {
            0 => format!("no key matches {pattern:?}; check `key` and the database in `url`"),
            found => format!("{found} keys match {pattern:?}"),
        })
    }
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// The URL.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A template, or what all of them give together.
    #[error("{cause}")]
    Layout {
        /// Which setting.
        setting: &'static str,
        /// Why.
        #[source]
        cause: LayoutError,
    },
    /// No layout is called so.
    #[error("no layout of Redis is called {0:?}; allowed: spark-tutorial, gmall, group-hash, streampark")]
    UnknownLayout(String),
    /// Neither.
    #[error("not given; write an example with names in braces, as \"offset:{{topic}}:{{group}}\", or set `layout`")]
    NoKey,
    /// Both.
    #[error("stands for key and field, which are given too; leave one out")]
    Both,
    /// One of the two.
    #[error("cert and cert_key belong together; one of them is missing")]
    HalfIdentity,
    /// A certificate.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

impl Redis {
    /// Puts the templates together.
    fn read_layout(&self, common: &config::Source) -> Result<(Layout, Form), RedisError> {
        let (key, field) = self.templates()?;
        let wrong = |setting| move |cause| RedisError::Layout { setting, cause };
        let key = Template::parse(key).map_err(wrong("key"))?;
        let list = (!self.list.is_empty()).then_some(&*self.list);
        let value = Value::parse(&self.value, list).map_err(wrong("value"))?;
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let fixed = Fixed { group: text(&common.group), topic: text(&common.topic), offset_is: common.offset_is };
        let is_string = field.is_empty() && Layout::new(vec![key.clone()], value.clone(), fixed.clone()).is_ok();
        if is_string {
            return Ok((Layout::new(vec![key], value, fixed).map_err(wrong("key"))?, Form::String));
        }
        let field = if field.is_empty() { "{partition}" } else { field };
        let field = Template::parse(field).map_err(wrong("field"))?;
        Ok((Layout::new(vec![key, field], value, fixed).map_err(wrong("key"))?, Form::Hash))
    }

    fn templates(&self) -> Result<(&str, &str), RedisError> {
        if self.layout.is_empty() {
            return if self.key.is_empty() { Err(RedisError::NoKey) } else { Ok((&self.key, &self.field)) };
        }
        if !self.key.is_empty() || !self.field.is_empty() {
            return Err(RedisError::Both);
        }
        let unknown = || RedisError::UnknownLayout(self.layout.clone());
        let Preset { settings, .. } = preset("redis", &self.layout).ok_or_else(unknown)?;
        let setting =
            |name| settings.iter().find(|(setting, _)| *setting == name).map_or("", |(_, template)| *template);
        Ok((setting("key"), setting("field")))
    }

    /// The files of the client's certificate and key.
    fn identity(&self) -> Result<Option<(&PathBuf, &PathBuf)>, RedisError> {
        match (&self.cert, &self.cert_key) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => Err(RedisError::HalfIdentity),
        }
    }

    fn connector(&self) -> Result<Connector, RedisError> {
        let address = Address::parse(&self.url)?;
        let read = |path: &PathBuf| fs::read(path).map_err(|error| RedisError::File { path: path.clone(), error });
        let identity = match self.identity()? {
            Some((cert, key)) => Some((read(cert)?, read(key)?)),
            None => None,
        };
        let password = (!self.password.is_empty()).then(|| self.password.0.clone());
        Ok(Connector { address, password, roots: self.ca.as_ref().map(read).transpose()?, identity })
    }
}

impl RedisError {
    /// Which setting is at fault.
    fn setting(&self) -> &'static str {
        match self {
            Self::Address(_) => "url",
            Self::Layout { setting, .. } => setting,
            Self::UnknownLayout(_) | Self::Both => "layout",
            Self::NoKey => "key",
            Self::HalfIdentity => "cert_key",
            Self::File { .. } => "ca",
        }
    }
}

/// The settings cannot be used now: a file is not there.
fn unusable(error: &RedisError) -> SourceError {
    SourceError::Unreachable { reason: format!("{}: {error}", error.setting()) }
}

/// How many times longer than `interval` the time between two walks is, while Redis tells of changes.
const STRETCH: u32 = 60;

/// Reads all keys of a layout, and between two walks those that Redis tells to have changed.
pub struct Keys {
    settings: Redis,
    common: config::Source,
    has_been_read: bool,
    following: Option<Following>,
}

/// What is needed to read changed keys.
struct Following {
    layout: Layout,
    form: Form,
    /// In the same order.
    servers: Vec<Server>,
    tracking: Tracking,
    changed: Vec<Changed>,
}

impl Keys {
    fn new(settings: &Redis, common: &config::Source) -> Self {
        Self { settings: settings.clone(), common: common.clone(), has_been_read: false, following: None }
    }

    /// Begins to be told of changes. `None`: Redis does not tell, or the layout does not say of which rows a key is.
    fn start(&self, connector: &Connector, nodes: &[Node], layout: &Layout) -> Option<Tracking> {
        let key = layout.names().first()?;
        let has_group = !self.common.group.is_empty() || key.placeholders().any(|part| part == Placeholder::Group);
        if !has_group || !key.tells_one_part() {
            return None;
        }
        let started = Tracking::start(connector, nodes, key.prefix());
        started.map_err(|error| tracing::debug!(%error, "Redis does not tell of changes")).ok()
    }
}

impl Listing for Keys {
    fn list(&mut self, round: &mut Round<'_>) -> Result<bool, SourceError> {
        self.following = None;
        let (layout, form) = self.settings.read_layout(&self.common).map_err(|error| unusable(&error))?;
        // Each time, since files of certificates may have changed.
        let connector = self.settings.connector().map_err(|error| unusable(&error))?;
        let mut servers = connector.connect()?;
        let nodes: Vec<Node> = servers.iter().map(|server| server.node.clone()).collect();
        // Before the walk: what changes during it is told.
        let tracking = self.start(&connector, &nodes, &layout);
        let mut scan = Scan::new(&layout, form, round);
        for server in &mut servers {
            scan.read(server).map_err(|error| connection::failed(&server.node, &error))?;
        }
        let (is_forbidden, has_moved, is_open) = (scan.forbidden > 0, scan.has_moved, scan.is_open());
        // A key that moves between two servers of a cluster meanwhile may be seen at neither.
        let is_cluster = connector.address.form == address::Form::Cluster;
        let is_steady = !has_moved && (!is_cluster || connector.primaries()? == nodes);
        // What may not be read any more may still be there.
        let is_complete = is_steady && (!is_forbidden || !self.has_been_read);
        self.has_been_read |= is_complete;
        // Keys that the topics will decide are read by the next walk, which comes soon without tracking.
        let tracking = tracking.filter(|_| !is_open);
        self.following = tracking.map(|tracking| Following { layout, form, servers, tracking, changed: vec![] });
        Ok(is_complete)
    }

    fn stretch(&self) -> u32 {
        if self.following.is_some() { STRETCH } else { 1 }
    }

    fn follow(&mut self, patience: Duration, parts: &polled::Parts<'_>) -> Option<Told> {
        let told = self.following.as_mut()?.read(patience, parts, &self.common.group);
        if told.is_none() {
            self.following = None;
        }
        Some(told.unwrap_or(Told::ListAll))
    }
}

impl Following {
    /// Waits for changes and reads them. `None`: a connection is lost, or a key has moved.
    fn read(&mut self, patience: Duration, parts: &polled::Parts<'_>, group: &str) -> Option<Told> {
        self.tracking.wait(patience, &mut self.changed).ok()?;
        let topics = parts.topics();
        for (server, changed) in self.servers.iter_mut().zip(&mut self.changed) {
            if std::mem::take(&mut changed.all) {
                return Some(Told::ListAll);
            }
            for name in changed.keys.drain() {
                let text = std::str::from_utf8(&name).ok();
                let key = self.layout.names().first();
                let read =
                    |(text, key): (_, &Template)| scan::with_topics(topics.as_deref(), |known| key.read(text, known));
                // A key that is of no row is counted by the next walk.
                let Some(Ok(told)) = text.zip(key).map(read) else { continue };
                let key = Key { name, parts: told.clone() };
                let group = told.group.as_deref().unwrap_or(group);
                let part = Part { group, topic: told.topic.as_deref(), partition: told.partition };
                let mut has_moved = false;
                let read = parts.read(&part, |round| {
                    let mut scan = Scan::new(&self.layout, self.form, round);
                    scan.read_key(server, &key)?;
                    has_moved = scan.has_moved;
                    Ok::<_, redis::RedisError>(scan.forbidden == 0 && !has_moved)
                });
                if read.is_err() || has_moved {
                    return None;
                }
            }
        }
        Some(Told::Read)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
