//! Loads the TLS certificates and keys.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

use super::{
    error::{FileError, FileFault},
    file::FileBacked,
};
use crate::config;

pub(super) type Settings = FileBacked<ServerConfig>;

/// Reads certificates and key; returns `None` if TLS is not configured.
///
/// # Errors
/// A file cannot be read, or its content is invalid.
pub(super) fn settings(tls: &config::Tls) -> Result<Option<Settings>, FileError> {
    let (Some(cert), Some(key)) = (tls.cert.clone(), tls.key.clone()) else { return Ok(None) };
    let authorities = tls.client_ca.clone();
    let paths: Vec<PathBuf> = [&cert, &key].into_iter().chain(&authorities).cloned().collect();
    let build = move |contents: &[Vec<u8>], _: Option<&ServerConfig>| {
        let content = |at: usize| contents.get(at).map_or(&[][..], Vec::as_slice);
        let authorities = authorities.as_deref().map(|path| (path, content(2)));
        server_config((&cert, content(0)), (&key, content(1)), authorities)
    };
    FileBacked::new("certificate and key", paths, build).map(Some)
}

/// Path and content of a file.
type File<'a> = (&'a Path, &'a [u8]);

/// Builds the TLS configuration. Errors of the PEM parsers are replaced, because they may quote a line of the file.
fn server_config(cert: File<'_>, key: File<'_>, authorities: Option<File<'_>>) -> Result<ServerConfig, FileError> {
    let unusable = |path| move |error| FileFault::Unusable(Box::new(error)).of(path);
    let chain = certificates(cert)?;
    let private = PrivateKeyDer::from_pem_slice(key.1).map_err(|_| FileFault::NoKey.of(key.0))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(unusable(cert.0))?;
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(unusable(file.0))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let verifier = verifier.map_err(|error| FileFault::Authorities(Box::new(error)).of(file.0))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, private).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => FileFault::KeyMismatch(cert.0.to_owned()).of(key.0),
        error => unusable(cert.0)(error),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates((path, pem): File<'_>) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| FileFault::NoCertificate.of(path))
}
