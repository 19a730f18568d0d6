//! TLS: the real binary with test certificates, accessed by its own commands, over HTTP/1.1 and HTTP/2.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::{fs, path::Path, process::Output};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, ClientConnection, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
        version::{TLS12, TLS13},
    },
};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::TOKEN;
use crate::process::wait_for;
use crate::program::offsetd;
use crate::server::Server;
use crate::support::{LIMIT, Setup, kafka, until};

pub(super) fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(fixture(name)).unwrap()
}

/// The server with TLS, on copies of the fixtures in a folder.
pub(super) struct Secured {
    server: Server,
    dir: TempDir,
}

impl Secured {
    fn start(more: &str) -> Self {
        Self::begin(true, more)
    }

    /// Starts a server that requires no token.
    pub(super) fn open(more: &str) -> Self {
        Self::begin(false, more)
    }

    fn begin(requires_tokens: bool, more: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let path = |name: &str| dir.path().join(name);
        show(dir.path(), "server");
        fs::write(path("tokens"), TOKEN).unwrap();
        let tokens = if requires_tokens { path("tokens").display().to_string() } else { String::new() };
        // The brokers are never reached; the configuration only needs a cluster.
        let text = format!(
            "[server.auth]\ntokens_file = '{}'\n[server.tls]\ncert = '{}'\nkey = '{}'\n{more}\n\
             [clusters.a]\nbootstrap_servers = '127.0.0.1:1'\n",
            tokens,
            path("cert").display(),
            path("key").display(),
        );
        fs::write(path("offsetd.toml"), text).unwrap();
        let server = Server::start(&["serve", "--config", path("offsetd.toml").to_str().unwrap()]);
        Self { server, dir }
    }

    fn address(&self) -> SocketAddr {
        self.server.address().parse().unwrap()
    }

    /// Returns the endpoint for HTTP/2.
    pub(super) fn endpoint(&self) -> Endpoint {
        let ca = Certificate::from_pem(fs::read(fixture("ca.pem")).unwrap());
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address())).unwrap();
        endpoint.tls_config(ClientTlsConfig::new().ca_certificate(ca).domain_name("localhost")).unwrap()
    }

    /// Runs `offsetd status` against this server.
    fn status(&self, ca: &str, more: &[&str]) -> Output {
        let url = format!("https://{}", self.server.address());
        let ca = fixture(ca);
        offsetd(&[&["status", "--server", &url, "--ca-cert", &ca, "--token", TOKEN], more].concat(), "")
    }
}

/// Copies a certificate and its key to where the server reads them.
fn show(dir: &Path, name: &str) {
    for (from, to) in [("pem", "cert"), ("key", "key")] {
        let aside = dir.join("aside");
        fs::copy(fixture(&format!("{name}.{from}")), &aside).unwrap();
        fs::rename(&aside, dir.join(to)).unwrap();
    }
}

/// Connects with TLS, offering one protocol; `older` selects TLS 1.2.
async fn connect(address: SocketAddr, alpn: &[u8], older: bool) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca.pem")).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[if older { &TLS12 } else { &TLS13 }])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = tokio::net::TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Returns the response to `GET /livez` over HTTP/1.1.
async fn livez(address: SocketAddr, older: bool) -> std::io::Result<String> {
    let mut stream = connect(address, b"http/1.1", older).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, future).await.expect("completion within the limit") })
}

#[test]
fn everything_is_served_over_tls_by_http_1_and_2() {
    let secured = Secured::start("");
    let output = secured.status("ca.pem", &[]);
    assert!(output.status.success(), "{output:?}");
    let output = secured.status("other-ca.pem", &[]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && error.contains("--ca-cert"), "{error}");
    for older in [false, true] {
        let answer = block_on(livez(secured.address(), older)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    block_on(async {
        let stream = connect(secured.address(), b"h2", false).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let channel = secured.endpoint().connect().await.unwrap();
        HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
    });
    secured.server.stop_cleanly();
}

#[test]
fn a_client_without_tls_is_refused_at_once() {
    let secured = Secured::start("");
    let mut stream = TcpStream::connect(secured.address()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    // A fatal TLS alert. A client that ran into the handshake timeout would receive no bytes.
    assert_eq!(answer.first_chunk(), Some(&[0x15, 3, 3, 0, 2, 2]), "{answer:?}");
}

#[test]
fn a_client_that_takes_the_wrong_scheme_is_told_the_right_one() {
    let secured = Secured::start("");
    for command in [&["status"][..], &["sql", "SELECT 1"], &["groups"]] {
        let url = format!("http://{}", secured.address());
        let output = offsetd(&[command, &["--server", &url, "--token", TOKEN]].concat(), "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("use https://{}", secured.address())), "{said}");
    }
    let open = Setup::default().ready(&kafka(1));
    let url = open.url("").replacen("http://", "https://", 1);
    let output = offsetd(&["status", "--server", &url, "--ca-cert", &fixture("ca.pem")], "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("does not speak TLS: use {}", open.url(""))), "{said}");
}

#[test]
fn clients_that_say_nothing_block_nobody() {
    let secured = Secured::start("");
    let silent: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(secured.address()).unwrap()).collect();
    assert!(block_on(livez(secured.address(), false)).unwrap().starts_with("HTTP/1.1 200 OK"));
    // The oldest silent connection was closed to make room.
    let mut oldest = silent.first().unwrap();
    oldest.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(oldest.read(&mut [0]).unwrap(), 0);
    secured.server.stop_cleanly();
}

#[test]
fn a_handshake_that_has_begun_stays_while_silent_clients_come_and_go() {
    let secured = Secured::start("[server.limits]\nmax_connections = 100\nmax_connections_per_address = 100");
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca.pem")).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = vec![];
    client.write_tls(&mut hello).unwrap();
    let mut stream = TcpStream::connect(secured.address()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // A slow handshake: half of its first message is sent before the flood, half after it.
    let (first, rest) = hello.split_at(hello.len() / 2);
    stream.write_all(first).unwrap();
    // This client connects later and is served, so by now the server has read the first half.
    assert!(secured.status("ca.pem", &[]).status.success());
    let connect = || TcpStream::connect(secured.address()).unwrap();
    let mut silent: Vec<TcpStream> = (0..90).map(|_| connect()).collect();
    until("the first half to be read", || {
        // While there is room, a silent connection stays open.
        silent.extend((0..10).map(|_| connect()));
        silent[0].set_nonblocking(true).unwrap();
        matches!(silent[0].read(&mut [0]), Ok(0))
    });
    silent.extend((0..600).map(|_| connect()));
    stream.write_all(rest).unwrap();
    client.complete_io(&mut stream).unwrap();
    assert!(!client.is_handshaking());
    secured.server.stop_cleanly();
}

#[test]
fn a_client_without_the_certificate_that_is_wanted_is_refused() {
    let secured = Secured::start(&format!("client_ca = '{}'", fixture("ca.pem")));
    let with = |name: &str| {
        let (cert, key) = (fixture(&format!("{name}.pem")), fixture(&format!("{name}.key")));
        secured.status("ca.pem", &["--client-cert", &cert, "--client-key", &key])
    };
    let output = with("client");
    assert!(output.status.success(), "{output:?}");
    // The second certificate was issued by the CA, but for servers.
    for output in [secured.status("ca.pem", &[]), with("server")] {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
    let said = String::from_utf8(secured.status("ca.pem", &[]).stderr).unwrap();
    assert!(said.contains("--client-cert"), "{said}");
    for older in [false, true] {
        let answer = block_on(livez(secured.address(), older));
        assert!(answer.is_err(), "{answer:?}");
    }
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart() {
    let secured = Secured::start("");
    let shown = || {
        let stream = block_on(connect(secured.address(), b"h2", false)).unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    assert_eq!(shown(), certificate("server.pem"));
    show(secured.dir.path(), "renewed");
    until("the new certificate", || shown() == certificate("renewed.pem"));
    // A key that does not match leaves the previous certificate in force.
    fs::copy(fixture("server.key"), secured.dir.path().join("key")).unwrap();
    let known = wait_for("the warning in the log", LIMIT, || {
        let log = secured.server.log();
        if log.contains("is not the key of") { Ok(log) } else { Err(log) }
    });
    assert!(known.contains("keeping the previous version"), "{known}");
    assert_eq!(shown(), certificate("renewed.pem"));
    assert!(!known.contains("BEGIN") && !known.contains(TOKEN), "{known}");
}
