//! The listener with TLS. A handshake is done in a task of its own, so that a client that connects and says nothing costs
//! only itself.

use std::{collections::VecDeque, fmt, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::serve::Listener;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};

use super::file::FromFiles;
use crate::config;

/// Time that a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at a time; one more ends the oldest, which is most likely to be of a client that says nothing.
const HANDSHAKES: usize = 256;

pub(super) type Settings = FromFiles<ServerConfig>;

/// Reads certificates and key; nothing when there is to be no TLS.
///
/// # Errors
/// What is wrong with them.
pub(super) fn settings(tls: &config::Tls) -> Result<Option<Settings>, String> {
    let (Some(cert), Some(key)) = (&tls.cert, &tls.key) else { return Ok(None) };
    let paths: Vec<PathBuf> = [cert, key].into_iter().chain(&tls.client_ca).cloned().collect();
    let named = paths.clone();
    FromFiles::new("certificate and key", paths, move |contents, _| server_config(&named, contents)).map(Some)
}

/// No error of the parsers is passed on: it may quote a line.
fn server_config(paths: &[PathBuf], contents: &[Vec<u8>]) -> Result<ServerConfig, String> {
    let file = |at: usize| paths.get(at).zip(contents.get(at)).ok_or("no such file");
    let (cert_path, cert) = file(0)?;
    let (key_path, key) = file(1)?;
    let chain = certificates(cert_path, cert)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| format!("{} holds no private key in PEM, or an encrypted one", key_path.display()))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match file(2) {
        Err(_) => builder.with_no_client_auth(),
        Ok((path, pem)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path, pem)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| format!("{}: {error}", path.display()))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("{} is not the key of the first certificate in {}", key_path.display(), cert_path.display())
        }
        error => format!("{}, {}: {error}", cert_path.display(), key_path.display()),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &std::path::Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| format!("{} holds no certificate in PEM", path.display()))
}

/// Connections whose handshake is done.
pub struct TlsListener {
    tcp: TcpListener,
    settings: Arc<Settings>,
    handshakes: JoinSet<Option<Connection>>,
    /// In the order of their beginning; some may have ended.
    begun: VecDeque<AbortHandle>,
}

type Connection = (TlsStream<TcpStream>, SocketAddr);

impl fmt::Debug for TlsListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsListener").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

impl TlsListener {
    pub(super) fn new(tcp: TcpListener, settings: Arc<Settings>) -> Self {
        Self { tcp, settings, handshakes: JoinSet::new(), begun: VecDeque::new() }
    }

    fn begin(&mut self, (stream, peer): (TcpStream, SocketAddr)) {
        if self.begun.len() >= HANDSHAKES {
            self.begun.retain(|handshake| !handshake.is_finished());
        }
        if self.begun.len() >= HANDSHAKES
            && let Some(oldest) = self.begun.pop_front()
        {
            oldest.abort();
        }
        let acceptor = TlsAcceptor::from(self.settings.get());
        self.begun.push_back(self.handshakes.spawn(handshake(acceptor, stream, peer)));
    }
}

async fn handshake(acceptor: TlsAcceptor, stream: TcpStream, peer: SocketAddr) -> Option<Connection> {
    // Answers are small: do not wait for more to send.
    drop(stream.set_nodelay(true));
    match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => return Some((stream, peer)),
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS"),
        Err(_) => tracing::debug!(%peer, "no TLS: the handshake took too long"),
    }
    None
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    /// # Cancel safety
    /// Safe: what has begun goes on in its tasks.
    async fn accept(&mut self) -> Connection {
        loop {
            tokio::select! {
                accepted = Listener::accept(&mut self.tcp) => self.begin(accepted),
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = done {
                        return connection;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}
