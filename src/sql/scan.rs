//! The plan node that reads a table: skips what the conditions rule out, evaluates them on the rest, stops at a limit, and
//! gives the table's order where the statement wants it. It is planned by one cut and may be run on a later one.

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
    reading::{Memory, Reading},
    table::{AnyTable, BATCH_ROWS, By, Filter, Question, Selection},
    wanted::Wanted,
};
use crate::store::cut::Cut;

/// A table, planned by one cut.
#[derive(Debug)]
pub(super) struct LiveTable {
    pub(super) table: Arc<dyn AnyTable>,
    pub(super) cut: Arc<Cut>,
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
        let columns = projection.iter().chain(filter.iter().flat_map(|filter| &filter.over.columns));
        let columns = columns.filter_map(|index| Some(schema.fields().get(*index)?.name().clone())).collect();
        let wanted = Wanted::new(&filters, columns);
        let question = Question { wanted, filter, given: Selection::new(&schema, projection)?, limit };
        let partitions = state.config_options().execution.target_partitions;
        Ok(Arc::new(LiveScanExec::new(Arc::clone(&self.table), question, partitions, &self.cut)))
    }
}

/// All conditions as one, over the columns that it looks at.
fn filter(filters: &[Arc<dyn PhysicalExpr>], schema: &SchemaRef) -> Result<Option<Filter>> {
    let Some(condition) = conjunction_opt(filters.iter().cloned()) else { return Ok(None) };
    let columns: BTreeSet<usize> = collect_columns(&condition).iter().map(Column::index).collect();
    let over = Selection::new(schema, columns.into_iter().collect())?;
    let condition = reassign_expr_columns(condition, &over.schema)?;
    Ok(Some(Filter { condition, over }))
}

/// Reads a table.
#[derive(Clone, Debug)]
pub(super) struct LiveScanExec {
    table: Arc<dyn AnyTable>,
    question: Arc<Question>,
    /// At most.
    target_partitions: usize,
    /// By which it was planned.
    size: Size,
    properties: Arc<PlanProperties>,
}

/// What a cut holds for a question.
#[derive(Clone, Debug)]
struct Size {
    clusters: usize,
    all_places: usize,
    /// That may hold what is wanted.
    places: usize,
    partitions: usize,
    /// Without the limit.
    rows: Precision<usize>,
}

impl Size {
    fn of(table: &dyn AnyTable, wanted: &Wanted, target_partitions: usize, cut: &Cut) -> Self {
        let (places, all_places) = places::wanted(cut, table, wanted);
        let count: Option<usize> = places.iter().map(|place| places::count(cut, *place, wanted, table)).sum();
        let rows = match count {
            Some(rows) if wanted.is_whole_units(table.by().is_by_group()) => Precision::Exact(rows),
            Some(rows) => Precision::Inexact(rows),
            None => Precision::Absent,
        };
        let weight = || places.iter().map(|place| places::weight(cut, *place)).sum();
        let partitions = target_partitions.min(places.len()).min(count.unwrap_or_else(weight) / BATCH_ROWS).max(1);
        Self { clusters: cut.clusters.len(), all_places, places: places.len(), partitions, rows }
    }
}

impl LiveScanExec {
    fn new(table: Arc<dyn AnyTable>, question: Question, target_partitions: usize, cut: &Cut) -> Self {
        let size = Size::of(table.as_ref(), &question.wanted, target_partitions, cut);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&question.given.schema)),
            Partitioning::UnknownPartitioning(size.partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self { table, question: Arc::new(question), target_partitions, size, properties: Arc::new(properties) }
    }

    /// How many rows it looks at in another cut; `None` where that would be planned otherwise.
    pub(super) fn rows_if_same(&self, cut: &Cut) -> Option<Precision<usize>> {
        let size = self.size_of(cut);
        let is_same = (size.clusters, size.partitions) == (self.size.clusters, self.size.partitions);
        is_same.then_some(size.rows)
    }

    /// How many rows it gives, without a limit, as its own cut tells.
    pub(super) fn rows(&self) -> Precision<usize> {
        self.size.rows
    }

    /// The same of another cut.
    pub(super) fn rows_of(&self, cut: &Cut) -> Precision<usize> {
        self.size_of(cut).rows
    }

    fn size_of(&self, cut: &Cut) -> Size {
        Size::of(self.table.as_ref(), &self.question.wanted, self.target_partitions, cut)
    }

    /// For EXPLAIN.
    pub(super) fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = match self.table.by() {
            By::Server | By::Cluster => "clusters",
            By::Group | By::Offset => "shards",
        };
        let Size { places, all_places, .. } = self.size;
        let Question { wanted, filter, given, limit } = &*self.question;
        write!(f, "{name}: table={}, {units}={places}/{all_places}", self.table.name())?;
        f.write_str(&wanted.describe())?;
        if let Some(filter) = filter {
            write!(f, ", filter={}", filter.condition)?;
        }
        let coded = given.coded_names();
        if !coded.is_empty() {
            write!(f, ", codes=[{}]", coded.join(", "))?;
        }
        if wanted.sorted {
            write!(f, ", order=[{}]", self.table.order().join(", "))?;
        }
        limit.map_or(Ok(()), |limit| write!(f, ", limit={limit}"))
    }

    /// What a partition reads: the heaviest places are dealt out first.
    fn places_of(&self, partition: usize, cut: &Cut) -> Vec<Place> {
        let (mut places, _) = places::wanted(cut, self.table.as_ref(), &self.question.wanted);
        places.sort_by_key(|place| std::cmp::Reverse(places::weight(cut, *place)));
        places.into_iter().skip(partition).step_by(self.size.partitions).collect()
    }

    /// The same rows, each partition's in an order.
    fn ordered(&self, order: &[PhysicalSortExpr]) -> Self {
        let mut question = Question::clone(&self.question);
        question.wanted.sorted = true;
        let equivalences = EquivalenceProperties::new_with_orderings(self.schema(), [order.to_vec()]);
        let properties = PlanProperties::clone(&self.properties).with_eq_properties(equivalences);
        self.with(question, properties)
    }

    /// The same rows, with codes for the names in some of its columns; `None` where there is one that has none.
    pub(super) fn coded(&self, columns: &[usize]) -> Option<Self> {
        let given = &self.question.given;
        let coded: Option<BTreeSet<usize>> = columns.iter().map(|at| given.columns.get(*at).copied()).collect();
        let coded = coded.filter(|coded| coded.iter().all(|column| self.table.has_codes(*column)))?;
        let question = Question { given: given.coded(coded), ..Question::clone(&self.question) };
        let equivalences = EquivalenceProperties::new(Arc::clone(&question.given.schema));
        let properties = PlanProperties::clone(&self.properties).with_eq_properties(equivalences);
        Some(self.with(question, properties))
    }

    fn with(&self, question: Question, properties: PlanProperties) -> Self {
        Self { question: Arc::new(question), properties: Arc::new(properties), ..self.clone() }
    }

    /// Whether the table's order, but for columns of one value, begins so.
    fn gives(&self, order: &[PhysicalSortExpr]) -> bool {
        let wanted = &self.question.wanted;
        let one_cluster = self.size.clusters == 1;
        let is_one = |column: &str| wanted.is_one(column) || (column == "cluster" && one_cluster);
        let mut own = self.table.order().iter().filter(|column| !is_one(column));
        order.iter().all(|sort| {
            let column = sort.expr.downcast_ref::<Column>().map(Column::name);
            let ascends = !sort.options.descending;
            ascends && column.is_some_and(|column| is_one(column) || own.next() == Some(&column))
        })
    }
}

impl DisplayAs for LiveScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe("LiveScanExec", f)
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

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let reading = Reading::of(&context)?;
        let (table, question) = (Arc::clone(&self.table), Arc::clone(&self.question));
        let places = self.places_of(partition, &reading.cut);
        let rows = if table.by() == By::Offset { BATCH_ROWS } else { usize::MAX };
        // A batch is made when it is asked for, and what was read for the one before is gone by then.
        let memory = Memory::of(&context);
        let batches = stream! {
            let Reading { cut, stop } = &*reading;
            let units = places::read(cut, &places, &question.wanted, rows);
            for batch in table.batches(units, &question, &stop.patience().with_budget(memory)) {
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
        let rows = match (self.question.limit, self.size.partitions) {
            (None, 1) => self.size.rows,
            (None, _) if partition.is_none() => self.size.rows,
            (Some(limit), 1) => self.size.rows.map(|rows| rows.min(limit)),
            // Each partition stops at the limit by itself.
            _ => Precision::Absent,
        };
        Ok(Arc::new(Statistics::new_unknown(&self.schema()).with_num_rows(rows)))
    }
}
