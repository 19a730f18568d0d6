//! Why tokens and certificates cannot be used. No content of a file is quoted: it may be a secret.

use std::{io, path::PathBuf};

use tokio_rustls::rustls;

use super::{LONGEST, SHORTEST};

/// Why the server cannot start with these tokens and certificates.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file of tokens.
    #[error("server.auth.tokens_file: {0}")]
    Tokens(#[source] FileError),
    /// The files of certificates.
    #[error("server.tls: {0}")]
    Tls(#[source] FileError),
    /// Both.
    #[error("server.auth.tokens_file: {tokens}\nserver.tls: {tls}")]
    Both {
        /// What is wrong with the tokens.
        tokens: Box<FileError>,
        /// What is wrong with the certificates.
        tls: Box<FileError>,
    },
}

/// What is wrong with a file of tokens or certificates.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// It is a folder, a pipe, a device or a socket.
    #[error("cannot read {}: it is not a regular file", path.display())]
    NotRegular {
        /// Which file.
        path: PathBuf,
    },
    /// It is longer than any such file.
    #[error("cannot read {}: it is longer than {limit} bytes", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// A line is no token.
    #[error(
        "{}: line {line}: a token is {SHORTEST} to {LONGEST} visible ASCII characters without spaces",
        path.display()
    )]
    Token {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// There is no token.
    #[error("{}: holds no token", path.display())]
    NoToken {
        /// Which file.
        path: PathBuf,
    },
    /// There is no private key, or an encrypted one.
    #[error("{} holds no private key in PEM, or an encrypted one", path.display())]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
    /// There is no certificate.
    #[error("{} holds no certificate in PEM", path.display())]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// The key belongs to another certificate.
    #[error("{} is not the key of the first certificate in {}", key.display(), certificate.display())]
    OtherKey {
        /// The file of the key.
        key: PathBuf,
        /// The file of the certificate.
        certificate: PathBuf,
    },
    /// A certificate or key cannot be used.
    #[error("{}: {error}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        error: Box<rustls::Error>,
    },
    /// The certificates of client authorities cannot be used.
    #[error("{}: {error}", path.display())]
    Authorities {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        error: Box<rustls::server::VerifierBuilderError>,
    },
}
