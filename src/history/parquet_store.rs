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

use std::{collections::BTreeMap, path::Path as FilePath, sync::Arc, time::Duration};

use object_store::{ObjectStore, ObjectStoreExt as _, path::Path, prefix::PrefixStore};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

use crate::{
    config,
    model::{Millis, Name, SOURCE_KAFKA, SourceId},
    s3::S3Access,
    store::{
        history_store::{
            ArchivedKey, HistorySamples, HistoryStore, HistoryStoreStatus, Point, ReadError, SampleRequest,
        },
        source::Source,
    },
};
use folder::Version;

mod filter;
mod compact;
mod durable;
mod error;
mod file;
mod folder;
mod inspect;
mod file_states;
mod object;
mod read;
mod tidy;
mod write;

pub use error::ParquetStoreError;
pub use write::SampleWriter;

const DAY: Millis = 86_400_000;
/// Maximum time between two samples at which all keys are written.
pub const KEYFRAME: Millis = 3_600_000;
/// Maximum time for which a row stands for the value of its key. Longer than [`KEYFRAME`] because a sample may be late.
pub const ROW_HOLDS_FOR: Millis = KEYFRAME + 300_000;
/// Time for which a failed request to the store is retried.
const RETRY_FOR: Duration = Duration::from_secs(20);
/// Scheme of a store on S3.
const S3_SCHEME: &str = "s3://";
/// Maximum number of unreadable files named in the status.
const MAX_NAMED_FILES: usize = 20;

/// The kinds of work that can fail independently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Read,
    Write,
    Tidy,
}

impl Operation {
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
struct StoreState {
    status: HistoryStoreStatus,
    /// The last error of each source and kind of work, until it succeeds again.
    failing: BTreeMap<(SourceId, Operation), String>,
    files: file_states::FileStates,
    /// Merged files that lack rows of the files that they should replace.
    incomplete: BTreeMap<Path, Version>,
}

impl StoreState {
    /// Sets the status to all current failures.
    fn update_status(&mut self) {
        let each = |((source, operation), error): (&(SourceId, Operation), &String)| {
            format!("{} {}: {error}", operation.name(), failure_origin(source))
        };
        let failing: Vec<String> = self.failing.iter().map(each).collect();
        self.status.last_error = (!failing.is_empty()).then(|| failing.join("; "));
    }
}

/// The history store.
pub struct ParquetStore {
    settings: config::History,
    store: Mutex<Option<Arc<dyn ObjectStore>>>,
    state: Mutex<StoreState>,
    /// The runtime of its thread; `None` only while dropping.
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for ParquetStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetStore").field("store", &self.settings.store).finish_non_exhaustive()
    }
}

impl ParquetStore {
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

    fn record_failure(&self, source: &SourceId, operation: Operation, error: &impl ToString) {
        let error = error.to_string();
        let state = &mut *self.state.lock();
        state.status.failures += 1;
        let known = state.failing.insert((source.clone(), operation), error.clone());
        if known.as_ref() != Some(&error) {
            let origin = failure_origin(source);
            tracing::warn!(origin, operation = operation.name(), error, "history store failed");
        }
        state.update_status();
    }

    /// Drops the failures of sources that are not in the list.
    fn drop_failures_of_removed(&self, sources: &[Arc<Source>]) {
        let state = &mut *self.state.lock();
        let before = state.failing.len();
        state.failing.retain(|(id, _), _| sources.iter().any(|source| source.id == *id));
        if state.failing.len() != before {
            state.update_status();
        }
    }

    fn record_success(&self, source: &SourceId, operation: Operation) {
        let state = &mut *self.state.lock();
        if state.failing.remove(&(source.clone(), operation)).is_some() {
            let origin = failure_origin(source);
            tracing::info!(origin, operation = operation.name(), "history store recovered");
            state.update_status();
        }
    }

    /// Returns the store, and connects it first if no call has succeeded yet.
    fn store(&self) -> Result<Arc<dyn ObjectStore>, ParquetStoreError> {
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
        (!store.starts_with(S3_SCHEME)).then_some(FilePath::new(store))
    }

    fn runtime(&self) -> Result<&Runtime, ParquetStoreError> {
        self.runtime.as_ref().ok_or(ParquetStoreError::ShuttingDown)
    }
}

impl HistoryStore for Arc<ParquetStore> {
    fn read(&self, request: SampleRequest) -> Result<Option<HistorySamples>, ReadError> {
        let source = request.source.clone();
        match self.read_keys(request) {
            Ok(samples) => Ok(Some(samples)),
            Err(ParquetStoreError::Read(error)) => Err(error),
            Err(error) => {
                self.record_failure(&source, Operation::Read, &error);
                Ok(None)
            }
        }
    }

    fn status(&self) -> HistoryStoreStatus {
        self.state.lock().status.clone()
    }
}

impl Drop for ParquetStore {
    fn drop(&mut self) {
        // Dropping a runtime blocks, which is not allowed in async code.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Returns the cluster of a failure, and the source if it is not the cluster's own.
fn failure_origin(source: &SourceId) -> String {
    let SourceId { cluster, name } = source;
    if **name == *SOURCE_KAFKA { cluster.to_string() } else { format!("{cluster}, source {name}") }
}

fn connect(settings: &config::History) -> Result<Arc<dyn ObjectStore>, ParquetStoreError> {
    let Some(rest) = settings.store.strip_prefix(S3_SCHEME) else {
        return Ok(Arc::new(durable::Folder::open(FilePath::new(&settings.store))?));
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let retry = object_store::RetryConfig { retry_timeout: RETRY_FOR, max_retries: 3, ..Default::default() };
    let access = S3Access {
        endpoint: &settings.s3_endpoint,
        region: &settings.s3_region,
        credentials: settings.s3_credentials.as_deref(),
    };
    let builder = access.builder(bucket)?.with_retry(retry);
    Ok(Arc::new(PrefixStore::new(builder.build()?, prefix)))
}

/// Writes a file atomically.
async fn put_file(store: &dyn ObjectStore, path: &Path, bytes: Vec<u8>) -> Result<(), ParquetStoreError> {
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
    fn of(key: &ArchivedKey) -> impl Iterator<Item = Self> {
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
