//! What a table is, and the one adapter that makes a DataFusion table of it.
//!
//! A table names its columns and gives the rows of a unit, one by one, leaving out what [`Wanted`]
//! lets it skip. The adapter takes them a batch at a time, and builds only the columns that are asked for.

use std::{
    collections::VecDeque,
    fmt,
    ops::{ControlFlow, Range},
    sync::Arc,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::common::Result;

use super::wanted::Wanted;
use crate::store::{
    cut::{Cut, GroupCut, SourceCut},
    older::Bounds,
};

mod columns;

pub(super) use columns::{Columns, Layout, Rows};

/// Field metadata key of a column's comment.
pub const COMMENT: &str = "comment";

/// Rows of a batch.
pub(super) const BATCH_ROWS: usize = 8192;

/// What a table's rows are read from, a unit at a time: a cluster, a group of it, or some of a
/// group's offsets.
#[derive(Clone, Debug)]
pub(super) struct Unit<'a> {
    pub(super) cut: &'a Cut,
    pub(super) cluster: &'a SourceCut,
    /// For tables that are read group by group.
    pub(super) group: Option<GroupCut<'a>>,
    /// Positions of the offsets, for tables that are read offset by offset.
    pub(super) offsets: Range<usize>,
}

/// What a table is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Nothing: it says the same whatever the cluster.
    Server,
    Cluster,
    /// Sources of clusters.
    Source,
    Group,
    /// Committed offsets of groups: a large group is read in parts.
    Offset,
}

impl By {
    /// Units are groups or parts of them.
    pub(super) fn is_by_group(self) -> bool {
        matches!(self, Self::Group | Self::Offset)
    }
}

/// Whether to go on; breaks when there are enough rows, or with an error.
pub(super) type Flow = ControlFlow<Result<()>>;

/// A table.
pub(super) trait Table: Sized + Send + Sync + 'static {
    /// What a row borrows from the cut.
    type Row<'a>: Send;
    const NAME: &'static str;
    const COMMENT: &'static str;
    const BY: By;
    /// Also clusters that are not loaded: for tables about the server itself.
    const SHOWS_UNLOADED: bool = false;
    /// The columns by which rows come ordered, in byte order and without NULLs, when
    /// [`Wanted::sorted`] asks for it; `cluster` first, then `group_id` where units are groups.
    const ORDER: &'static [&'static str] = &[];

    fn columns() -> Columns<Self>;

    /// Gives the rows of a unit, at least those that are wanted, until `take` breaks. Rows are handed over and not
    /// asked for: a scan is then one loop, where iterators in iterators took several times as long.
    fn rows<'a>(unit: Unit<'a>, wanted: &'a Wanted, take: impl FnMut(Self::Row<'a>) -> Flow) -> Flow;

    /// How many rows [`Table::rows`] gives when everything is wanted, if that is known for less.
    fn count(_unit: Unit<'_>) -> Option<usize> {
        None
    }
}

/// What a scan asks of a table.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) wanted: Wanted,
    /// Positions in the table of the columns to give.
    pub(super) columns: Vec<usize>,
    /// Of these columns.
    pub(super) schema: SchemaRef,
    /// At most so many rows.
    pub(super) limit: Option<usize>,
}

/// Units to read, one after another.
pub(super) type Units<'a> = Box<dyn Iterator<Item = Unit<'a>> + Send + 'a>;
/// Batches as they are made; some may be empty.
pub(super) type Batches<'a> = Box<dyn Iterator<Item = Result<RecordBatch>> + Send + 'a>;

/// Gives the rows of units that answer a question, for a statement with some bounds.
type Scan = dyn for<'a> Fn(Units<'a>, &'a Question, &Bounds) -> Batches<'a> + Send + Sync;

/// A [`Table`] without its types, for the catalog.
pub(super) struct AnyTable {
    pub(super) name: &'static str,
    pub(super) comment: &'static str,
    pub(super) by: By,
    pub(super) shows_unloaded: bool,
    pub(super) order: &'static [&'static str],
    pub(super) schema: SchemaRef,
    pub(super) count: fn(Unit<'_>) -> Option<usize>,
    pub(super) scan: Box<Scan>,
}

/// Makes a [`Scan`] of a closure, whose lifetimes are inferred only here.
pub(super) fn by(
    scan: impl for<'a> Fn(Units<'a>, &'a Question, &Bounds) -> Batches<'a> + Send + Sync + 'static,
) -> Box<Scan> {
    Box::new(scan)
}

impl fmt::Debug for AnyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyTable").field("name", &self.name).finish_non_exhaustive()
    }
}

impl AnyTable {
    pub(super) fn of<T: Table>() -> Arc<Self> {
        let layout = Arc::new(Layout::from(T::columns()));
        Arc::new(Self {
            name: T::NAME,
            comment: T::COMMENT,
            by: T::BY,
            shows_unloaded: T::SHOWS_UNLOADED,
            order: T::ORDER,
            schema: Arc::clone(&layout.schema),
            count: T::count,
            scan: by(move |units, question, _| scan::<T>(Arc::clone(&layout), units, question)),
        })
    }
}

fn scan<'a, T: Table>(layout: Arc<Layout<T>>, units: Units<'a>, question: &'a Question) -> Batches<'a> {
    let left = question.limit.unwrap_or(usize::MAX);
    let mut filling = Filling { layout, question, rows: vec![], left, done: VecDeque::new() };
    let mut units = units.fuse();
    Box::new(std::iter::from_fn(move || {
        while filling.done.is_empty() && filling.left > 0 {
            let read = match units.next() {
                Some(unit) => filling.read(unit),
                None => filling.finish().map(|()| filling.left = 0),
            };
            if let Err(error) = read {
                filling.left = 0;
                return Some(Err(error));
            }
        }
        filling.done.pop_front().map(Ok)
    }))
}

/// Batches in the making.
struct Filling<'a, T: Table> {
    layout: Arc<Layout<T>>,
    question: &'a Question,
    /// Rows of the next batch.
    rows: Vec<T::Row<'a>>,
    /// Rows that may still be given.
    left: usize,
    done: VecDeque<RecordBatch>,
}

impl<'a, T: Table> Filling<'a, T> {
    /// Takes the rows of a unit, until there are enough.
    fn read(&mut self, unit: Unit<'a>) -> Result<()> {
        let question = self.question;
        let take = |row| {
            self.rows.push(row);
            if self.rows.len() < BATCH_ROWS.min(self.left) {
                return Flow::Continue(());
            }
            match self.finish() {
                Ok(()) if self.left > 0 => Flow::Continue(()),
                ended => Flow::Break(ended),
            }
        };
        match T::rows(unit, &question.wanted, take) {
            Flow::Break(ended) => ended,
            Flow::Continue(()) => Ok(()),
        }
    }

    /// Ends the batch, if it has rows.
    fn finish(&mut self) -> Result<()> {
        if !self.rows.is_empty() {
            self.done.push_back(self.layout.batch(&self.rows, self.question)?);
            self.left -= self.rows.len();
            self.rows.clear();
        }
        Ok(())
    }
}
