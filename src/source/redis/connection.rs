//! Connections to Redis: discovery of the servers, and pipelined commands.

use std::time::Duration;

use redis::{
    Client, ClientTlsConfig, Cmd, Connection, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, ProtocolVersion,
    RedisConnectionInfo, RedisError, ServerErrorKind, TlsCertificates, Value,
};

use super::address::{Address, Deployment};
use crate::{
    source::{node::Node, rate_limit::RequestLimit},
    store::latest::SourceError,
};

/// Timeout of connecting to a server, and of each reply.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The settings needed to connect to a Redis.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) address: Address,
    pub(super) password: Option<String>,
    /// PEM file contents: the CA certificates, and the client's certificate and key.
    pub(super) roots: Option<Vec<u8>>,
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
    pub(super) limit: RequestLimit,
}

/// A connection to one server.
pub(super) struct Server {
    pub(super) node: Node,
    connection: Connection,
    limit: RequestLimit,
}

impl Connector {
    /// Connects to each server that holds keys, in a stable order.
    pub(super) fn connect(&self) -> Result<Vec<Server>, SourceError> {
        match &self.address.deployment {
            Deployment::Single => Ok(vec![self.first(Ok)?]),
            Deployment::Sentinel(name) => {
                let primary = self.first(|mut server| primary_of(&mut server, name))?;
                Ok(vec![
                    self.connect_to(&primary, self.address.database)
                        .map_err(|error| to_source_error(&primary, &error))?,
                ])
            }
            Deployment::Cluster => {
                let primaries = self.primaries()?;
                let connect = |node: &Node| self.connect_to(node, 0).map_err(|error| to_source_error(node, &error));
                primaries.iter().map(connect).collect()
            }
        }
    }

    /// Returns the primaries of a cluster, in order. Returns an empty list if the address is not a cluster.
    pub(super) fn primaries(&self) -> Result<Vec<Node>, SourceError> {
        match self.address.deployment {
            Deployment::Cluster => self.first(|mut server| primaries_of(&mut server)),
            Deployment::Single | Deployment::Sentinel(_) => Ok(vec![]),
        }
    }

    /// Connects to the nodes in order until `query` succeeds on one, and returns its result.
    fn first<T>(&self, query: impl Fn(Server) -> Result<T, RedisError>) -> Result<T, SourceError> {
        let database = if self.address.deployment == Deployment::Single { self.address.database } else { 0 };
        let mut last = SourceError::Unreachable { reason: "the URL names no server".to_owned() };
        for node in &self.address.nodes {
            match self.connect_to(node, database).and_then(&query) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = to_source_error(node, &error),
            }
        }
        Err(last)
    }

    /// Connects to one of the servers that [`Connector::connect`] returned, with RESP3, which supports push messages.
    pub(super) fn connect_for_push(&self, node: &Node) -> Result<Server, RedisError> {
        self.connect_with_protocol(node, self.address.database, ProtocolVersion::RESP3)
    }

    fn connect_to(&self, node: &Node, database: i64) -> Result<Server, RedisError> {
        self.connect_with_protocol(node, database, ProtocolVersion::RESP2)
    }

    fn connect_with_protocol(
        &self,
        node: &Node,
        database: i64,
        protocol: ProtocolVersion,
    ) -> Result<Server, RedisError> {
        let (host, port) = (node.host.clone(), node.port);
        let address = match self.address.tls {
            false => ConnectionAddr::Tcp(host, port),
            true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        let mut login = RedisConnectionInfo::default().set_db(database).set_protocol(protocol);
        if let Some(user) = &self.address.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password);
        }
        let info = address.into_connection_info()?.set_redis_settings(login);
        let client = match self.address.tls {
            false => Client::open(info)?,
            true => Client::build_with_tls(info, self.certificates())?,
        };
        let connection = client.get_connection_with_timeout(TIMEOUT)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        Ok(Server { node: node.clone(), connection, limit: self.limit.clone() })
    }

    fn certificates(&self) -> TlsCertificates {
        let client_tls =
            self.identity.clone().map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        TlsCertificates { client_tls, root_cert: self.roots.clone() }
    }
}

impl Server {
    /// Sends commands as one pipeline and returns their replies in order. A reply may be a server error.
    ///
    /// # Errors
    /// Returns an error if the connection is lost or a reply times out.
    pub(super) fn query(&mut self, commands: &[Cmd]) -> Result<Vec<Value>, RedisError> {
        if commands.is_empty() {
            return Ok(vec![]);
        }
        self.limit.wait();
        let packed: Vec<u8> = commands.iter().flat_map(Cmd::get_packed_command).collect();
        self.connection.send_packed_command(&packed)?;
        // The library's pipeline is not used: after a timeout, it would wait for each further reply as long again.
        commands.iter().map(|_| self.connection.recv_response()).collect()
    }

    /// Waits at most `timeout` for a push message.
    ///
    /// # Errors
    /// Returns an error if the connection is lost.
    pub(super) fn next_push(&mut self, timeout: Duration) -> Result<Option<Value>, RedisError> {
        self.connection.set_read_timeout(Some(timeout))?;
        match self.connection.recv_response() {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.is_timeout() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends one command and returns its reply.
    ///
    /// # Errors
    /// Returns the errors of [`Server::query`], and an error reply of the server.
    pub(super) fn query_one(&mut self, command: Cmd) -> Result<Value, RedisError> {
        match self.query(&[command])?.pop() {
            Some(Value::ServerError(error)) => Err(error.into()),
            Some(value) => Ok(value),
            None => Ok(Value::Nil),
        }
    }
}

/// Converts the error of a server into a text for operators.
pub(super) fn to_source_error(node: &Node, error: &RedisError) -> SourceError {
    let is_refused =
        matches!(error.kind(), ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm))
            || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"));
    let reason = match is_refused {
        true => {
            format!("Redis at {node} refused access: {error}; check the user in `url`, its ACL, and `password`")
        }
        false if error.is_timeout() => format!("Redis at {node} did not answer within {} s", TIMEOUT.as_secs()),
        false => format!("Redis at {node}: {error}"),
    };
    if is_refused { SourceError::Forbidden { reason } } else { SourceError::Unreachable { reason } }
}

/// Queries a sentinel for the address of a primary.
fn primary_of(sentinel: &mut Server, name: &str) -> Result<Node, RedisError> {
    let mut command = redis::cmd("SENTINEL");
    command.arg("get-master-addr-by-name").arg(name);
    let answer = sentinel.query_one(command)?;
    let (host, port): (String, u16) = redis::from_redis_value(answer).map_err(|_| {
        RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, "the sentinels monitor no primary of this name"))
    })?;
    Ok(Node { host, port })
}

/// Queries a node of a cluster for the cluster's primaries (CLUSTER SLOTS: `[[from, to, [host, port, …], replica…],
/// …]`).
fn primaries_of(server: &mut Server) -> Result<Vec<Node>, RedisError> {
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    let answer = server.query_one(command)?;
    let wrong = || RedisError::from((ErrorKind::Parse, "unexpected reply to CLUSTER SLOTS"));
    let Value::Array(ranges) = answer else { return Err(wrong()) };
    let mut nodes = vec![];
    for range in ranges {
        let Value::Array(range) = range else { return Err(wrong()) };
        let Some(Value::Array(primary)) = range.get(2) else { return Err(wrong()) };
        let (Some(Value::BulkString(host)), Some(Value::Int(port))) = (primary.first(), primary.get(1)) else {
            return Err(wrong());
        };
        // An empty host means the queried server.
        let host = match String::from_utf8_lossy(host) {
            host if host.is_empty() => server.node.host.clone(),
            host => host.into_owned(),
        };
        nodes.push(Node { host, port: u16::try_from(*port).map_err(|_| wrong())? });
    }
    nodes.sort();
    nodes.dedup();
    if nodes.is_empty() { Err(wrong()) } else { Ok(nodes) }
}
