//! Errors of token and certificate files. No message quotes the content of a file, which may be a secret.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use tokio_rustls::rustls;

use super::{MAX_TOKEN_CHARS, MIN_TOKEN_CHARS};

/// The reasons why the server cannot start with its tokens and certificates.
#[derive(Debug, thiserror::Error)]
pub struct AccessError {
    /// Problem with the tokens.
    pub tokens: Option<FileError>,
    /// Problem with the certificates.
    pub tls: Option<FileError>,
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [("server.auth.tokens_file", &self.tokens), ("server.tls", &self.tls)];
        let lines = named.into_iter().filter_map(|(name, error)| Some(format!("{name}: {}", error.as_ref()?)));
        f.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}

/// A file of tokens or certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct FileError {
    /// Path of the file.
    path: PathBuf,
    #[source]
    fault: FileFault,
}

/// The problem with a file of tokens or certificates.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileFault {
    #[error("cannot read: {0}")]
    Read(io::Error),
    #[error("cannot read: it is not a regular file")]
    NotRegular,
    #[error("cannot read: it is longer than {0} bytes")]
    TooLong(u64),
    /// Number of the line, from 1.
    #[error("line {0}: a token is {MIN_TOKEN_CHARS} to {MAX_TOKEN_CHARS} visible ASCII characters without spaces")]
    Token(usize),
    #[error("contains no token")]
    NoToken,
    #[error("contains no private key in PEM format, or only an encrypted one")]
    NoKey,
    #[error("contains no certificate in PEM format")]
    NoCertificate,
    #[error("is not the key of the first certificate in {}", .0.display())]
    KeyMismatch(PathBuf),
    #[error("{0}")]
    Unusable(Box<rustls::Error>),
    #[error("{0}")]
    Authorities(Box<rustls::server::VerifierBuilderError>),
}

impl FileFault {
    /// Adds the path of the file.
    pub(super) fn of(self, path: &Path) -> FileError {
        FileError { path: path.to_owned(), fault: self }
    }
}
