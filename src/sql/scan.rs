//! The plan node that reads a table. It skips the clusters, shards and groups that the conditions exclude, stops at a
//! limit, and returns rows in the table's order if the statement needs it. DataFusion's filter evaluates all other
//! conditions.

use std::{fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_stream::stream;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{DFSchema, Result, Statistics, stats::Precision, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext, context::ExecutionProps},
    logical_expr::{
        Expr, TableProviderFilterPushDown, TableType, expr_rewriter::unnormalize_col,
        physical_planning_context::PhysicalPlanningContext,
    },
    physical_expr::{
        EquivalenceProperties, Partitioning, PhysicalExpr, PhysicalSortExpr, create_physical_expr, expressions::Column,
    },
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SortOrderPushdownResult,
        execution_plan::{Boundedness, EmissionType, SchedulingType},
        stream::RecordBatchStreamAdapter,
    },
};

use super::{
    error::SqlError,
    limits::{Memory, Reading, check},
    places::{self, Place},
    table::{AnyTable, BATCH_ROWS, By, Question},
    wanted::Wanted,
};
use crate::store::{cut::Cut, older::Bounds};

/// A table of the catalog. A scan is planned over the cut of the session's [`Reading`]. A table of Kafka data fails
/// while no cluster is loaded.
#[derive(Debug)]
pub(super) struct LiveTable(pub(super) Arc<AnyTable>);

impl LiveTable {
    /// Returns the conditions as physical expressions over the table's columns.
    fn conditions(&self, filters: &[&Expr]) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        let (schema, properties) = (DFSchema::try_from(Arc::clone(&self.0.schema))?, ExecutionProps::new());
        let context = PhysicalPlanningContext::default();
        let plain = filters.iter().map(|filter| unnormalize_col(Expr::clone(filter)));
        plain.map(|filter| create_physical_expr(&filter, &schema, &properties, &context)).collect()
    }
}

#[async_trait]
impl TableProvider for LiveTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| {
            if filter.is_volatile() {
                return Ok(TableProviderFilterPushDown::Unsupported);
            }
            let wanted = Wanted::new(&self.conditions(&[filter])?, [].into());
            Ok(match wanted.is_whole_units(self.0.by.is_by_group()) {
                true => TableProviderFilterPushDown::Exact,
                false => TableProviderFilterPushDown::Inexact,
            })
        };
        filters.iter().map(support).collect()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let reading = Reading::of_session(state.config())?;
        if let Some(unready) = reading.cut.unready.as_ref().filter(|_| !self.0.shows_unloaded) {
            return Err(SqlError::from(unready.clone()).into_datafusion());
        }
        let columns = projection.cloned().unwrap_or_else(|| (0..self.0.schema.fields().len()).collect());
        let schema = Arc::new(self.0.schema.project(&columns)?);
        let names = schema.fields().iter().map(|field| field.name().clone()).collect();
        let wanted = Wanted::new(&self.conditions(&filters.iter().collect::<Vec<_>>())?, names);
        let question = Question { wanted, columns, schema, limit };
        let partitions = state.config_options().execution.target_partitions;
        Ok(Arc::new(LiveScanExec::new(Arc::clone(&self.0), question, partitions, &reading.cut)))
    }
}

/// The plan node.
#[derive(Clone, Debug)]
pub(super) struct LiveScanExec {
    table: Arc<AnyTable>,
    question: Arc<Question>,
    found: Arc<Found>,
    properties: Arc<PlanProperties>,
}

/// The parts of a cut that a scan reads, and statistics about them.
#[derive(Debug)]
struct Found {
    /// Clusters of the cut.
    clusters: usize,
    /// Whether a cluster has several sources.
    several_sources: bool,
    /// Number of parts before pruning.
    all_places: usize,
    /// The parts of each partition that may contain rows of the answer.
    partitions: Vec<Vec<Place>>,
    /// Number of rows, without the limit.
    rows: Precision<usize>,
}

impl Found {
    /// Finds the parts that may contain rows, and distributes them over the partitions.
    fn new(table: &AnyTable, wanted: &Wanted, target_partitions: usize, cut: &Cut) -> Self {
        let (mut places, all_places) = places::wanted(cut, table, wanted);
        let count: Option<usize> = places.iter().map(|place| places::count(cut, *place, wanted, table)).sum();
        let rows = match count {
            Some(rows) if wanted.is_whole_units(table.by.is_by_group()) => Precision::Exact(rows),
            Some(rows) => Precision::Inexact(rows),
            None => Precision::Absent,
        };
        let weight = || places.iter().map(|place| places::weight(cut, *place)).sum();
        let partitions = target_partitions.min(places.len()).min(count.unwrap_or_else(weight) / BATCH_ROWS).max(1);
        // The largest parts are distributed first.
        places.sort_by_key(|place| std::cmp::Reverse(places::weight(cut, *place)));
        let dealt = |partition| places.iter().skip(partition).step_by(partitions).copied().collect();
        let partitions = (0..partitions).map(dealt).collect();
        Self {
            clusters: cut.each_cluster().count(),
            several_sources: cut.has_several_sources(),
            all_places,
            partitions,
            rows,
        }
    }
}

impl LiveScanExec {
    fn new(table: Arc<AnyTable>, question: Question, target_partitions: usize, cut: &Cut) -> Self {
        let found = Found::new(&table, &question.wanted, target_partitions, cut);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&question.schema)),
            Partitioning::UnknownPartitioning(found.partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self { table, question: Arc::new(question), found: Arc::new(found), properties: Arc::new(properties) }
    }

    /// Returns a scan of the same rows, with each partition in the given order.
    fn ordered(&self, order: &[PhysicalSortExpr]) -> Self {
        let mut question = Question::clone(&self.question);
        question.wanted.sorted = true;
        let equivalences = EquivalenceProperties::new_with_orderings(self.schema(), [order.to_vec()]);
        let properties = PlanProperties::clone(&self.properties).with_eq_properties(equivalences);
        Self { question: Arc::new(question), properties: Arc::new(properties), ..self.clone() }
    }

    /// Returns whether the table's order starts with `order`, ignoring columns that have a single value.
    fn gives(&self, order: &[PhysicalSortExpr]) -> bool {
        let wanted = &self.question.wanted;
        let one_cluster = self.found.clusters == 1;
        let is_one = |column: &str| wanted.is_one(column) || (column == "cluster" && one_cluster);
        // In a group of several sources, rows are ordered within each source only.
        let is_mixed = self.found.several_sources && self.table.by.is_by_group();
        let is_kept = |column: &&&str| !is_mixed || matches!(**column, "cluster" | "group_id");
        let mut own = self.table.order.iter().take_while(is_kept).filter(|column| !is_one(column));
        order.iter().all(|sort| {
            let column = sort.expr.downcast_ref::<Column>().map(Column::name);
            let ascends = !sort.options.descending;
            ascends && column.is_some_and(|column| is_one(column) || own.next() == Some(&column))
        })
    }
}

impl DisplayAs for LiveScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = match self.table.by {
            By::Server | By::Cluster | By::Source => "clusters",
            By::Group | By::Offset => "shards",
        };
        let Question { wanted, limit, .. } = &*self.question;
        let places: usize = self.found.partitions.iter().map(Vec::len).sum();
        write!(f, "LiveScanExec: table={}, {units}={places}/{}", self.table.name, self.found.all_places)?;
        f.write_str(&wanted.describe())?;
        if wanted.sorted {
            write!(f, ", order=[{}]", self.table.order.join(", "))?;
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
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn fetch(&self) -> Option<usize> {
        self.question.limit
    }

    /// Lowers the limit of the scan; a higher limit, or none, does not change it.
    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let limit = self.question.limit.into_iter().chain(limit).min();
        let question = Question { limit, ..Question::clone(&self.question) };
        Some(Arc::new(Self { question: Arc::new(question), ..self.clone() }))
    }

    fn try_pushdown_sort(&self, order: &[PhysicalSortExpr]) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        if !self.gives(order) {
            return Ok(SortOrderPushdownResult::Unsupported);
        }
        Ok(SortOrderPushdownResult::Exact { inner: Arc::new(self.ordered(order)) })
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let reading = Reading::of(&context)?;
        let (table, question, found) = (Arc::clone(&self.table), Arc::clone(&self.question), Arc::clone(&self.found));
        let rows = if table.by == By::Offset { BATCH_ROWS } else { usize::MAX };
        // Batches are created on demand, and the memory of the previous one is free by then.
        let memory = Memory::of(&context);
        let batches = stream! {
            let (cut, cancel) = (&reading.cut, reading.job.cancel());
            let bounds = Bounds { cancel: cancel.clone(), budget: Some(memory) };
            let places = found.partitions.get(partition).map_or(&[][..], Vec::as_slice);
            let units = places::read(cut, places, &question.wanted, rows);
            for batch in (table.scan)(units, &question, &bounds) {
                match check(cancel).and(batch) {
                    Ok(batch) if batch.num_rows() == 0 => {}
                    batch => yield batch,
                }
                tokio::task::consume_budget().await;
            }
            // A scan that waits for the history store ends without an error when the statement is cancelled.
            if let Err(error) = check(cancel) {
                yield Err(error);
            }
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let rows = match (self.question.limit, self.found.partitions.len()) {
            (None, 1) => self.found.rows,
            (None, _) if partition.is_none() => self.found.rows,
            (Some(limit), 1) => self.found.rows.map(|rows| rows.min(limit)),
            // Each partition stops at the limit on its own.
            _ => Precision::Absent,
        };
        Ok(Arc::new(Statistics::new_unknown(&self.schema()).with_num_rows(rows)))
    }
}
