//! The plan node that reads a table from a cut: skips what the conditions rule out, evaluates them on
//! the rest, stops at a limit, and gives the table's order where the statement wants it.

use std::{collections::BTreeSet, fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_stream::stream;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{DFSchema, Result, Statistics, stats::Precision, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_expr::{
        EquivalenceProperties, Partitioning, PhysicalExpr, PhysicalSortExpr, conjunction_opt,
        expressions::Column,
        utils::{collect_columns, reassign_expr_columns},
    },
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SortOrderPushdownResult,
        execution_plan::{Boundedness, EmissionType, SchedulingType},
        stream::RecordBatchStreamAdapter,
    },
};

use super::{
    places::{self, Place},
    stop::Stop,
    table::{AnyTable, BATCH_ROWS, By, Filter, Question},
    wanted::Wanted,
};
use crate::store::cut::Cut;

/// A table over one cut.
#[derive(Debug)]
pub(super) struct LiveTable {
    pub(super) table: Arc<dyn AnyTable>,
    pub(super) cut: Arc<Cut>,
    pub(super) stop: Stop,
}

#[async_trait]
impl TableProvider for LiveTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// The scan evaluates every condition that gives the same for the same row.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match filter.is_volatile() {
            true => TableProviderFilterPushDown::Unsupported,
            false => TableProviderFilterPushDown::Exact,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.table.schema();
        let of = DFSchema::try_from(Arc::clone(&schema))?;
        let filters: Vec<Arc<dyn PhysicalExpr>> =
            filters.iter().map(|filter| state.create_physical_expr(filter.clone(), &of)).collect::<Result<_>>()?;
        let projection = projection.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let filter = filter(&filters, &schema)?;
        let columns = projection.iter().chain(filter.iter().flat_map(|filter| &filter.projection));
        let columns = columns.filter_map(|index| Some(schema.fields().get(*index)?.name().clone())).collect();
        let wanted = Wanted::new(&filters, columns);
        let scan = Scan {
            table: Arc::clone(&self.table),
            cut: Arc::clone(&self.cut),
            stop: self.stop.clone(),
            partitions: state.config_options().execution.target_partitions,
        };
        let question = Question { wanted, filter, projection, limit, patience: self.stop.patience() };
        Ok(Arc::new(LiveScanExec::try_new(scan, question)?))
    }
}

/// All conditions as one, over the columns that it looks at.
fn filter(filters: &[Arc<dyn PhysicalExpr>], schema: &SchemaRef) -> Result<Option<Filter>> {
    let Some(condition) = conjunction_opt(filters.iter().cloned()) else { return Ok(None) };
    let columns: BTreeSet<usize> = collect_columns(&condition).iter().map(Column::index).collect();
    let projection: Vec<usize> = columns.into_iter().collect();
    let condition = reassign_expr_columns(condition, &schema.project(&projection)?)?;
    Ok(Some(Filter { condition, projection }))
}

/// What is read, and over how many partitions at most.
#[derive(Clone, Debug)]
struct Scan {
    table: Arc<dyn AnyTable>,
    cut: Arc<Cut>,
    stop: Stop,
    partitions: usize,
}

/// Reads a table.
#[derive(Debug)]
pub(super) struct LiveScanExec {
    scan: Scan,
    question: Arc<Question>,
    /// What each partition reads.
    places: Vec<Arc<[Place]>>,
    all_places: usize,
    /// Without the limit.
    rows: Precision<usize>,
    properties: Arc<PlanProperties>,
}

impl LiveScanExec {
    fn try_new(scan: Scan, question: Question) -> Result<Self> {
        let all = places::all(&scan.cut, scan.table.as_ref());
        let all_places = all.len();
        let wanted = &question.wanted;
        let mut places: Vec<Place> =
            all.into_iter().filter(|place| places::is_wanted(&scan.cut, *place, wanted)).collect();
        let count = |place: &Place| places::count(&scan.cut, *place, wanted, scan.table.as_ref());
        let count: Option<usize> = places.iter().map(count).sum();
        let rows = match count {
            Some(rows) if wanted.is_whole_units(scan.table.by().is_by_group()) => Precision::Exact(rows),
            Some(rows) => Precision::Inexact(rows),
            None => Precision::Absent,
        };
        places.sort_by_key(|place| std::cmp::Reverse(places::weight(&scan.cut, *place)));
        let weight: usize = places.iter().map(|place| places::weight(&scan.cut, *place)).sum();
        let partitions = scan.partitions.min(places.len()).min(count.unwrap_or(weight) / BATCH_ROWS).max(1);
        let places: Vec<Arc<[Place]>> =
            (0..partitions).map(|first| places.iter().skip(first).step_by(partitions).copied().collect()).collect();
        let schema = Arc::new(scan.table.schema().project(&question.projection)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(places.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        let (question, properties) = (Arc::new(question), Arc::new(properties));
        Ok(Self { scan, question, places, all_places, rows, properties })
    }

    /// The same rows, each partition's in an order.
    fn ordered(&self, order: &[PhysicalSortExpr]) -> Self {
        let mut question = Question::clone(&self.question);
        question.wanted.sorted = true;
        let equivalences = EquivalenceProperties::new_with_orderings(self.schema(), [order.to_vec()]);
        let properties = PlanProperties::clone(&self.properties).with_eq_properties(equivalences);
        self.with(question, properties)
    }

    fn with(&self, question: Question, properties: PlanProperties) -> Self {
        Self {
            scan: self.scan.clone(),
            question: Arc::new(question),
            places: self.places.clone(),
            all_places: self.all_places,
            rows: self.rows,
            properties: Arc::new(properties),
        }
    }

    /// Whether the table's order, but for columns of one value, begins so.
    fn gives(&self, order: &[PhysicalSortExpr]) -> bool {
        let wanted = &self.question.wanted;
        let one_cluster = self.scan.cut.clusters.len() == 1;
        let is_one = |column: &str| wanted.is_one(column) || (column == "cluster" && one_cluster);
        let mut own = self.scan.table.order().iter().filter(|column| !is_one(column));
        order.iter().all(|sort| {
            let column = sort.expr.downcast_ref::<Column>().map(Column::name);
            let ascends = !sort.options.descending;
            ascends && column.is_some_and(|column| is_one(column) || own.next() == Some(&column))
        })
    }
}

impl DisplayAs for LiveScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = match self.scan.table.by() {
            By::Server | By::Cluster => "clusters",
            By::Group | By::Offset => "shards",
        };
        let read: usize = self.places.iter().map(|places| places.len()).sum();
        let Question { wanted, filter, limit, .. } = &*self.question;
        write!(f, "LiveScanExec: table={}, {units}={read}/{}", self.scan.table.name(), self.all_places)?;
        f.write_str(&wanted.describe())?;
        if let Some(filter) = filter {
            write!(f, ", filter={}", filter.condition)?;
        }
        if wanted.sorted {
            write!(f, ", order=[{}]", self.scan.table.order().join(", "))?;
        }
        limit.map_or(Ok(()), |limit| write!(f, ", limit={limit}"))
    }
}

impl ExecutionPlan for LiveScanExec {
    fn name(&self) -> &'static str {
        "LiveScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.question.filter.as_ref().map_or(Ok(TreeNodeRecursion::Continue), |filter| visit(&filter.condition))
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn fetch(&self) -> Option<usize> {
        self.question.limit
    }

    /// A limit around this one narrows it; none and a wider one leave it as it is.
    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let limit = self.question.limit.into_iter().chain(limit).min();
        let question = Question { limit, ..Question::clone(&self.question) };
        Some(Arc::new(self.with(question, PlanProperties::clone(&self.properties))))
    }

    fn try_pushdown_sort(&self, order: &[PhysicalSortExpr]) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        if !self.gives(order) {
            return Ok(SortOrderPushdownResult::Unsupported);
        }
        Ok(SortOrderPushdownResult::Exact { inner: Arc::new(self.ordered(order)) })
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Scan { table, cut, stop, .. } = self.scan.clone();
        let question = Arc::clone(&self.question);
        let places = self.places.get(partition).map(Arc::clone).unwrap_or_default();
        let rows = if table.by() == By::Offset { BATCH_ROWS } else { usize::MAX };
        // A batch is made when it is asked for, and what was read for the one before is gone by then.
        let batches = stream! {
            let units = places::read(&cut, &places, &question.wanted, rows);
            for batch in table.batches(units, &question) {
                match stop.check().and(batch) {
                    Ok(batch) if batch.num_rows() == 0 => {}
                    batch => yield batch,
                }
                tokio::task::consume_budget().await;
            }
            // Who waits for a store ends when the statement does, as if there was no more.
            if let Err(error) = stop.check() {
                yield Err(error);
            }
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let rows = match (self.question.limit, self.places.len()) {
            (None, 1) => self.rows,
            (None, _) if partition.is_none() => self.rows,
            (Some(limit), 1) => self.rows.map(|rows| rows.min(limit)),
            // Each partition stops at the limit by itself.
            _ => Precision::Absent,
        };
        Ok(Arc::new(Statistics::new_unknown(&self.schema()).with_num_rows(rows)))
    }
}
