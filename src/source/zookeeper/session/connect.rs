//! Opens sessions.

use std::{
    fmt,
    io::BufReader,
    net::{TcpStream, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use tokio_rustls::rustls::ClientConfig;

use super::{
    super::{address::Address, tls::Stream},
    *,
};
use crate::store::latest::SourceError;

/// The settings needed to connect to an ensemble.
#[derive(Clone, Debug)]
pub(in super::super) struct Connector {
    pub(in super::super) address: Address,
    pub(in super::super) login: Option<Login>,
    pub(in super::super) tls: Option<Arc<ClientConfig>>,
    pub(in super::super) limit: RequestLimit,
}

/// A login by the scheme digest. `Debug` shows only the user.
#[derive(Clone)]
pub(in super::super) struct Login {
    pub(in super::super) user: String,
    pub(in super::super) password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Connector {
    /// Connects to the first server that answers, beginning with the server of this number. `prepare` may replace the
    /// session by another one with the same server.
    ///
    /// # Errors
    /// Returns the errors of all servers.
    pub(in super::super) fn connect<T>(
        &self,
        first: usize,
        prepare: impl Fn(&Self, Session) -> Result<T, SessionError>,
    ) -> Result<T, SourceError> {
        let nodes = &self.address.nodes;
        let mut errors = vec![];
        for node in nodes.iter().cycle().skip(first % nodes.len().max(1)).take(nodes.len()) {
            match self.open(node).and_then(|session| prepare(self, session)) {
                Ok(prepared) => return Ok(prepared),
                Err(error) => match error.to_source_error(node) {
                    // The other servers have the same ACLs.
                    error @ SourceError::Forbidden { .. } => return Err(error),
                    SourceError::Unreachable { reason } | SourceError::Busy { reason } => errors.push(reason),
                },
            }
        }
        Err(SourceError::Unreachable { reason: errors.join("; ") })
    }

    /// Opens a session with a server.
    pub(in super::super) fn open(&self, node: &Node) -> Result<Session, SessionError> {
        let socket = socket(node)?;
        let stream = match &self.tls {
            None => Stream::Plain(socket),
            Some(config) => Stream::with_tls(socket, &node.host, Arc::clone(config))?,
        };
        let mut session = Session {
            node: node.clone(),
            chroot: self.address.chroot.clone(),
            stream: BufReader::new(stream),
            frames: FrameReader::default(),
            timeout: TIMEOUT,
            sent_at: now(),
            received_at: now(),
            last_xid: 0,
            changed: ChangedPaths::default(),
            has_multi_read: false,
            batch: FIRST_BATCH,
            limit: self.limit.clone(),
        };
        session.send(&wire::connect(SESSION_TIMEOUT_MS))?;
        let frame = session.receive_frame(now() + TIMEOUT)?.ok_or(SessionError::Timeout(TIMEOUT))?;
        let ConnectReply { timeout_ms } = ConnectReply::read(&mut Decoder::new(&frame.bytes))?;
        match u64::try_from(timeout_ms) {
            Ok(timeout) if timeout > 0 => session.timeout = Duration::from_millis(timeout),
            _ => return Err(SessionError::Expired),
        }
        if let Some(Login { user, password }) = &self.login {
            session.request("auth", xid::AUTH, &wire::auth("digest", &format!("{user}:{password}")))?;
        }
        Ok(session)
    }
}

/// Connects to the first address of a server that answers.
fn socket(node: &Node) -> Result<TcpStream, SessionError> {
    let mut last = SessionError::NoAddress;
    for address in (&*node.host, node.port).to_socket_addrs().map_err(SessionError::Io)? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(socket) => {
                socket.set_write_timeout(Some(TIMEOUT))?;
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) => last = SessionError::Io(error),
        }
    }
    Err(last)
}
