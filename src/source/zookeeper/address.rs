//! The setting `servers`: the servers of an ensemble and the chroot below which paths lie.

use std::borrow::Cow;

use crate::source::node::Node;

/// Default port of ZooKeeper.
const PORT: u16 = 2181;

/// The servers of an ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) nodes: Vec<Node>,
    /// Path that precedes all paths, such as `/kafka`. Empty: none.
    pub(super) chroot: String,
}

/// An error in the setting `servers`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The setting is empty.
    #[error("missing; set it to HOST:PORT,HOST:PORT, with /CHROOT at the end if the paths lie below one")]
    Missing,
    /// The setting contains a login, which would be shown wherever the servers are.
    #[error(
        "expected HOST:PORT without a login; a password here would be shown in logs; set `auth.digest` to the user and `auth.password` to {{ file = \"PATH\" }}"
    )]
    Login,
    /// A host is missing or a port is invalid.
    #[error("invalid address {0:?}; expected HOST:PORT,HOST:PORT/CHROOT, without a scheme")]
    Node(String),
    /// The path of the chroot is invalid.
    #[error("invalid chroot: {0}")]
    Chroot(#[from] PathError),
}

/// An error in a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path is relative.
    #[error("path {0:?} does not begin with /")]
    Relative(String),
    /// A name in the path is empty, `.` or `..`.
    #[error("path {0:?} has an empty name, \".\" or \"..\", or ends with /")]
    Name(String),
}

impl Address {
    /// Parses the setting.
    pub(super) fn parse(servers: &str) -> Result<Self, AddressError> {
        if servers.trim().is_empty() {
            return Err(AddressError::Missing);
        }
        if servers.contains('@') {
            return Err(AddressError::Login);
        }
        let (hosts, chroot) = servers.find('/').and_then(|at| servers.split_at_checked(at)).unwrap_or((servers, ""));
        let parse = |node: &str| Node::parse(node.trim(), PORT).ok_or_else(|| AddressError::Node(node.to_owned()));
        let nodes = hosts.split(',').map(parse).collect::<Result<_, _>>()?;
        let chroot = chroot.trim();
        if !matches!(chroot, "" | "/") {
            names(chroot).map(drop)?;
        }
        Ok(Self { nodes, chroot: chroot.trim_end_matches('/').to_owned() })
    }

    /// Returns a path with the chroot before it.
    pub(super) fn absolute<'p>(&self, path: &'p str) -> Cow<'p, str> {
        absolute(&self.chroot, path)
    }
}

/// Returns a path with a chroot before it.
pub(super) fn absolute<'p>(chroot: &str, path: &'p str) -> Cow<'p, str> {
    match (chroot, path) {
        ("", _) => path.into(),
        (_, "/") => chroot.to_owned().into(),
        _ => format!("{chroot}{path}").into(),
    }
}

/// Returns the names in an absolute path, from the root on.
pub(super) fn names(path: &str) -> Result<impl Iterator<Item = &str>, PathError> {
    let names = path.strip_prefix('/').ok_or_else(|| PathError::Relative(path.to_owned()))?.split('/');
    if names.clone().any(|name| matches!(name, "" | "." | "..")) {
        return Err(PathError::Name(path.to_owned()));
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
