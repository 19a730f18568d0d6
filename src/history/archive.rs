//! Older samples, as Parquet in a folder or on S3, for this server and for any other reader.
//!
//! `cluster=NAME/date=YYYY-MM-DD/FROM-TO.parquet`, where FROM and TO are the times of the first and the last sample in
//! milliseconds. A file holds rows for the keys that moved at its samples, and at the first sample of an hour for all, so
//! that what a key was is told by its last row, at most an hour back; a row without committed_offset says that the key is
//! gone. Rows are sorted by group, topic, partition and time. A file is there whole or not at all: it is put at once. The
//! files of an hour become one; until those are deleted, a file within the times of another is passed over.
//!
//! All of it runs on a thread of its own. Whatever fails is noted, and history is what suffers, nothing else.

use std::{fs, sync::Arc, time::Duration};

use object_store::{
    ObjectStore, ObjectStoreExt as _, aws::AmazonS3Builder, local::LocalFileSystem, path::Path, prefix::PrefixStore,
};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::runtime::{Builder, Runtime};

use crate::{
    config,
    model::{Millis, Name},
    store::older::{Older, OlderSamples, OlderStatus, Point, Question},
};

mod compact;
mod file;
mod folder;
mod object;
mod read;
mod write;

pub use write::Writer;

/// All keys are written at least so often.
pub const KEYFRAME: Millis = 3_600_000;
/// A row stands for what a key was so long after it, at most: a sample may come late.
pub const STANDS_FOR: Millis = KEYFRAME + 300_000;
/// Requests to a store are tried again for so long.
const RETRY_FOR: Duration = Duration::from_secs(20);
/// Files that are named as skipped.
const NAMED: usize = 20;

/// The store of older samples.
pub struct Archive {
    settings: config::History,
    store: Mutex<Option<Arc<dyn ObjectStore>>>,
    status: Mutex<OlderStatus>,
    /// `None` only while dropping.
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("store", &self.settings.store).finish_non_exhaustive()
    }
}

/// As the file of credentials has them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

impl Archive {
    /// The archive that is configured, if one is. Nothing is asked of the store yet.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn new(settings: config::History) -> std::io::Result<Option<Arc<Self>>> {
        if settings.store.is_empty() {
            return Ok(None);
        }
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("history").enable_all().build()?;
        let (store, status) = Default::default();
        Ok(Some(Arc::new(Self { settings, store, status, runtime: Some(runtime) })))
    }

    fn skip(&self, file: &Path, why: String) {
        let mut status = self.status.lock();
        if status.skipped.len() < NAMED && !status.skipped.contains_key(file.as_ref()) {
            tracing::warn!(%file, why, "a file of history is skipped");
            status.skipped.insert(file.to_string(), why);
        }
    }

    fn failed(&self, error: String) {
        let mut status = self.status.lock();
        if status.last_error.as_ref() != Some(&error) {
            tracing::warn!(error, "history is not stored");
        }
        status.failures += 1;
        status.last_error = Some(error);
    }

    /// The store, connected at the first call that can.
    fn store(&self) -> Result<Arc<dyn ObjectStore>, String> {
        let mut known = self.store.lock();
        if let Some(store) = &*known {
            return Ok(Arc::clone(store));
        }
        let store = connect(&self.settings)?;
        *known = Some(Arc::clone(&store));
        Ok(store)
    }

    fn runtime(&self) -> Result<&Runtime, String> {
        self.runtime.as_ref().ok_or_else(|| "shutting down".to_owned())
    }
}

impl OlderSamples for Arc<Archive> {
    fn ask(&self, question: Question) -> Option<Older> {
        self.walk(question).map_err(|error| self.failed(error)).ok()
    }

    fn status(&self) -> OlderStatus {
        self.status.lock().clone()
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        // Dropping a runtime waits, which async code must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn connect(settings: &config::History) -> Result<Arc<dyn ObjectStore>, String> {
    let Some(rest) = settings.store.strip_prefix("s3://") else {
        let folder = &settings.store;
        fs::create_dir_all(folder).map_err(|error| format!("{folder}: {error}"))?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| error.to_string())?;
        return Ok(Arc::new(store));
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let retry = object_store::RetryConfig { retry_timeout: RETRY_FOR, max_retries: 3, ..Default::default() };
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
    if !settings.s3_endpoint.is_empty() {
        let is_plain = settings.s3_endpoint.starts_with("http://");
        builder = builder.with_endpoint(&settings.s3_endpoint).with_allow_http(is_plain);
    }
    if !settings.s3_region.is_empty() {
        builder = builder.with_region(&settings.s3_region);
    }
    if let Some(file) = &settings.s3_credentials {
        // What is in it is nobody's business: only the place of an error is told.
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let credentials: Credentials =
            toml::from_str(&text).map_err(|_| format!("{}: not the credentials that are expected", file.display()))?;
        builder =
            builder.with_access_key_id(credentials.access_key_id).with_secret_access_key(credentials.secret_access_key);
        if let Some(token) = credentials.session_token {
            builder = builder.with_token(token);
        }
    }
    let store = builder.build().map_err(|error| error.to_string())?;
    Ok(Arc::new(PrefixStore::new(store, prefix)))
}

/// Puts a file, whole or not at all.
async fn put(store: &dyn ObjectStore, path: &Path, bytes: Vec<u8>) -> Result<(), String> {
    store.put(path, bytes.into()).await.map(|_| ()).map_err(|error| error.to_string())
}

/// A row: what a key was at a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Group id.
    pub group: Name,
    /// Topic name.
    pub topic: Name,
    /// Partition of the topic.
    pub partition: i32,
    /// When.
    pub at: Millis,
    /// `None`: it is gone.
    pub point: Option<Point>,
}

#[cfg(test)]
mod tests;
