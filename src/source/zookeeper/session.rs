//! A session with one ZooKeeper server: requests, their replies, and events, on one connection.
//!
//! A session is never resumed on another connection: it holds nothing but a watch, and after a reconnect everything is
//! read again anyway.

use std::{
    borrow::Cow,
    collections::HashSet,
    io::{self, BufReader, Write as _},
    time::{Duration, Instant},
};

use super::{
    address,
    frame::{Frame, FrameReader},
    tls::Stream,
    wire::{self, ConnectReply, Decoder, Event, NodeContent, ReplyHeader, WireError, code, operation, xid},
};
use crate::source::{node::Node, rate_limit::RequestLimit};

mod connect;
mod error;

pub(super) use connect::{Connector, Login};
pub(super) use error::SessionError;

/// Timeout of connecting, of a write, and of a complete reply.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout that is requested for the session. The server may change it (by default, to at most 20 of its ticks).
const SESSION_TIMEOUT_MS: i32 = 30_000;
/// Maximum number of znodes read by one request.
pub(super) const MAX_BATCH: usize = 512;
/// Number of znodes that the first request reads. It grows while replies are small.
const FIRST_BATCH: usize = 16;
/// Size of a reply in bytes above which the next request reads fewer znodes.
const LARGE_REPLY: usize = 1 << 20;
/// Number of requests that are sent together to a server that reads one znode per request.
const PIPELINED: usize = 64;
/// Maximum number of remembered paths of events. Above it, everything is read again.
const MAX_EVENTS: usize = 100_000;
/// Maximum number of messages that are received by one wait.
const MESSAGES_PER_WAIT: usize = 10_000;
/// Time to wait for a further event after the first.
const NEXT_EVENT: Duration = Duration::from_millis(1);

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) node: Node,
    chroot: String,
    stream: BufReader<Stream>,
    frames: FrameReader,
    timeout: Duration,
    sent_at: Instant,
    received_at: Instant,
    last_xid: i32,
    changed: ChangedPaths,
    has_multi_read: bool,
    batch: usize,
    limit: RequestLimit,
}

/// The paths of which events were received.
#[derive(Debug, Default)]
pub(super) struct ChangedPaths {
    /// The paths, without the chroot.
    pub(super) paths: HashSet<String>,
    /// Whether further paths may have changed.
    pub(super) others: bool,
}

/// Why one znode cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadFault {
    /// The znode does not exist.
    NoNode,
    /// The ACL of the znode refuses access.
    NoAuth,
    /// The reply is too long.
    TooLong,
    /// The server reports another error.
    Other(i32),
}

impl ReadFault {
    fn of(error: i32) -> Self {
        match error {
            code::NO_NODE => Self::NoNode,
            code::NO_AUTH => Self::NoAuth,
            other => Self::Other(other),
        }
    }
}

/// The result of one receive.
enum Received {
    /// The deadline passed.
    Nothing,
    /// An event, or the reply to a ping.
    Aside,
    /// The reply to a request.
    Reply(ReplyHeader, Frame),
}

impl Session {
    /// Waits until the server has applied everything that the leader had committed before this call.
    pub(super) fn sync(&mut self, path: &str) -> Result<(), SessionError> {
        let (xid, path) = (self.next_xid(), self.absolute(path).into_owned());
        self.request("sync", xid, &wire::of_path(xid, operation::SYNC, &path)).map(drop)
    }

    /// Sets a persistent watch on a znode and all its descendants. The znode need not exist.
    pub(super) fn add_watch(&mut self, path: &str) -> Result<(), SessionError> {
        let (xid, path) = (self.next_xid(), self.absolute(path).into_owned());
        self.request("addWatch", xid, &wire::add_watch(xid, &path)).map(drop)
    }

    /// Finds out whether the server reads several znodes by one request. An old server closes the connection instead.
    pub(super) fn probe_multi_read(&mut self, path: &str) -> Result<(), SessionError> {
        self.has_multi_read = true;
        self.read_several(operation::GET_DATA, &[path.to_owned()], &mut |_, _| Ok(())).map(drop)
    }

    /// Reads the data of znodes and passes each to `each`, with its number. Stops at the first error of `each`.
    pub(super) fn read_data(
        &mut self,
        paths: &[String],
        mut each: impl FnMut(usize, Result<(&[u8], wire::Stat), ReadFault>) -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        self.read(operation::GET_DATA, paths, &mut |number, content| match content {
            Ok(NodeContent::Data(data, stat)) => each(number, Ok((data, stat))),
            Ok(NodeContent::Children(_)) => Ok(()),
            Err(fault) => each(number, Err(fault)),
        })
    }

    /// Reads the names of the children of znodes, like [`Session::read_data`].
    pub(super) fn read_children(
        &mut self,
        paths: &[String],
        mut each: impl FnMut(usize, Result<wire::Names<'_>, ReadFault>) -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        self.read(operation::GET_CHILDREN, paths, &mut |number, content| match content {
            Ok(NodeContent::Children(names)) => each(number, Ok(names)),
            Ok(NodeContent::Data(..)) => Ok(()),
            Err(fault) => each(number, Err(fault)),
        })
    }

    fn read(&mut self, operation: i32, paths: &[String], each: Each<'_>) -> Result<(), SessionError> {
        let mut done = 0;
        while let Some(rest) = paths.get(done..)
            && !rest.is_empty()
        {
            let count = if self.has_multi_read { self.batch } else { PIPELINED };
            let batch = rest.get(..count).unwrap_or(rest);
            let each = &mut |number, content: Result<NodeContent<'_>, ReadFault>| each(done + number, content);
            done += match self.has_multi_read {
                true => self.read_several(operation, batch, each)?,
                false => self.read_pipelined(operation, batch, each)?,
            };
        }
        Ok(())
    }

    /// Reads znodes by one request. Returns how many were read: none, if the reply was too long and fewer are to be
    /// read by the next request.
    fn read_several(&mut self, operation: i32, paths: &[String], each: Each<'_>) -> Result<usize, SessionError> {
        let xid = self.next_xid();
        let absolute: Vec<Cow<'_, str>> = paths.iter().map(|path| self.absolute(path)).collect();
        let request = wire::multi_read(xid, operation, absolute.iter().map(|path| &**path));
        let frame = self.request("multiRead", xid, &request)?;
        if frame.is_cut {
            self.batch = 1;
            return if paths.len() == 1 { each(0, Err(ReadFault::TooLong)).map(|()| 1) } else { Ok(0) };
        }
        match frame.bytes.len() {
            small if small < LARGE_REPLY / 2 => self.batch = (self.batch * 2).min(MAX_BATCH),
            large if large > LARGE_REPLY => self.batch = (self.batch / 2).max(1),
            _ => {}
        }
        let mut failed = Ok(());
        let read = wire::read_results(&mut content_of(&frame), operation, |number, content| {
            if failed.is_ok() && number < paths.len() {
                failed = each(number, content.map_err(ReadFault::of));
            }
        })?;
        failed?;
        if read == paths.len() { Ok(read) } else { Err(SessionError::Wire(WireError::Truncated)) }
    }

    /// Reads each znode by a request of its own.
    fn read_pipelined(&mut self, operation: i32, paths: &[String], each: Each<'_>) -> Result<usize, SessionError> {
        let numbers: Vec<i32> = paths.iter().map(|_| self.next_xid()).collect();
        let requests = numbers.iter().zip(paths);
        let requests: Vec<u8> =
            requests.flat_map(|(xid, path)| wire::of_path(*xid, operation, &self.absolute(path))).collect();
        self.send(&requests)?;
        for (number, xid) in numbers.into_iter().enumerate() {
            let (header, frame) = self.reply(xid)?;
            match header.code {
                _ if frame.is_cut => each(number, Err(ReadFault::TooLong))?,
                code::OK => each(number, Ok(NodeContent::read(&mut content_of(&frame), operation)?))?,
                error => each(number, Err(ReadFault::of(error)))?,
            }
        }
        Ok(paths.len())
    }

    /// Waits at most `timeout` for events.
    pub(super) fn wait(&mut self, timeout: Duration) -> Result<&mut ChangedPaths, SessionError> {
        let mut deadline = now() + timeout;
        for _ in 0..MESSAGES_PER_WAIT {
            match self.receive(deadline)? {
                Received::Nothing => break,
                Received::Aside => deadline = now() + NEXT_EVENT,
                Received::Reply(header, _) => return Err(SessionError::UnexpectedReply(header.xid)),
            }
        }
        self.keep_alive()?;
        Ok(&mut self.changed)
    }

    /// Sends a ping if nothing was sent for a third of the session's timeout. Fails if the previous ping is unanswered.
    fn keep_alive(&mut self) -> Result<(), SessionError> {
        let pause = self.timeout / 3;
        if now().duration_since(self.sent_at) < pause {
            return Ok(());
        }
        if self.received_at < self.sent_at {
            return Err(SessionError::Timeout(pause));
        }
        self.write(&wire::empty(xid::PING, operation::PING))
    }

    /// Returns the paths of the events that were received.
    pub(super) fn changed(&mut self) -> &mut ChangedPaths {
        &mut self.changed
    }

    fn absolute<'p>(&self, path: &'p str) -> Cow<'p, str> {
        address::absolute(&self.chroot, path)
    }

    fn next_xid(&mut self) -> i32 {
        self.last_xid = self.last_xid.checked_add(1).unwrap_or(1);
        self.last_xid
    }

    fn request(&mut self, name: &'static str, xid: i32, message: &[u8]) -> Result<Frame, SessionError> {
        self.send(message)?;
        match self.reply(xid)? {
            (ReplyHeader { code: code::OK, .. }, frame) => Ok(frame),
            (ReplyHeader { code, .. }, _) => Err(SessionError::Code { request: name, code }),
        }
    }

    fn send(&mut self, message: &[u8]) -> Result<(), SessionError> {
        self.limit.wait();
        self.write(message)
    }

    fn write(&mut self, message: &[u8]) -> Result<(), SessionError> {
        let stream = self.stream.get_mut();
        stream.write_all(message)?;
        stream.flush()?;
        self.sent_at = now();
        Ok(())
    }

    /// Receives the reply to a request. The server replies in the order of the requests.
    fn reply(&mut self, expected: i32) -> Result<(ReplyHeader, Frame), SessionError> {
        let deadline = now() + TIMEOUT;
        loop {
            match self.receive(deadline)? {
                Received::Nothing => return Err(SessionError::Timeout(TIMEOUT)),
                Received::Aside => {}
                Received::Reply(header, frame) if header.xid == expected => return Ok((header, frame)),
                Received::Reply(header, _) => return Err(SessionError::UnexpectedReply(header.xid)),
            }
        }
    }

    fn receive(&mut self, deadline: Instant) -> Result<Received, SessionError> {
        let Some(frame) = self.receive_frame(deadline)? else { return Ok(Received::Nothing) };
        let mut message = Decoder::new(&frame.bytes);
        let header = ReplyHeader::read(&mut message)?;
        match header.xid {
            xid::PING => Ok(Received::Aside),
            xid::EVENT => {
                let Event { is_of_node, path } = Event::read(&mut message)?;
                if is_of_node {
                    self.changed.add(path.strip_prefix(&*self.chroot).unwrap_or(&path));
                }
                Ok(Received::Aside)
            }
            _ => Ok(Received::Reply(header, frame)),
        }
    }

    fn receive_frame(&mut self, deadline: Instant) -> Result<Option<Frame>, SessionError> {
        loop {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return Ok(None);
            }
            if self.stream.buffer().is_empty() {
                self.stream.get_ref().socket().set_read_timeout(Some(left.max(NEXT_EVENT)))?;
            }
            match self.frames.advance(&mut self.stream) {
                Ok(None) => {}
                Ok(Some(frame)) => {
                    self.received_at = now();
                    return Ok(Some(frame));
                }
                Err(error) if is_interrupted(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Without it, the server keeps the session until its timeout. A failure has no other consequence.
        let _ = self.write(&wire::empty(0, operation::CLOSE));
    }
}

impl ChangedPaths {
    fn add(&mut self, path: &str) {
        if self.paths.len() >= MAX_EVENTS {
            (self.paths, self.others) = (HashSet::new(), true);
        }
        if !self.others {
            self.paths.insert(path.to_owned());
        }
    }
}

/// The receiver of the results of a read.
type Each<'a> = &'a mut dyn FnMut(usize, Result<NodeContent<'_>, ReadFault>) -> Result<(), SessionError>;

/// Returns a decoder of a reply behind its header, which has been read already.
fn content_of(frame: &Frame) -> Decoder<'_> {
    Decoder::new(frame.bytes.get(ReplyHeader::LENGTH..).unwrap_or_default())
}

/// Returns whether a read only reached its timeout.
fn is_interrupted(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

#[expect(clippy::disallowed_methods, reason = "deadlines of a connection are not part of an answer")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
