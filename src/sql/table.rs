//! The definition of a table, and the adapter that turns it into a DataFusion table.
//!
//! A table names its columns, and returns the rows of a unit one by one; it may skip rows that the scan predicate
//! ([`ScanPredicate`]) excludes. The adapter collects them into batches and builds only the requested columns.

use std::{
    collections::VecDeque,
    fmt,
    ops::{ControlFlow, Range},
    sync::Arc,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::common::Result;

use super::predicate::ScanPredicate;
use crate::store::{
    cut::{Cut, GroupCut, SourceCut},
    history_store::Bounds,
};

mod columns;

pub(super) use columns::{Columns, Layout};

/// Field metadata key of a column's comment.
pub const COMMENT: &str = "comment";

/// Maximum rows of a batch that a scan returns.
pub(super) const BATCH_ROWS: usize = 8192;

/// Maximum rows of a batch that an operator builds. A join copies one row of either side for each, whatever its size.
pub(super) const OPERATOR_ROWS: usize = 2048;

/// A unit of a table's data, which is read at a time: a cluster, a group, or some offsets of a group.
#[derive(Clone, Debug)]
pub(super) struct Unit<'a> {
    pub(super) cut: &'a Cut,
    pub(super) cluster: &'a SourceCut,
    /// The group, for tables that are read by group.
    pub(super) group: Option<GroupCut<'a>>,
    /// Positions of the offsets, for tables that are read by offset.
    pub(super) offsets: Range<usize>,
}

/// The unit by which a table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnitKind {
    /// One unit for the whole server: the rows do not depend on the cluster.
    Server,
    /// One unit for each cluster.
    Cluster,
    /// One unit for each source of each cluster.
    Source,
    /// One unit for each group.
    Group,
    /// One or more units for each group: a large group is split by offsets.
    Offset,
}

impl UnitKind {
    /// Returns whether units are groups or parts of them.
    pub(super) fn is_group(self) -> bool {
        matches!(self, Self::Group | Self::Offset)
    }
}

/// Whether to continue; breaks when there are enough rows, or with an error.
pub(super) type Flow = ControlFlow<Result<()>>;

/// A table.
pub(super) trait Table: Sized + Send + Sync + 'static {
    /// A row, which may borrow from the cut.
    type Row<'a>: Send;
    /// Name of the table.
    const NAME: &'static str;
    /// Meaning of a row.
    const COMMENT: &'static str;
    /// The unit by which the table is read.
    const UNIT: UnitKind;
    /// Whether rows of clusters that are not loaded are included, for tables about the server itself.
    const SHOWS_UNLOADED: bool = false;
    /// The columns by which rows are ordered, in byte order and without NULLs, if [`ScanPredicate::sorted`] is set:
    /// `cluster` first, then `group_id` if units are groups.
    const ORDER: &'static [&'static str] = &[];

    /// Returns the columns.
    fn columns() -> Columns<Self>;

    /// Calls `take` with the rows of a unit, at least with those that match, until it breaks. A callback makes the scan
    /// one loop; nested iterators took several times as long.
    fn rows<'a>(unit: Unit<'a>, predicate: &'a ScanPredicate, take: impl FnMut(Self::Row<'a>) -> Flow) -> Flow;

    /// Returns the rows of units for a scan request, within the bounds of a statement. A table whose units have too
    /// many rows to collect replaces this.
    fn scan<'a>(layout: Arc<Layout<Self>>, units: Units<'a>, request: &'a ScanRequest, _: Bounds) -> Batches<'a> {
        scan(layout, units, request)
    }

    /// Returns the number of rows that [`Table::rows`] returns without a predicate, if counting is cheaper than
    /// reading.
    fn count(_unit: Unit<'_>) -> Option<usize> {
        None
    }
}

/// A scan request: what a scan must return.
#[derive(Clone, Debug)]
pub(super) struct ScanRequest {
    pub(super) predicate: ScanPredicate,
    /// Positions of the requested columns in the table.
    pub(super) columns: Vec<usize>,
    /// Schema of these columns.
    pub(super) schema: SchemaRef,
    /// Maximum number of rows.
    pub(super) limit: Option<usize>,
}

/// Units to read, in order.
pub(super) type Units<'a> = Box<dyn Iterator<Item = Unit<'a>> + Send + 'a>;
/// Batches, created on demand; some may be empty.
pub(super) type Batches<'a> = Box<dyn Iterator<Item = Result<RecordBatch>> + Send + 'a>;

/// [`Table::scan`] with its layout.
type Scan = dyn for<'a> Fn(Units<'a>, &'a ScanRequest, Bounds) -> Batches<'a> + Send + Sync;

/// A [`Table`] without its type parameters, for the catalog.
pub(super) struct AnyTable {
    pub(super) name: &'static str,
    pub(super) comment: &'static str,
    pub(super) unit: UnitKind,
    pub(super) shows_unloaded: bool,
    pub(super) order: &'static [&'static str],
    pub(super) schema: SchemaRef,
    pub(super) count: fn(Unit<'_>) -> Option<usize>,
    pub(super) scan: Box<Scan>,
}

impl fmt::Debug for AnyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyTable").field("name", &self.name).finish_non_exhaustive()
    }
}

impl AnyTable {
    /// Returns a table for the catalog.
    pub(super) fn of<T: Table>() -> Arc<Self> {
        let layout = Arc::new(Layout::from(T::columns()));
        Arc::new(Self {
            name: T::NAME,
            comment: T::COMMENT,
            unit: T::UNIT,
            shows_unloaded: T::SHOWS_UNLOADED,
            order: T::ORDER,
            schema: Arc::clone(&layout.schema),
            count: T::count,
            scan: Box::new(move |units, request, bounds| T::scan(Arc::clone(&layout), units, request, bounds)),
        })
    }
}

/// Scans a table that is read by unit.
fn scan<'a, T: Table>(layout: Arc<Layout<T>>, units: Units<'a>, request: &'a ScanRequest) -> Batches<'a> {
    let remaining = request.limit.unwrap_or(usize::MAX);
    let mut builder = BatchBuilder { layout, request, rows: vec![], remaining, done: VecDeque::new() };
    let mut units = units.fuse();
    Box::new(std::iter::from_fn(move || {
        while builder.done.is_empty() && builder.remaining > 0 {
            let read = match units.next() {
                Some(unit) => builder.read(unit),
                None => builder.finish().map(|()| builder.remaining = 0),
            };
            if let Err(error) = read {
                builder.remaining = 0;
                return Some(Err(error));
            }
        }
        builder.done.pop_front().map(Ok)
    }))
}

/// The batches that a scan is building.
struct BatchBuilder<'a, T: Table> {
    layout: Arc<Layout<T>>,
    request: &'a ScanRequest,
    /// Rows of the next batch.
    rows: Vec<T::Row<'a>>,
    /// Rows that may still be returned.
    remaining: usize,
    /// Complete batches.
    done: VecDeque<RecordBatch>,
}

impl<'a, T: Table> BatchBuilder<'a, T> {
    /// Adds the rows of a unit, until there are enough.
    fn read(&mut self, unit: Unit<'a>) -> Result<()> {
        let request = self.request;
        let take = |row| {
            self.rows.push(row);
            if self.rows.len() < BATCH_ROWS.min(self.remaining) {
                return Flow::Continue(());
            }
            match self.finish() {
                Ok(()) if self.remaining > 0 => Flow::Continue(()),
                ended => Flow::Break(ended),
            }
        };
        match T::rows(unit, &request.predicate, take) {
            Flow::Break(ended) => ended,
            Flow::Continue(()) => Ok(()),
        }
    }

    /// Completes the current batch, if it has rows.
    fn finish(&mut self) -> Result<()> {
        if !self.rows.is_empty() {
            self.done.push_back(self.layout.batch(&self.rows, self.request)?);
            self.remaining -= self.rows.len();
            self.rows.clear();
        }
        Ok(())
    }
}
