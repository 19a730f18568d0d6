//! Checks of DNS and TCP.

use std::{
    io,
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::report::{Check, Report};
use crate::config;

/// Timeout of a name resolution, and of a connection attempt.
const TIMEOUT: Duration = Duration::from_secs(5);
const KAFKA_PORT: u16 = 9092;
/// Maximum number of addresses per name that are tried.
const ADDRESSES: usize = 4;

/// A server that accepts connections.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// The address as `host:port`.
    pub(super) name: String,
    pub(super) host: String,
    pub(super) address: SocketAddr,
}

impl Server {
    /// Opens a new connection.
    pub(super) fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(stream)
    }
}

/// Checks the servers in `bootstrap_servers`. Returns the first that accepts connections. If one does, failures of the
/// others are warnings.
pub(super) fn examine(report: &mut Report, cluster: &config::Cluster) -> Option<Server> {
    let mut checks = vec![];
    let mut first = None;
    for server in cluster.bootstrap_servers.split(',') {
        let found = try_server(server, &mut checks);
        first = first.or(found);
    }
    let needed = first.is_none();
    checks.into_iter().for_each(|check| report.add(if needed { check } else { check.into_warning() }));
    first
}

fn try_server(server: &str, checks: &mut Vec<Check>) -> Option<Server> {
    let (host, port) = split_address(server);
    let name = format!("{host}:{port}");
    let addresses = match resolve(host.clone(), port) {
        Ok(addresses) => addresses,
        Err(error) => {
            let remedy = "check the name in bootstrap_servers, and the DNS server of this machine";
            checks.push(Check::fails("dns", host, error.to_string(), remedy));
            return None;
        }
    };
    let listed: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    checks.push(Check::works("dns", host.clone(), listed.join(", ")));
    match first_reachable(&addresses) {
        Ok(address) => {
            checks.push(Check::works("tcp", name.clone(), format!("{address} accepts connections")));
            Some(Server { name, host, address })
        }
        Err(error) => {
            let remedy = "check the port in bootstrap_servers, the firewall, and that the broker runs";
            checks.push(Check::fails("tcp", name, error.to_string(), remedy));
            None
        }
    }
}

/// Why a server is not reachable.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreachable {
    /// The name cannot be resolved.
    #[error(transparent)]
    Resolver(#[from] io::Error),
    /// The resolver did not answer in time.
    #[error("the resolver did not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// The name resolves to no address.
    #[error("the name has no address")]
    NoAddress,
    /// No address accepts connections; this is the error of the last one.
    #[error("{address}: {cause}")]
    Refused {
        /// The address that was tried last.
        address: SocketAddr,
        /// The error of the connection attempt.
        #[source]
        cause: io::Error,
    },
}

/// Connects to a broker at its advertised address.
pub(super) fn reach_broker(host: &str, port: u16) -> Result<(), Unreachable> {
    first_reachable(&resolve(host.to_owned(), port)?).map(drop)
}

/// Returns the first address that accepts connections.
fn first_reachable(addresses: &[SocketAddr]) -> Result<SocketAddr, Unreachable> {
    let mut failure = Unreachable::NoAddress;
    for address in addresses {
        match TcpStream::connect_timeout(address, TIMEOUT) {
            Ok(_) => return Ok(*address),
            Err(cause) => failure = Unreachable::Refused { address: *address, cause },
        }
    }
    Err(failure)
}

/// Resolves a name with a timeout, since the system's resolver may block for minutes.
fn resolve(host: String, port: u16) -> Result<Vec<SocketAddr>, Unreachable> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let run = move || {
        let found = (host.as_str(), port).to_socket_addrs().map(|found| found.take(ADDRESSES).collect::<Vec<_>>());
        // The receiver is gone after the timeout.
        let _ = sender.send(found);
    };
    thread::Builder::new().name("dns".to_owned()).spawn(run)?;
    Ok(receiver.recv_timeout(TIMEOUT).map_err(|_| Unreachable::Timeout)??)
}

/// Splits `PROTOCOL://host:port`, in which protocol and port are optional.
fn split_address(server: &str) -> (String, u16) {
    let address = server.split_once("://").map_or(server, |(_, address)| address);
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().unwrap_or(KAFKA_PORT)),
        _ => (address, KAFKA_PORT),
    };
    (host.trim_matches(['[', ']']).to_owned(), port)
}

#[cfg(test)]
mod tests;
