//! The history store: older samples as Parquet files in a local folder or on S3, readable by this server and by other
//! tools.
//!
//! Files are named `cluster=NAME/date=YYYY-MM-DD/FROM-TO.parquet`, where FROM and TO are the times of the first and the
//! last sample in milliseconds, or `FROM-TO.SOURCE.parquet` for a source other than the cluster's own. A file belongs
//! to one source, which its column `source` names. It has rows for the keys that moved at its samples, and for all keys
//! at the first sample of each hour. Therefore the value of a key at any time is that of its last row, at most an hour
//! earlier. A row without `committed_offset` marks a deleted key. Rows are sorted by group, topic, partition and time.
//! A file is created atomically and never replaced. The files of an hour are merged into one, then those of a day
//! (`compact`); equal rows of several files count once.
//!
//! File names are not trusted: a file is used only if its content agrees with its name (`inspect`). A file is deleted
//! only after it and the file that replaces it have just been read to the end (`tidy`). An unreadable file is named in
//! the status and never changed.
//!
//! All work runs on a dedicated thread. Failures are recorded in the status and affect history only.

use std::{collections::BTreeMap, fs, path::Path as FilePath, sync::Arc, time::Duration};

use object_store::{ObjectStore, ObjectStoreExt as _, aws::AmazonS3Builder, path::Path, prefix::PrefixStore};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::runtime::{Builder, Runtime};

use crate::{
    config,
    model::{Millis, Name, SOURCE_KAFKA, SourceId},
    store::{
        older::{Archived, Older, OlderSamples, OlderStatus, Point, Question, ReadError},
        source::Source,
    },
};
use folder::Version;

mod asked;
mod compact;
mod durable;
mod error;
mod file;
mod folder;
mod inspect;
mod known;
mod object;
mod read;
mod tidy;
mod write;

pub use error::ArchiveError;
pub use write::Writer;

const DAY: Millis = 86_400_000;
/// Maximum time between two samples at which all keys are written.
pub const KEYFRAME: Millis = 3_600_000;
/// Maximum time for which a row stands for the value of its key. Longer than [`KEYFRAME`] because a sample may be late.
pub const STANDS_FOR: Millis = KEYFRAME + 300_000;
/// Time for which a failed request to the store is retried.
const RETRY_FOR: Duration = Duration::from_secs(20);
/// Scheme of a store on S3.
const S3: &str = "s3://";
/// Maximum number of unreadable files named in the status.
const NAMED: usize = 20;

/// The kinds of work that can fail independently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Read,
    Write,
    Tidy,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "reading",
            Self::Write => "writing",
            Self::Tidy => "merging and deleting",
        }
    }
}

/// The state of the store.
#[derive(Debug, Default)]
struct State {
    status: OlderStatus,
    /// The last error of each source and kind of work, until it succeeds again.
    failing: BTreeMap<(SourceId, Work), String>,
    known: known::Known,
    /// Merged files that lack rows of the files that they should replace.
    differing: BTreeMap<Path, Version>,
}

impl State {
    /// Sets the status to all current failures.
    fn tell(&mut self) {
        let each = |((source, work), error): (&(SourceId, Work), &String)| {
            format!("{} {}: {error}", work.name(), name_of(source))
        };
        let failing: Vec<String> = self.failing.iter().map(each).collect();
        self.status.last_error = (!failing.is_empty()).then(|| failing.join("; "));
    }
}

/// The history store.
pub struct Archive {
    settings: config::History,
    store: Mutex<Option<Arc<dyn ObjectStore>>>,
    state: Mutex<State>,
    /// The runtime of its thread; `None` only while dropping.
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("store", &self.settings.store).finish_non_exhaustive()
    }
}

/// The content of the credentials file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

impl Archive {
    /// Returns the configured store, or `None` if none is configured. Sends no request yet.
    ///
    /// # Errors
    /// The thread of the store cannot be started.
    pub fn new(settings: config::History) -> std::io::Result<Option<Arc<Self>>> {
        if settings.store.is_empty() {
            return Ok(None);
        }
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("history").enable_all().build()?;
        let (store, state) = Default::default();
        Ok(Some(Arc::new(Self { settings, store, state, runtime: Some(runtime) })))
    }

    fn failed(&self, source: &SourceId, work: Work, error: &impl ToString) {
        let error = error.to_string();
        let state = &mut *self.state.lock();
        state.status.failures += 1;
        let known = state.failing.insert((source.clone(), work), error.clone());
        if known.as_ref() != Some(&error) {
            let of = name_of(source);
            tracing::warn!(of, work = work.name(), error, "history store failed");
        }
        state.tell();
    }

    /// Drops the failures of sources that are not in the list.
    fn forget_failures_of_others(&self, sources: &[Arc<Source>]) {
        let state = &mut *self.state.lock();
        let before = state.failing.len();
        state.failing.retain(|(id, _), _| sources.iter().any(|source| source.id == *id));
        if state.failing.len() != before {
            state.tell();
        }
    }

    fn succeeded(&self, source: &SourceId, work: Work) {
        let state = &mut *self.state.lock();
        if state.failing.remove(&(source.clone(), work)).is_some() {
            let of = name_of(source);
            tracing::info!(of, work = work.name(), "history store recovered");
            state.tell();
        }
    }

    /// Returns the store, and connects it first if no call has succeeded yet.
    fn store(&self) -> Result<Arc<dyn ObjectStore>, ArchiveError> {
        let mut known = self.store.lock();
        if let Some(store) = &*known {
            return Ok(Arc::clone(store));
        }
        let store = connect(&self.settings)?;
        *known = Some(Arc::clone(&store));
        Ok(store)
    }

    /// Returns the folder of the store, if it is local.
    fn local_folder(&self) -> Option<&FilePath> {
        let store = &self.settings.store;
        (!store.starts_with(S3)).then_some(FilePath::new(store))
    }

    fn runtime(&self) -> Result<&Runtime, ArchiveError> {
        self.runtime.as_ref().ok_or(ArchiveError::ShuttingDown)
    }
}

impl OlderSamples for Arc<Archive> {
    fn ask(&self, question: Question) -> Result<Option<Older>, ReadError> {
        let source = question.source.clone();
        match self.walk(question) {
            Ok(older) => Ok(Some(older)),
            Err(ArchiveError::Read(error)) => Err(error),
            Err(error) => {
                self.failed(&source, Work::Read, &error);
                Ok(None)
            }
        }
    }

    fn status(&self) -> OlderStatus {
        self.state.lock().status.clone()
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        // Dropping a runtime blocks, which is not allowed in async code.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Returns the cluster of a failure, and the source if it is not the cluster's own.
fn name_of(source: &SourceId) -> String {
    let SourceId { cluster, name } = source;
    if **name == *SOURCE_KAFKA { cluster.to_string() } else { format!("{cluster}, source {name}") }
}

fn connect(settings: &config::History) -> Result<Arc<dyn ObjectStore>, ArchiveError> {
    let Some(rest) = settings.store.strip_prefix(S3) else {
        return Ok(Arc::new(durable::Folder::open(FilePath::new(&settings.store))?));
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
    if let Some(path) = &settings.s3_credentials {
        let unreadable = |cause| ArchiveError::Credentials { path: path.clone(), cause };
        let text = fs::read_to_string(path).map_err(unreadable)?;
        // The parser's error may quote a secret.
        let malformed = |_| ArchiveError::CredentialsForm { path: path.clone() };
        let credentials: Credentials = toml::from_str(&text).map_err(malformed)?;
        builder =
            builder.with_access_key_id(credentials.access_key_id).with_secret_access_key(credentials.secret_access_key);
        if let Some(token) = credentials.session_token {
            builder = builder.with_token(token);
        }
    }
    Ok(Arc::new(PrefixStore::new(builder.build()?, prefix)))
}

/// Writes a file atomically.
async fn put(store: &dyn ObjectStore, path: &Path, bytes: Vec<u8>) -> Result<(), ArchiveError> {
    store.put(path, bytes.into()).await?;
    Ok(())
}

/// A row: the value of a key at a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Group id.
    pub group: Name,
    /// Topic name.
    pub topic: Name,
    /// Partition of the topic.
    pub partition: i32,
    /// Time of the sample.
    pub at: Millis,
    /// Value of the key; `None` if the key was deleted.
    pub point: Option<Point>,
}

impl Row {
    /// Returns the rows of a key.
    fn of(key: &Archived) -> impl Iterator<Item = Self> {
        key.rows.iter().map(|(at, point)| Self {
            group: Name::clone(&key.group),
            topic: Name::clone(&key.topic),
            partition: key.partition,
            at: *at,
            point: *point,
        })
    }
}

#[cfg(test)]
mod tests;
