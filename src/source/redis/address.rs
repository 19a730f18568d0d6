//! The setting `url`: the address of a single Redis, a Redis Cluster, or sentinels.

use crate::source::node::Node;

/// Default port of Redis.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// The parsed URL of a Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) nodes: Vec<Node>,
    pub(super) deployment: Deployment,
    pub(super) tls: bool,
    pub(super) user: Option<String>,
    pub(super) database: i64,
}

/// The deployment form of the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deployment {
    /// The first server that answers is read.
    Single,
    /// The servers belong to a Redis Cluster; each of its primaries is read.
    Cluster,
    /// The servers are sentinels; the primary of this name is read.
    Sentinel(String),
}

/// An error in a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The scheme is unknown or missing.
    #[error(
        "expected redis://HOST:PORT/DATABASE, rediss:// (TLS), redis+cluster:// or redis+sentinel://HOST:PORT/NAME"
    )]
    Scheme,
    /// The URL contains a password, which would be shown wherever the URL is.
    #[error("a password in a URL would be shown in logs; set `password` to a file or an environment variable")]
    Password,
    /// A host is missing or a port is invalid.
    #[error("invalid address {0:?}; expected HOST:PORT")]
    Node(String),
    /// The database is not a number.
    #[error("invalid database {0:?}; expected a number")]
    Database(String),
    /// A database other than 0 in a cluster.
    #[error("a Redis cluster has only database 0; remove the database")]
    ClusterDatabase,
    /// The URL of sentinels names no primary.
    #[error("the name of the primary is missing; expected redis+sentinel://HOST:PORT/NAME/DATABASE")]
    SentinelName,
}

impl Address {
    /// Parses a URL.
    pub(super) fn parse(url: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = url.split_once("://").ok_or(AddressError::Scheme)?;
        let (tls, deployment) = match scheme {
            "redis" | "valkey" => (false, "single"),
            "rediss" | "valkeys" => (true, "single"),
            "redis+cluster" => (false, "cluster"),
            "rediss+cluster" => (true, "cluster"),
            "redis+sentinel" => (false, "sentinel"),
            "rediss+sentinel" => (true, "sentinel"),
            _ => return Err(AddressError::Scheme),
        };
        let (user, rest) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((user, _)) if user.contains(':') => return Err(AddressError::Password),
            Some((user, rest)) => ((!user.is_empty()).then(|| user.to_owned()), rest),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let port = if deployment == "sentinel" { SENTINEL_PORT } else { PORT };
        let parse = |node: &str| Node::parse(node, port).ok_or_else(|| AddressError::Node(node.to_owned()));
        let nodes = hosts.split(',').map(parse).collect::<Result<Vec<_>, _>>()?;
        let number = |text: &str| match text {
            "" => Ok(0),
            text => text.parse::<u16>().map(i64::from).map_err(|_| AddressError::Database(text.to_owned())),
        };
        let (deployment, database) = match deployment {
            "sentinel" => {
                let (name, database) = path.split_once('/').unwrap_or((path, ""));
                if name.is_empty() {
                    return Err(AddressError::SentinelName);
                }
                (Deployment::Sentinel(name.to_owned()), number(database)?)
            }
            "cluster" if number(path)? != 0 => return Err(AddressError::ClusterDatabase),
            "cluster" => (Deployment::Cluster, 0),
            _ => (Deployment::Single, number(path)?),
        };
        Ok(Self { nodes, deployment, tls, user, database })
    }
}

#[cfg(test)]
mod tests;
