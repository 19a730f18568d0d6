//! The history store: samples that are older than those in memory, and what bounds a read of samples.

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
    work::Cancel,
};

/// Why a read of samples ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Its deadline passed, or it was cancelled.
    #[error("the read of samples was stopped")]
    Stopped,
    /// It needs more memory than its budget has.
    #[error("the read of samples needs more memory than it may use")]
    OverBudget,
}

/// Memory that a read of samples may use.
pub trait Budget: Send + Sync + fmt::Debug {
    /// Reserves bytes. Returns whether there was room for them.
    fn reserve(&self, bytes: usize) -> bool;

    /// Gives reserved bytes back.
    fn release(&self, bytes: usize);
}

/// A budget of a fixed size.
#[derive(Debug)]
pub struct FixedBudget {
    bytes: usize,
    used: AtomicUsize,
}

impl FixedBudget {
    /// Of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { bytes, used: AtomicUsize::new(0) }
    }

    /// Returns the bytes that are reserved now.
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
    /// Changes how many bytes are reserved.
    ///
    /// # Errors
    /// There is no room for more.
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

/// What bounds a read of samples. The default has no bounds.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// What ends it.
    pub cancel: Cancel,
    /// Its memory; `None` is without a limit.
    pub budget: Option<Arc<dyn Budget>>,
}

impl Bounds {
    /// Fails once the read must end.
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

/// What a key was at a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// The next offset that the group would read.
    pub committed_offset: i64,
    /// High watermark.
    pub log_end_offset: Option<i64>,
    /// How far behind.
    pub lag: Option<i64>,
}

/// Which samples are wanted.
#[derive(Clone, Debug)]
pub struct Question {
    /// The source whose groups are asked about.
    pub source: SourceId,
    /// Times of samples.
    pub times: RangeInclusive<Millis>,
    /// Only these groups, in order; `None`: all.
    pub groups: Option<Vec<String>>,
    /// Only groups whose id starts so.
    pub prefix: String,
    /// Only groups from this id on.
    pub first: String,
    /// What bounds the read.
    pub bounds: Bounds,
}

/// A key and what it was: a row holds until the next, for a while.
#[derive(Debug)]
pub struct Archived {
    /// Group id.
    pub group: Name,
    /// Topic name.
    pub topic: Name,
    /// Partition of the topic.
    pub partition: i32,
    /// By time; `None`: it was gone.
    pub rows: Vec<(Millis, Option<Point>)>,
    /// How long the last row before a time holds at that time.
    pub stands_for: Millis,
    /// The memory of the rows.
    pub reserved: Reserved,
}

impl Archived {
    /// Returns what it was at the time of a sample.
    #[must_use]
    pub fn at(&self, time: Millis) -> Option<Point> {
        let after = self.rows.partition_point(|(at, _)| *at <= time);
        let (at, point) = self.rows.get(after.checked_sub(1)?)?;
        point.filter(|_| time.saturating_sub(*at) <= self.stands_for)
    }
}

/// Keys, ordered by group, topic and partition. An error is the last item.
pub type ArchivedKeys = Box<dyn Iterator<Item = Result<Archived, ReadError>> + Send>;

/// An answer.
pub struct Older {
    /// The times of samples that were asked for, in order.
    pub times: Vec<Millis>,
    /// The keys. Taking one may wait for the store.
    pub keys: ArchivedKeys,
}

impl fmt::Debug for Older {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Older").field("times", &self.times.len()).finish_non_exhaustive()
    }
}

/// The state of a store.
#[derive(Clone, Debug, Default)]
pub struct OlderStatus {
    /// What the last attempts to write, to read and to tidy failed with; `None` once each that failed has succeeded.
    pub last_error: Option<String>,
    /// Attempts that failed.
    pub failures: u64,
    /// Files written.
    pub files: u64,
    /// Files that cannot be read and are left alone.
    pub unreadable: u64,
    /// Some of these, and why.
    pub skipped: BTreeMap<String, String>,
    /// Time of the newest sample written, of all clusters.
    pub written_to: Option<Millis>,
}

/// A store of older samples. Blocks: not for async code.
pub trait OlderSamples: Send + Sync + fmt::Debug {
    /// Asks for samples. `None`: the store failed, and its status says so.
    ///
    /// # Errors
    /// The read was stopped, or is over its budget.
    fn ask(&self, question: Question) -> Result<Option<Older>, ReadError>;

    /// Returns its state.
    fn status(&self) -> OlderStatus;
}
