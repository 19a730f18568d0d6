//! Offsets that applications keep in ZooKeeper or ClickHouse Keeper, one or several per znode.
//!
//! All znodes that match the layout are read periodically. In between, the znodes that ZooKeeper reports as changed are
//! read. The client is our own: it only reads, and needs no other packages.

use std::{path::PathBuf, time::Duration};

use super::{
    SourceSettings,
    layout::{FixedParts, Layout, LayoutError, Template, Value, preset},
    polled::PolledSource,
    rate_limit::RequestLimit,
};
use crate::{
    config::{self, KindSettings, Secret, SettingError, section::section},
    store::latest::SourceError,
};

mod address;
mod consumers;
mod examine;
mod frame;
mod listing;
mod session;
mod tls;
mod tree;
mod wire;

use address::{Address, AddressError};
use listing::ZnodeLayout;
pub use listing::ZooKeeperListing;
use session::{Connector, Login};
use tls::TlsError;
use tree::{PathTree, TreeError};

section! {
    /// Settings of a `[sources.NAME]` of kind zookeeper: offsets in ZooKeeper or ClickHouse Keeper.
    #[derive(Clone, Debug)]
    pub struct ZooKeeper {
        /// The servers, HOST:PORT,HOST:PORT, with /CHROOT at the end if all paths lie below one. They are tried in
        /// turn, and one is read.
        pub servers: String = Text(""), "no default; required";
        /// Template of the paths: an example path with {group}, {topic}, {partition} or {*} in place of the varying
        /// parts.
        pub path: String = Text(""), "no default; either path or layout is required";
        /// Form of the data of a znode: text, int64, int32 (big-endian bytes), or a template of text or JSON.
        pub value: String = Text("text"), "most applications store offsets as digits";
        /// Separator of the elements of data that is a list. Empty: the data is not a list.
        pub list: String = Text(""), "most znodes have one offset";
        /// Named layout instead of path: consumers, storm or clickhouse.
        pub layout: String = Text(""), "no default; either path or layout is required";
        /// Time between two reads of all znodes; longer if a read takes more than a twentieth of it, and 60 times as
        /// long while the server reports changes itself (from ZooKeeper 3.6).
        pub interval: Duration = Time("10s"), "reading 100,000 znodes takes ZooKeeper about half a second";
        /// Whether the servers expect TLS.
        pub tls: bool = Flag("false"), "most servers use no TLS";
        /// PEM file of the CA certificates that sign the server's certificate. Empty: the CA certificates of the
        /// system.
        pub ca: Option<PathBuf> = OptionalPath(""), "the system has the public CA certificates";
        /// PEM file of the client certificate, if the server requires one.
        pub cert: Option<PathBuf> = OptionalPath(""), "by default, ZooKeeper requires one with TLS";
        /// PEM file of the client certificate's private key.
        pub cert_key: Option<PathBuf> = OptionalPath(""), "as for cert";
    }
    sections {
        /// The login.
        pub auth: Auth,
    }
}

section! {
    /// `[sources.NAME.auth]`: the login to ZooKeeper.
    #[derive(Clone, Debug)]
    pub struct Auth {
        /// User of the scheme digest. Empty: no login, so only znodes that need none are read.
        pub digest: String = Text(""), "most znodes can be read without a login";
        /// Password of the user.
        pub password: Secret = SecretText(""), "there is no default password";
    }
}

impl KindSettings for ZooKeeper {
    const KIND: &'static str = "zookeeper";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("servers", "zk1:2181,zk2:2181/kafka"), ("layout", "consumers")];

    fn check(&self, common: &config::Source) -> Result<(), SettingError> {
        let address = Address::parse(&self.servers).map_err(ZooKeeperError::from);
        let checked = address.and_then(|_| self.read_layout(common)).and_then(|_| self.login());
        let checked = checked.and_then(|_| self.identity());
        checked.map(drop).map_err(|error| SettingError { setting: error.setting(), cause: error.into() })
    }
}

impl SourceSettings for ZooKeeper {
    type Source = PolledSource<ZooKeeperListing>;

    fn open(&self, common: &config::Source) -> Self::Source {
        PolledSource::new(ZooKeeperListing::new(self, common), self.interval)
    }

    fn layout(&self, common: &config::Source) -> Option<Layout> {
        self.read_layout(common).ok().map(|layout| layout.layout)
    }

    fn location(&self) -> Option<String> {
        let (address, (path, _)) = (Address::parse(&self.servers).ok()?, self.templates().ok()?);
        Some(address.absolute(&PathTree::parse(path).ok()?.root).into_owned())
    }

    fn examine(&self, common: &config::Source) -> Result<String, SourceError> {
        let layout = self.read_layout(common).map_err(|error| settings_error(&error))?;
        let limit = RequestLimit::new(common.max_requests_per_second);
        let connector = self.connector(limit).map_err(|error| settings_error(&error))?;
        examine::examine(&connector, &layout)
    }
}

/// An error in the settings.
#[derive(Debug, thiserror::Error)]
pub enum ZooKeeperError {
    /// The servers are invalid.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The template of the path is invalid.
    #[error(transparent)]
    Path(#[from] TreeError),
    /// The template of the data is invalid.
    #[error(transparent)]
    Value(LayoutError),
    /// The setting `layout` has an unknown name.
    #[error("unknown layout {0:?}; allowed: consumers, storm, clickhouse")]
    UnknownLayout(String),
    /// Neither `path` nor `layout` is set.
    #[error("missing; set it to a template such as \"/offsets/{{group}}/{{topic}}/{{partition}}\", or set `layout`")]
    NoPath,
    /// Both `layout` and a setting that it replaces are set.
    #[error("replaces `{0}`, which is set too; remove either")]
    Replaced(&'static str),
    /// A password without a user.
    #[error("missing; set it to the user of `auth.password`")]
    NoUser,
    /// Only one of `cert` and `cert_key` is set.
    #[error("only one of `cert` and `cert_key` is set; set both or neither")]
    IncompleteIdentity,
    /// A certificate is set, but TLS is not.
    #[error("false, but `{0}` is set; set it to true, or remove `{0}`")]
    NoTls(&'static str),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl ZooKeeperError {
    /// Returns the setting at fault.
    fn setting(&self) -> &'static str {
        match self {
            Self::Address(_) => "servers",
            Self::Path(_) | Self::NoPath => "path",
            Self::Value(_) => "value",
            Self::UnknownLayout(_) | Self::Replaced(_) => "layout",
            Self::NoUser => "auth.digest",
            Self::IncompleteIdentity => "cert_key",
            Self::NoTls(_) => "tls",
            Self::Tls(_) => "ca",
        }
    }
}

/// Paths of a client certificate and its private key.
type Identity<'a> = (&'a PathBuf, &'a PathBuf);

impl ZooKeeper {
    /// Builds the layout from the templates of the settings.
    fn read_layout(&self, common: &config::Source) -> Result<ZnodeLayout, ZooKeeperError> {
        let (path, value) = self.templates()?;
        let tree = PathTree::parse(path)?;
        let list = (!self.list.is_empty()).then_some(&*self.list);
        let value = Value::parse(value, list).map_err(ZooKeeperError::Value)?;
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let fixed = FixedParts { group: text(&common.group), topic: text(&common.topic), offset_is: common.offset_is };
        let wrong = |error| ZooKeeperError::Path(TreeError::Layout(error));
        let layout = Layout::new(vec![Template::parse_path(path).map_err(wrong)?], value, fixed).map_err(wrong)?;
        Ok(ZnodeLayout::new(tree, layout, !common.group.is_empty()))
    }

    /// Returns the templates of path and data.
    fn templates(&self) -> Result<(&str, &str), ZooKeeperError> {
        if self.layout.is_empty() {
            return if self.path.is_empty() { Err(ZooKeeperError::NoPath) } else { Ok((&self.path, &self.value)) };
        }
        let unknown = || ZooKeeperError::UnknownLayout(self.layout.clone());
        let settings = preset(Self::KIND, &self.layout).ok_or_else(unknown)?.settings;
        let setting = |name| settings.iter().find(|(setting, _)| *setting == name).map(|(_, template)| *template);
        if !self.path.is_empty() {
            return Err(ZooKeeperError::Replaced("path"));
        }
        match setting("value") {
            Some(_) if self.value != "text" => Err(ZooKeeperError::Replaced("value")),
            value => Ok((setting("path").unwrap_or_default(), value.unwrap_or(&self.value))),
        }
    }

    fn login(&self) -> Result<Option<Login>, ZooKeeperError> {
        let Auth { digest, password } = &self.auth;
        match (digest.is_empty(), password.is_empty()) {
            (true, true) => Ok(None),
            (true, false) => Err(ZooKeeperError::NoUser),
            (false, _) => Ok(Some(Login { user: digest.clone(), password: password.0.clone() })),
        }
    }

    /// Returns the paths of the client's certificate and key.
    fn identity(&self) -> Result<Option<Identity<'_>>, ZooKeeperError> {
        let set = [("ca", &self.ca), ("cert", &self.cert), ("cert_key", &self.cert_key)];
        if let Some((setting, _)) = set.iter().find(|(_, path)| path.is_some() && !self.tls) {
            return Err(ZooKeeperError::NoTls(setting));
        }
        match (&self.cert, &self.cert_key) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => Err(ZooKeeperError::IncompleteIdentity),
        }
    }

    fn connector(&self, limit: RequestLimit) -> Result<Connector, ZooKeeperError> {
        let identity = self.identity()?.map(|(cert, key)| (cert.as_path(), key.as_path()));
        let tls = self.tls.then(|| tls::config(self.ca.as_deref(), identity)).transpose()?;
        Ok(Connector { address: Address::parse(&self.servers)?, login: self.login()?, tls, limit })
    }
}

/// Converts an error of the settings that appears only at run time, such as a missing file.
fn settings_error(error: &ZooKeeperError) -> SourceError {
    SourceError::Unreachable { reason: format!("{}: {error}", error.setting()) }
}

#[cfg(test)]
mod tests;
