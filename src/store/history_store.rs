//! The history store's interface: samples that are older than those in memory, and the limits of a read of samples.

use std::{
    collections::BTreeMap,
    fmt,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    model::{Millis, Name, SourceId},
    work::CancelHandle,
};

/// Why a read of samples ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The deadline passed, or the read was cancelled.
    #[error("reading samples was cancelled")]
    Stopped,
    /// The read needs more memory than its budget has.
    #[error("reading samples needs more memory than its budget")]
    OverBudget,
}

/// Memory that a read of samples may use.
pub trait Budget: Send + Sync + fmt::Debug {
    /// Reserves bytes. Returns whether the budget had room for them.
    fn reserve(&self, bytes: usize) -> bool;

    /// Releases reserved bytes.
    fn release(&self, bytes: usize);
}

/// A budget of a fixed size.
#[derive(Debug)]
pub struct FixedBudget {
    bytes: usize,
    used: AtomicUsize,
}

impl FixedBudget {
    /// Creates a budget of this many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { bytes, used: AtomicUsize::new(0) }
    }

    /// Returns the number of reserved bytes.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Budget for FixedBudget {
    fn reserve(&self, bytes: usize) -> bool {
        let add = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.bytes);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes of a budget, released when dropped.
#[derive(Debug, Default)]
pub struct Reserved {
    budget: Option<Arc<dyn Budget>>,
    bytes: usize,
}

impl Reserved {
    /// Changes the number of reserved bytes.
    ///
    /// # Errors
    /// [`ReadError::OverBudget`]
    pub fn resize(&mut self, bytes: usize) -> Result<(), ReadError> {
        let Some(budget) = &self.budget else { return Ok(()) };
        match bytes.checked_sub(self.bytes) {
            Some(more) if more > 0 && !budget.reserve(more) => return Err(ReadError::OverBudget),
            Some(_) => {}
            None => budget.release(self.bytes - bytes),
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.release(self.bytes);
        }
    }
}

/// Limits of a read of samples. The default has no limits.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// The cancel handle of the read.
    pub cancel: CancelHandle,
    /// The memory budget; `None` is unlimited.
    pub budget: Option<Arc<dyn Budget>>,
}

impl Bounds {
    /// Fails if the read must end.
    ///
    /// # Errors
    /// [`ReadError::Stopped`]
    pub fn check(&self) -> Result<(), ReadError> {
        self.cancel.check().map_err(|_| ReadError::Stopped)
    }

    /// Reserves bytes of the budget.
    ///
    /// # Errors
    /// [`ReadError::OverBudget`]
    pub fn reserve(&self, bytes: usize) -> Result<Reserved, ReadError> {
        let mut reserved = Reserved { budget: self.budget.clone(), bytes: 0 };
        reserved.resize(bytes).map(|()| reserved)
    }
}

/// Values of a key at a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// The next offset that the group would have read.
    pub committed_offset: i64,
    /// High watermark, if known.
    pub log_end_offset: Option<i64>,
    /// Lag, if known.
    pub lag: Option<i64>,
}

/// A request for samples.
#[derive(Clone, Debug)]
pub struct SampleRequest {
    /// The source of the groups.
    pub source: SourceId,
    /// Range of sample times.
    pub times: RangeInclusive<Millis>,
    /// The groups to read, in ascending order; `None` reads all.
    pub groups: Option<Vec<String>>,
    /// Prefix of the ids of the groups to read.
    pub prefix: String,
    /// The lowest id of the groups to read.
    pub first: String,
    /// Limits of the read.
    pub bounds: Bounds,
}

/// A key with its samples. A row holds until the next one, for at most `valid_for`.
#[derive(Debug)]
pub struct ArchivedKey {
    /// Group id.
    pub group: Name,
    /// Topic name.
    pub topic: Name,
    /// Partition of the topic.
    pub partition: i32,
    /// Rows in the order of time; `None` if the key was gone.
    pub rows: Vec<(Millis, Option<Point>)>,
    /// How long a row holds, in milliseconds.
    pub valid_for: Millis,
    /// Reserved memory of the rows.
    pub reserved: Reserved,
}

impl ArchivedKey {
    /// Returns the values of the key at a time.
    #[must_use]
    pub fn at(&self, time: Millis) -> Option<Point> {
        let after = self.rows.partition_point(|(at, _)| *at <= time);
        let (at, point) = self.rows.get(after.checked_sub(1)?)?;
        point.filter(|_| time.saturating_sub(*at) <= self.valid_for)
    }
}

/// Keys, ordered by group, topic and partition. An error is the last item.
pub type ArchivedKeys = Box<dyn Iterator<Item = Result<ArchivedKey, ReadError>> + Send>;

/// Samples of the history store.
pub struct HistorySamples {
    /// The times of the samples in the requested range, ascending.
    pub times: Vec<Millis>,
    /// The keys. Reading one may block on the store.
    pub keys: ArchivedKeys,
}

impl fmt::Debug for HistorySamples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistorySamples").field("times", &self.times.len()).finish_non_exhaustive()
    }
}

/// State of a history store.
#[derive(Clone, Debug, Default)]
pub struct HistoryStoreStatus {
    /// Last error of writing, reading or compacting; `None` after each operation that failed has succeeded again.
    pub last_error: Option<String>,
    /// Number of failed operations.
    pub failures: u64,
    /// Number of files written.
    pub files: u64,
    /// Number of unreadable files, which are not deleted.
    pub unreadable: u64,
    /// Some of the unreadable files, with the reason.
    pub skipped: BTreeMap<String, String>,
    /// Time of the newest sample written, of all clusters.
    pub written_to: Option<Millis>,
}

/// A store of older samples. Its calls block, so they must not be made from async code.
pub trait HistoryStore: Send + Sync + fmt::Debug {
    /// Reads samples. Returns `None` if the store failed; its status has the reason.
    ///
    /// # Errors
    /// The read was cancelled, or exceeds its budget.
    fn read(&self, request: SampleRequest) -> Result<Option<HistorySamples>, ReadError>;

    /// Returns the state of the store.
    fn status(&self) -> HistoryStoreStatus;
}
