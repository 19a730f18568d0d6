//! Older samples, as Parquet in a folder or on S3, for this server and for any other reader.
//!
//! `cluster=NAME/date=YYYY-MM-DD/FROM-TO.parquet`, where FROM and TO are the times of the first and the last sample in
//! milliseconds; `FROM-TO.SOURCE.parquet` for a source beside the cluster's own. A file is of one source, which its column
//! `source` names. It holds rows for the keys that moved at its samples, and at the first sample of an hour for all, so that
//! what a key was is told by its last row, at most an hour back; a row without committed_offset says that the key is gone.
//! Rows are sorted by group, topic, partition and time. A file is there whole or not at all, and is never replaced.
//! The files of an hour become one, and those of a day (`compact`); a row that several files hold is one row.
//!
//! Names of files are claims: a file counts once its content agrees with its name (`inspect`), and nothing is deleted
//! unless it, and the file that replaces it, was read to its end just before (`tidy`). A file that cannot be read is
//! named in the status, and left alone.
//!
//! All of it runs on a thread of its own. Whatever fails is noted, and history is what suffers, nothing else.

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
/// All keys are written at least so often.
pub const KEYFRAME: Millis = 3_600_000;
/// A row stands for what a key was so long after it, at most: a sample may come late.
pub const STANDS_FOR: Millis = KEYFRAME + 300_000;
/// Requests to a store are tried again for so long.
const RETRY_FOR: Duration = Duration::from_secs(20);
/// How the place of a store on S3 begins.
const S3: &str = "s3://";
/// Files that cannot be read that are named.
const NAMED: usize = 20;

/// What can fail by itself.
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

/// How it goes.
#[derive(Debug, Default)]
struct State {
    status: OlderStatus,
    /// What has failed, of which source, and not succeeded since.
    failing: BTreeMap<(SourceId, Work), String>,
    known: known::Known,
    /// Merged files that do not have all rows of the files of their time.
    differing: BTreeMap<Path, Version>,
}

impl State {
    /// The status names all that fails.
    fn tell(&mut self) {
        let each = |((source, work), error): (&(SourceId, Work), &String)| {
            format!("{} {}: {error}", work.name(), name_of(source))
        };
        let failing: Vec<String> = self.failing.iter().map(each).collect();
        self.status.last_error = (!failing.is_empty()).then(|| failing.join("; "));
    }
}

/// The store of older samples.
pub struct Archive {
    settings: config::History,
    store: Mutex<Option<Arc<dyn ObjectStore>>>,
    state: Mutex<State>,
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
            tracing::warn!(of, work = work.name(), error, "the history store fails");
        }
        state.tell();
    }

    /// Forgets what failed for sources that are not among these.
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
            tracing::info!(of, work = work.name(), "the history store works again");
            state.tell();
        }
    }

    /// The store, connected at the first call that can.
    fn store(&self) -> Result<Arc<dyn ObjectStore>, ArchiveError> {
        let mut known = self.store.lock();
        if let Some(store) = &*known {
            return Ok(Arc::clone(store));
        }
        let store = connect(&self.settings)?;
        *known = Some(Arc::clone(&store));
        Ok(store)
    }

    /// The folder of the store, if it is a local one.
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
        // Dropping a runtime waits, which async code must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a failure is about, for operators: the cluster, and the source where it is not the cluster's own.
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

/// Puts a file, whole or not at all.
async fn put(store: &dyn ObjectStore, path: &Path, bytes: Vec<u8>) -> Result<(), ArchiveError> {
    store.put(path, bytes.into()).await?;
    Ok(())
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

impl Row {
    /// The rows of a key.
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
