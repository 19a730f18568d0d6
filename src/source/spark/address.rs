//! The setting `checkpoints`: the URL of a checkpoint, or of all checkpoints whose paths differ in the group.

use crate::source::layout::{LayoutError, Placeholder, Template};

/// The parsed URL of checkpoints.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) location: Location,
    /// The URL up to the path, for example `s3://lake`. With a path, it names a place for operators.
    pub(super) root: String,
    pub(super) folders: Folders,
}

/// The store that holds the checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// A local disk.
    Local,
    /// A bucket of S3.
    S3(String),
    /// A bucket of Google Cloud Storage.
    Gcs(String),
    /// A container of Azure, by its URL.
    Azure(String),
    /// HDFS, by the HTTP servers of its NameNodes.
    WebHdfs { tls: bool, user: String, nodes: Vec<String> },
}

/// The folders of the checkpoints. A path has no `/` at its start or end.
#[derive(Clone, Debug)]
pub(super) enum Folders {
    /// One checkpoint.
    One(String),
    /// A checkpoint in each folder of `parent` whose name matches, in its subfolder `below` (may be empty).
    Each { parent: String, name: Box<Template>, below: String },
}

/// An error in the setting `checkpoints`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The URL is missing or has an unknown scheme.
    #[error(
        "expected file:///PATH, s3://BUCKET/PATH, gs://BUCKET/PATH, abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH or webhdfs://HOST:PORT/PATH"
    )]
    Scheme,
    /// HDFS is read by its REST interface only.
    #[error("hdfs:// is not supported; use the HTTP server of the NameNode instead: {instead:?}")]
    Hdfs {
        /// The URL to write.
        instead: String,
    },
    /// The URL contains a password, which would be shown wherever the URL is.
    #[error(
        "a password in a URL would be shown in logs; remove it, and set `token` to a delegation token if HDFS needs one"
    )]
    Password,
    /// The host, the bucket or the container is missing or invalid.
    #[error("invalid {0:?} after the scheme; expected {1}")]
    Authority(String, &'static str),
    /// The path is missing.
    #[error("the path of the checkpoints is missing")]
    NoPath,
    /// A placeholder that a path of checkpoints cannot have.
    #[error("{{{0}}} is not possible here; {{group}} is the only placeholder of a path of checkpoints")]
    Placeholder(&'static str),
    /// The path is not a valid template.
    #[error(transparent)]
    Template(#[from] LayoutError),
}

impl Address {
    /// Parses a URL.
    pub(super) fn parse(url: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = url.split_once("://").ok_or(AddressError::Scheme)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
            return Err(AddressError::Password);
        }
        let location = Location::parse(scheme, authority, path)?;
        let (root, folders) = (format!("{scheme}://{authority}"), Folders::parse(path)?);
        Ok(Self { location, root, folders })
    }

    /// Returns the template of the URLs of the checkpoints.
    pub(super) fn template(&self, url: &str) -> Result<Template, LayoutError> {
        let path = url.get(self.root.len()..).unwrap_or_default();
        let segments: Vec<&str> = segments(path).collect();
        Template::parse_path(&format!("{}/{}", self.root, segments.join("/")))
    }
}

impl Location {
    fn parse(scheme: &str, authority: &str, path: &str) -> Result<Self, AddressError> {
        let named = |expected| {
            let is_name = !authority.is_empty() && !authority.contains(['{', '}', '@', ':', '?']);
            let invalid = || AddressError::Authority(authority.to_owned(), expected);
            is_name.then(|| authority.to_owned()).ok_or_else(invalid)
        };
        match scheme {
            "file" if authority.is_empty() => Ok(Self::Local),
            "file" => Err(AddressError::Authority(authority.to_owned(), "no host: file:///PATH")),
            "s3" | "s3a" => named("the name of a bucket").map(Self::S3),
            "gs" => named("the name of a bucket").map(Self::Gcs),
            "abfs" | "abfss" => {
                let expected = "CONTAINER@ACCOUNT.dfs.core.windows.net";
                let is_container = authority.split_once('@').is_some_and(|(container, host)| {
                    !container.is_empty() && host.contains('.') && !authority.contains(['{', '}', ':'])
                });
                let invalid = || AddressError::Authority(authority.to_owned(), expected);
                is_container.then(|| Self::Azure(format!("{scheme}://{authority}"))).ok_or_else(invalid)
            }
            "webhdfs" | "swebhdfs" => {
                let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
                let is_node = |node: &str| {
                    let address = node.rsplit_once(':');
                    let is_host = |host: &str| !host.is_empty() && !host.contains(['{', '}', '?', '#', ' ']);
                    address.is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0))
                };
                let invalid =
                    || AddressError::Authority(authority.to_owned(), "HOST:PORT, several separated by commas");
                let nodes: Vec<String> = hosts.split(',').map(str::to_owned).collect();
                let tls = scheme == "swebhdfs";
                let is_valid = nodes.iter().all(|node| is_node(node));
                is_valid.then(|| Self::WebHdfs { tls, user: user.to_owned(), nodes }).ok_or_else(invalid)
            }
            "hdfs" => {
                let host = authority.split(':').next().filter(|host| !host.is_empty()).unwrap_or("NAMENODE");
                // The default port of the NameNode's HTTP server.
                Err(AddressError::Hdfs { instead: format!("webhdfs://{host}:9870/{path}") })
            }
            _ => Err(AddressError::Scheme),
        }
    }
}

impl Folders {
    fn parse(path: &str) -> Result<Self, AddressError> {
        let (mut literal, mut varying) = (vec![], None);
        for segment in segments(path) {
            let template = Template::parse(segment)?;
            let foreign = template.placeholders().find(|placeholder| *placeholder != Placeholder::Group);
            if let Some(foreign) = foreign {
                return Err(AddressError::Placeholder(foreign.name()));
            }
            if segment.contains("{*}") {
                return Err(AddressError::Placeholder("*"));
            }
            let placeholder = template.placeholders().next();
            match placeholder {
                None => literal.push(template.prefix().to_owned()),
                Some(placeholder) if varying.is_some() => return Err(LayoutError::Duplicate(placeholder).into()),
                Some(_) => varying = Some((std::mem::take(&mut literal).join("/"), Box::new(template))),
            }
        }
        let below = literal.join("/");
        match varying {
            None if below.is_empty() => Err(AddressError::NoPath),
            None => Ok(Self::One(below)),
            Some((parent, name)) => Ok(Self::Each { parent, name, below }),
        }
    }

    /// Returns the folder that must exist: a store whose disk is not mounted is not an empty store.
    pub(super) fn parent(&self) -> &str {
        match self {
            Self::One(path) => path.rsplit_once('/').map_or("", |(parent, _)| parent),
            Self::Each { parent, .. } => parent,
        }
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

#[cfg(test)]
mod tests;
