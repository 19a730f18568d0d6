//! Checks of TLS: whether the server supports it, and the validity of its certificate.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use chrono::DateTime;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

use super::{
    certificate::Certificate,
    network::Server,
    report::{Check, Report},
};
use crate::{config, model::Millis};

/// A connection to a broker, with or without TLS.
pub(super) trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

const DAY: Millis = 24 * 3600 * 1000;
/// Number of days before its expiry from which a certificate is reported as a warning.
const SOON: Millis = 14;

/// Connects, with TLS if the configuration requires it, and checks the validity of the certificate. Trust is checked by
/// librdkafka's login (the check `sasl`). Returns the connection.
pub(super) fn examine(
    report: &mut Report,
    cluster: &config::Cluster,
    server: &Server,
    now: Millis,
) -> Option<Box<dyn Stream>> {
    let oauth = if cluster.oauth.is_used() { "SASL_SSL" } else { "PLAINTEXT" };
    let protocol = cluster.kafka.get("security.protocol").map_or(oauth, String::as_str).to_ascii_uppercase();
    let stream = match server.connect() {
        Ok(stream) => stream,
        Err(error) => {
            report.add(Check::fails("tcp", server.name.clone(), error.to_string(), ""));
            return None;
        }
    };
    if !protocol.ends_with("SSL") {
        report.add(Check::skipped("tls", &format!("security.protocol is {protocol}")));
        return Some(Box::new(stream));
    }
    match handshake(stream, &server.host, client_identity(cluster)) {
        Err(error) => {
            let remedy = "check that the port is a TLS port, or set security.protocol without SSL";
            report.add(Check::fails("tls", server.name.clone(), error.to_string(), remedy));
            None
        }
        Ok(stream) => {
            let certificate = stream.conn.peer_certificates().and_then(|chain| chain.first());
            let certificate = certificate.and_then(|certificate| Certificate::read(certificate));
            report.add(check_validity(server, certificate.as_ref(), now));
            Some(Box::new(stream))
        }
    }
}

fn check_validity(server: &Server, certificate: Option<&Certificate>, now: Millis) -> Check {
    let name = server.name.clone();
    let Some(Certificate { subject, not_before, not_after }) = certificate else {
        return Check::works("tls", name, "TLS works; the certificate cannot be parsed");
    };
    let day = |at: Millis| DateTime::from_timestamp_millis(at).unwrap_or_default().format("%Y-%m-%d %H:%M UTC");
    let renew = "renew the broker's certificate";
    if now > *not_after {
        return Check::fails("tls", name, format!("certificate of {subject:?} expired on {}", day(*not_after)), renew);
    }
    if now < *not_before {
        let found = format!("certificate of {subject:?} is valid only from {}", day(*not_before));
        return Check::fails("tls", name, found, "check the clock of this machine");
    }
    let left = (not_after - now) / DAY;
    let found = format!("certificate of {subject:?}, valid until {} ({left} days)", day(*not_after));
    if left < SOON { Check::fails("tls", name, found, renew).into_warning() } else { Check::works("tls", name, found) }
}

/// A certificate chain and its private key.
type ClientIdentity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Returns the client certificate of the configuration, if its files can be read. If they cannot, librdkafka's login
/// reports the reason.
fn client_identity(cluster: &config::Cluster) -> Option<ClientIdentity> {
    let path = |name: &str| cluster.kafka.get(name);
    let chain =
        CertificateDer::pem_file_iter(path("ssl.certificate.location")?).ok()?.collect::<Result<_, _>>().ok()?;
    Some((chain, PrivateKeyDer::from_pem_file(path("ssl.key.location")?).ok()?))
}

/// Why a TLS handshake failed.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    /// The host is not a valid name for TLS.
    #[error(transparent)]
    Host(#[from] InvalidDnsNameError),
    /// The client certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] Error),
    /// The connection failed, or the server rejected the handshake.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn handshake(
    stream: TcpStream,
    host: &str,
    identity: Option<ClientIdentity>,
) -> Result<StreamOwned<ClientConnection, TcpStream>, HandshakeError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = AcceptAnyCertificate(Arc::clone(&provider));
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder?;
    // Skipping verification is safe: only ApiVersions is sent, which contains nothing secret.
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
    };
    let name = ServerName::try_from(host.to_owned())?;
    let connection = ClientConnection::new(Arc::new(config), name)?;
    let mut stream = StreamOwned::new(connection, stream);
    let (connection, socket) = (&mut stream.conn, &mut stream.sock);
    while connection.is_handshaking() {
        connection.complete_io(socket)?;
    }
    Ok(stream)
}

/// A verifier that accepts every certificate, because the connection is used for checks only and sends nothing secret.
#[derive(Debug)]
struct AcceptAnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
