//! Access to S3, and to stores with the same protocol.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use object_store::aws::AmazonS3Builder;
use serde::Deserialize;

/// The settings with which S3 is reached. An empty value means that the usual AWS variables and roles apply.
#[derive(Clone, Copy, Debug)]
pub struct S3Access<'a> {
    /// URL of the endpoint.
    pub endpoint: &'a str,
    /// Name of the region.
    pub region: &'a str,
    /// Path of a TOML file with the credentials.
    pub credentials: Option<&'a Path>,
}

/// The content of a credentials file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

/// An error in the credentials file.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// The credentials file cannot be read.
    #[error("cannot read the S3 credentials file \"{}\": {cause}", path.display())]
    Credentials {
        /// Path of the credentials file.
        path: PathBuf,
        /// Why it cannot be read.
        cause: io::Error,
    },
    /// The credentials file is not valid. The message does not quote its content, which is secret.
    #[error(
        "invalid S3 credentials file \"{}\"; use TOML with access_key_id, secret_access_key, optionally session_token",
        path.display()
    )]
    CredentialsForm {
        /// Path of the credentials file.
        path: PathBuf,
    },
}

impl S3Access<'_> {
    /// Returns the builder of a client for a bucket. Reads the credentials file.
    ///
    /// # Errors
    /// Returns the error in the credentials file.
    pub fn builder(&self, bucket: &str) -> Result<AmazonS3Builder, S3Error> {
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        if !self.endpoint.is_empty() {
            builder = builder.with_endpoint(self.endpoint).with_allow_http(self.endpoint.starts_with("http://"));
        }
        if !self.region.is_empty() {
            builder = builder.with_region(self.region);
        }
        if let Some(path) = self.credentials {
            let unreadable = |cause| S3Error::Credentials { path: path.to_owned(), cause };
            let text = fs::read_to_string(path).map_err(unreadable)?;
            // The parser's error may quote a secret.
            let malformed = |_| S3Error::CredentialsForm { path: path.to_owned() };
            let credentials: Credentials = toml::from_str(&text).map_err(malformed)?;
            builder = builder
                .with_access_key_id(credentials.access_key_id)
                .with_secret_access_key(credentials.secret_access_key);
            if let Some(token) = credentials.session_token {
                builder = builder.with_token(token);
            }
        }
        Ok(builder)
    }
}
