//! The stores that hold checkpoints, read file by file.
//!
//! Paths have no `/` at their start or end. All methods respect the source's rate limit, end within a time limit and
//! read a bounded number of bytes.

use std::{fmt, sync::Arc, time::Duration};

use object_store::{
    ClientConfigKey, RetryConfig,
    aws::AmazonS3ConfigKey,
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
};

use super::{
    SparkError,
    address::{Address, Location},
};
use crate::{model::Millis, s3::S3Access, source::rate_limit::RequestLimit, store::latest::SourceError};
use objects::Objects;
use webhdfs::WebHdfs;

mod local;
mod objects;
mod webhdfs;

/// Maximum size of a file in bytes. The offsets of 100,000 partitions are about 1 MB.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// Maximum number of entries of a folder. Spark keeps the files of 100 batches (`minBatchesToRetain`).
const MAX_ENTRIES: usize = if cfg!(test) { 100 } else { 100_000 };
/// Timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of repetitions of a failed request to an object store.
const MAX_RETRIES: usize = 2;
/// Time for which a failed request to an object store is repeated.
const RETRY_FOR: Duration = Duration::from_secs(15);
/// Maximum length in bytes of a store's own text in an error.
const MAX_REASON_BYTES: usize = 300;

/// A store that holds checkpoints.
pub(super) struct Storage {
    kind: Kind,
    /// The URL up to the path.
    root: String,
    limit: RequestLimit,
}

enum Kind {
    Local,
    Objects(Objects),
    WebHdfs(WebHdfs),
}

/// A file or folder in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) is_folder: bool,
    pub(super) modified_at: Option<Millis>,
}

/// Why a file or folder cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StorageError {
    /// It is not what a checkpoint has there.
    #[error("{place}: {reason}")]
    Unusable { place: String, reason: String },
    /// The store refuses access to it.
    #[error("access to {place} is denied{reason}; check the credentials and the rights to list and read it")]
    Forbidden { place: String, reason: String },
    /// The store does not answer.
    #[error("cannot read {place}: {reason}")]
    Unreachable { place: String, reason: String },
}

/// What a store says about a failed request.
#[derive(Debug)]
enum Failure {
    TooLong,
    TooManyEntries,
    /// The name of the file or folder is impossible in this store.
    Name,
    Forbidden(String),
    Unreachable(String),
}

impl Storage {
    /// Creates the client of a store. Sends no request.
    pub(super) fn open(
        address: &Address,
        s3: S3Access<'_>,
        token: &str,
        limit: RequestLimit,
    ) -> Result<Self, SparkError> {
        let retry = RetryConfig { max_retries: MAX_RETRIES, retry_timeout: RETRY_FOR, ..Default::default() };
        let timeout = humantime::format_duration(TIMEOUT).to_string();
        let kind = match &address.location {
            Location::Local => Kind::Local,
            Location::S3(bucket) => {
                let client = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
                let builder = s3.builder(bucket)?.with_retry(retry).with_config(client, timeout);
                Kind::Objects(Objects::new(Arc::new(builder.build()?)))
            }
            Location::Gcs(bucket) => {
                let client = GoogleConfigKey::Client(ClientConfigKey::Timeout);
                let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(retry);
                Kind::Objects(Objects::new(Arc::new(builder.with_config(client, timeout).build()?)))
            }
            Location::Azure(container) => {
                let client = AzureConfigKey::Client(ClientConfigKey::Timeout);
                let builder = MicrosoftAzureBuilder::from_env().with_url(container).with_retry(retry);
                Kind::Objects(Objects::new(Arc::new(builder.with_config(client, timeout).build()?)))
            }
            Location::WebHdfs { tls, user, nodes } => Kind::WebHdfs(WebHdfs::new(*tls, user, nodes, token)?),
        };
        Ok(Self { kind, root: address.root.clone(), limit })
    }

    /// Reads a file. Returns `None` if it does not exist.
    pub(super) async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.limit().await;
        let read = match &self.kind {
            Kind::Local => local::read(path),
            Kind::Objects(objects) => objects.read(path).await,
            Kind::WebHdfs(hdfs) => hdfs.read(path).await,
        };
        read.map_err(|failure| self.error(path, failure))
    }

    /// Returns whether a file exists.
    pub(super) async fn exists(&self, path: &str) -> Result<bool, StorageError> {
        self.limit().await;
        let exists = match &self.kind {
            Kind::Local => local::exists(path),
            Kind::Objects(objects) => objects.exists(path).await,
            Kind::WebHdfs(hdfs) => hdfs.exists(path).await,
        };
        exists.map_err(|failure| self.error(path, failure))
    }

    /// Lists a folder. Returns `None` if it does not exist. In an object store, every folder exists.
    pub(super) async fn list(&self, path: &str) -> Result<Option<Vec<Entry>>, StorageError> {
        let (mut entries, mut next) = (vec![], None);
        loop {
            self.limit().await;
            let page = match &self.kind {
                Kind::Local => local::list(path, &mut entries).map(|found| found.then_some(None)),
                Kind::Objects(objects) => objects.list(path, next.take(), &mut entries).await.map(Some),
                Kind::WebHdfs(hdfs) => hdfs.list(path, next.take(), &mut entries).await,
            };
            match page.map_err(|failure| self.error(path, failure))? {
                None => return Ok(None),
                _ if entries.len() > MAX_ENTRIES => return Err(self.error(path, Failure::TooManyEntries)),
                Some(None) => return Ok(Some(entries)),
                Some(more) => next = more,
            }
        }
    }

    /// Returns the URL of a path.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.root)
    }

    async fn limit(&self) {
        let pause = self.limit.reserve();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    fn error(&self, path: &str, failure: Failure) -> StorageError {
        let place = self.url(path);
        let unusable = |reason: String| StorageError::Unusable { place: place.clone(), reason };
        match failure {
            Failure::TooLong => unusable(format!("more than {MAX_FILE_BYTES} bytes")),
            Failure::TooManyEntries => unusable(format!("more than {MAX_ENTRIES} entries")),
            Failure::Name => unusable("a name that the store cannot have".to_owned()),
            Failure::Forbidden(reason) => StorageError::Forbidden { place, reason },
            Failure::Unreachable(reason) => StorageError::Unreachable { place, reason },
        }
    }
}

impl From<StorageError> for SourceError {
    fn from(error: StorageError) -> Self {
        let reason = error.to_string();
        match error {
            StorageError::Forbidden { .. } => Self::Forbidden { reason },
            StorageError::Unusable { .. } | StorageError::Unreachable { .. } => Self::Unreachable { reason },
        }
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("root", &self.root).finish_non_exhaustive()
    }
}

/// Returns the first line of an error and of its causes, at a bounded length.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Many errors repeat their cause.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    let line = text.lines().next().unwrap_or_default();
    line.get(..line.floor_char_boundary(MAX_REASON_BYTES)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
