//! The messages of ZooKeeper's client protocol, in its serialization format jute: big-endian integers, and texts and
//! bytes with a length of four bytes.
//!
//! Only the requests that reading needs are here (`org.apache.zookeeper.ZooDefs.OpCode`, `src/zookeeper.jute` in
//! ZooKeeper's source).

use crate::model::Millis;

/// Types of requests.
pub(super) mod operation {
    pub(in super::super) const GET_DATA: i32 = 4;
    pub(in super::super) const GET_CHILDREN: i32 = 8;
    pub(in super::super) const SYNC: i32 = 9;
    pub(in super::super) const PING: i32 = 11;
    pub(in super::super) const MULTI_READ: i32 = 22;
    pub(in super::super) const AUTH: i32 = 100;
    pub(in super::super) const ADD_WATCH: i32 = 106;
    pub(in super::super) const CLOSE: i32 = -11;
    /// The type of a failed result within the reply to [`MULTI_READ`].
    pub(in super::super) const ERROR: i32 = -1;
}

/// Identifiers of requests and replies that have no number.
pub(super) mod xid {
    pub(in super::super) const EVENT: i32 = -1;
    pub(in super::super) const PING: i32 = -2;
    pub(in super::super) const AUTH: i32 = -4;
}

/// Error codes (`org.apache.zookeeper.KeeperException.Code`).
pub(super) mod code {
    pub(in super::super) const OK: i32 = 0;
    pub(in super::super) const UNIMPLEMENTED: i32 = -6;
    pub(in super::super) const NO_NODE: i32 = -101;
    pub(in super::super) const NO_AUTH: i32 = -102;
    pub(in super::super) const SESSION_EXPIRED: i32 = -112;
    pub(in super::super) const AUTH_FAILED: i32 = -115;
    pub(in super::super) const SASL_REQUIRED: i32 = -124;
}

/// Mode of [`operation::ADD_WATCH`]: the watch stays, and covers all descendants.
const PERSISTENT_RECURSIVE: i32 = 1;

/// A message that does not follow the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// The message ends within a value.
    #[error("the message ends early")]
    Truncated,
    /// A length or count is negative.
    #[error("invalid length {0}")]
    Length(i32),
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A result within a reply has another type than its request.
    #[error("unexpected result of type {0}")]
    Result(i32),
}

/// A reader of the values of a message.
#[derive(Clone, Debug)]
pub(super) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn int(&mut self) -> Result<i32, WireError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Result<i64, WireError> {
        self.array().map(i64::from_be_bytes)
    }

    /// Reads bytes with their length. Absent bytes (length -1) are read as empty.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        match self.int()? {
            -1 => Ok(&[]),
            length => self.take(usize::try_from(length).map_err(|_| WireError::Length(length))?),
        }
    }

    pub(super) fn text(&mut self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Text)
    }

    /// Reads the metadata of a znode.
    pub(super) fn stat(&mut self) -> Result<Stat, WireError> {
        let (_czxid, _mzxid) = (self.long()?, self.long()?);
        let (created_at, modified_at) = (self.long()?, self.long()?);
        let _versions = (self.int()?, self.int()?, self.int()?);
        let (_ephemeral_owner, _data_length) = (self.long()?, self.int()?);
        let (_children, _pzxid) = (self.int()?, self.long()?);
        Ok(Stat { created_at, modified_at })
    }

    /// Reads the names of children.
    pub(super) fn names(&mut self) -> Result<Names<'a>, WireError> {
        match self.int()? {
            -1 => Ok(Names { left: 0, names: Decoder(&[]) }),
            count => {
                let mut names =
                    Names { left: usize::try_from(count).map_err(|_| WireError::Length(count))?, names: self.clone() };
                // The names are checked now, so that they can be iterated over without errors.
                for _ in 0..names.left {
                    self.bytes()?;
                }
                names.names.0 = names.names.0.get(..names.names.0.len() - self.0.len()).unwrap_or_default();
                Ok(names)
            }
        }
    }
}

/// The names of the children of a znode, decoded one by one.
#[derive(Clone, Debug)]
pub(super) struct Names<'a> {
    left: usize,
    names: Decoder<'a>,
}

impl Names<'_> {
    pub(super) fn len(&self) -> usize {
        self.left
    }
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        self.names.bytes().ok()
    }
}

/// Metadata of a znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Time of its creation, by the clock of the leader.
    pub(super) created_at: Millis,
    /// Time of the last write, by the clock of the leader.
    pub(super) modified_at: Millis,
}

/// The start of a reply or event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplyHeader {
    pub(super) xid: i32,
    pub(super) code: i32,
}

impl ReplyHeader {
    /// Length in bytes.
    pub(super) const LENGTH: usize = 16;

    pub(super) fn read(message: &mut Decoder<'_>) -> Result<Self, WireError> {
        let xid = message.int()?;
        let _zxid = message.long()?;
        Ok(Self { xid, code: message.int()? })
    }
}

/// A notification of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Whether the event concerns a znode, as opposed to the session.
    pub(super) is_of_node: bool,
    /// Path of the znode.
    pub(super) path: String,
}

impl Event {
    pub(super) fn read(message: &mut Decoder<'_>) -> Result<Self, WireError> {
        let (kind, _state) = (message.int()?, message.int()?);
        Ok(Self { is_of_node: kind >= 1, path: message.text()?.to_owned() })
    }
}

/// The reply to the first message of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectReply {
    /// Timeout of the session in milliseconds; 0 if the server refuses the session.
    pub(super) timeout_ms: i32,
}

impl ConnectReply {
    pub(super) fn read(message: &mut Decoder<'_>) -> Result<Self, WireError> {
        let _protocol = message.int()?;
        Ok(Self { timeout_ms: message.int()? })
    }
}

/// Reads the results in the reply to [`operation::MULTI_READ`] and passes each to `each`, with its number. A result is a
/// decoder of the reply that a single request would get, or an error code.
pub(super) fn read_results(
    message: &mut Decoder<'_>,
    operation: i32,
    mut each: impl FnMut(usize, Result<NodeContent<'_>, i32>),
) -> Result<usize, WireError> {
    for number in 0.. {
        let (kind, end, _code) = (message.int()?, message.array::<1>()?, message.int()?);
        match kind {
            _ if end != [0] => return Ok(number),
            operation::ERROR => each(number, Err(message.int()?)),
            kind if kind == operation => each(number, Ok(NodeContent::read(message, operation)?)),
            kind => return Err(WireError::Result(kind)),
        }
    }
    Err(WireError::Truncated)
}

/// The data of a znode, or the names of its children.
#[derive(Clone, Debug)]
pub(super) enum NodeContent<'a> {
    /// The data.
    Data(&'a [u8], Stat),
    /// The names of the children.
    Children(Names<'a>),
}

impl<'a> NodeContent<'a> {
    /// Reads the reply to [`operation::GET_DATA`] or [`operation::GET_CHILDREN`].
    pub(super) fn read(message: &mut Decoder<'a>, operation: i32) -> Result<Self, WireError> {
        match operation {
            operation::GET_CHILDREN => Ok(Self::Children(message.names()?)),
            _ => {
                let data = message.bytes()?;
                Ok(Self::Data(data, message.stat()?))
            }
        }
    }
}

/// A message under construction, beginning with its length.
#[derive(Debug)]
pub(super) struct Encoder(Vec<u8>);

impl Encoder {
    fn new() -> Self {
        Self(vec![0; 4])
    }

    fn int(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn long(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn bool(mut self, value: bool) -> Self {
        self.0.push(value.into());
        self
    }

    fn bytes(self, value: &[u8]) -> Self {
        let mut message = self.int(i32::try_from(value.len()).unwrap_or(i32::MAX));
        message.0.extend(value);
        message
    }

    fn text(self, value: &str) -> Self {
        self.bytes(value.as_bytes())
    }

    /// Returns the message with its length filled in.
    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        if let Some(start) = self.0.first_chunk_mut() {
            *start = length.to_be_bytes();
        }
        self.0
    }
}

/// Returns the first message of a session.
pub(super) fn connect(timeout_ms: i32) -> Vec<u8> {
    // Protocol 0, nothing seen before, no session to resume, and no server that is cut off from the leader.
    Encoder::new().int(0).long(0).int(timeout_ms).long(0).bytes(&[0; 16]).bool(false).finish()
}

/// Returns a message without content.
pub(super) fn empty(xid: i32, operation: i32) -> Vec<u8> {
    Encoder::new().int(xid).int(operation).finish()
}

/// Returns the login by a scheme such as digest.
pub(super) fn auth(scheme: &str, credentials: &str) -> Vec<u8> {
    let message = Encoder::new().int(xid::AUTH).int(operation::AUTH);
    message.int(0).text(scheme).text(credentials).finish()
}

/// Returns a request about one znode that sets no watch.
pub(super) fn of_path(xid: i32, operation: i32, path: &str) -> Vec<u8> {
    let message = Encoder::new().int(xid).int(operation).text(path);
    if operation == operation::SYNC { message.finish() } else { message.bool(false).finish() }
}

/// Returns the request for a persistent, recursive watch.
pub(super) fn add_watch(xid: i32, path: &str) -> Vec<u8> {
    Encoder::new().int(xid).int(operation::ADD_WATCH).text(path).int(PERSISTENT_RECURSIVE).finish()
}

/// Returns a request for several reads of the same kind.
pub(super) fn multi_read<'p>(xid: i32, operation: i32, paths: impl Iterator<Item = &'p str>) -> Vec<u8> {
    let header = |message: Encoder, kind: i32, end: bool| message.int(kind).bool(end).int(-1);
    let mut message = Encoder::new().int(xid).int(operation::MULTI_READ);
    for path in paths {
        message = header(message, operation, false).text(path).bool(false);
    }
    header(message, -1, true).finish()
}

#[cfg(test)]
mod tests;
