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
    cut_parts::{self, CutPart},
    error::SqlError,
    limits::{StatementContext, check, memory::StatementMemory},
    predicate::ScanPredicate,
    table::{AnyTable, BATCH_ROWS, ScanRequest, UnitKind},
};
use crate::store::{cut::Cut, history_store::Bounds};

/// A table of the catalog. A scan is planned over the cut of the session's [`StatementContext`]. A table of Kafka data
/// fails while no cluster is loaded.
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
            let predicate = ScanPredicate::new(&self.conditions(&[filter])?, [].into());
            Ok(match predicate.selects_whole_units(self.0.unit.is_group()) {
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
        let statement_context = StatementContext::of_session(state.config())?;
        if let Some(unready) = statement_context.cut.unready.as_ref().filter(|_| !self.0.shows_unloaded) {
            return Err(SqlError::from(unready.clone()).into_datafusion());
        }
        let columns = projection.cloned().unwrap_or_else(|| (0..self.0.schema.fields().len()).collect());
        let schema = Arc::new(self.0.schema.project(&columns)?);
        let names = schema.fields().iter().map(|field| field.name().clone()).collect();
        let predicate = ScanPredicate::new(&self.conditions(&filters.iter().collect::<Vec<_>>())?, names);
        let request = ScanRequest { predicate, columns, schema, limit };
        let partitions = state.config_options().execution.target_partitions;
        Ok(Arc::new(LiveScanExec::new(Arc::clone(&self.0), request, partitions, &statement_context.cut)))
    }
}

/// The plan node.
#[derive(Clone, Debug)]
pub(super) struct LiveScanExec {
    table: Arc<AnyTable>,
    request: Arc<ScanRequest>,
    pruned: Arc<PrunedParts>,
    properties: Arc<PlanProperties>,
}

/// The parts of a cut that a scan reads, and statistics about them.
#[derive(Debug)]
struct PrunedParts {
    /// Clusters of the cut.
    clusters: usize,
    /// Whether a cluster has several sources.
    several_sources: bool,
    /// Number of parts before pruning.
    all_parts: usize,
    /// The parts of each partition that may contain rows of the answer.
    partitions: Vec<Vec<CutPart>>,
    /// Number of rows, without the limit.
    rows: Precision<usize>,
}

impl PrunedParts {
    /// Finds the parts that may contain rows, and distributes them over the partitions.
    fn new(table: &AnyTable, predicate: &ScanPredicate, target_partitions: usize, cut: &Cut) -> Self {
        let (mut parts, all_parts) = cut_parts::matching_parts(cut, table, predicate);
        let count: Option<usize> = parts.iter().map(|part| cut_parts::count(cut, *part, predicate, table)).sum();
        let rows = match count {
            Some(rows) if predicate.selects_whole_units(table.unit.is_group()) => Precision::Exact(rows),
            Some(rows) => Precision::Inexact(rows),
            None => Precision::Absent,
        };
        let weight = || parts.iter().map(|part| cut_parts::weight(cut, *part)).sum();
        let partitions = target_partitions.min(parts.len()).min(count.unwrap_or_else(weight) / BATCH_ROWS).max(1);
        // The largest parts are distributed first.
        parts.sort_by_key(|part| std::cmp::Reverse(cut_parts::weight(cut, *part)));
        let share = |partition| parts.iter().skip(partition).step_by(partitions).copied().collect();
        let partitions = (0..partitions).map(share).collect();
        Self {
            clusters: cut.each_cluster().count(),
            several_sources: cut.has_several_sources(),
            all_parts,
            partitions,
            rows,
        }
    }
}

impl LiveScanExec {
    fn new(table: Arc<AnyTable>, request: ScanRequest, target_partitions: usize, cut: &Cut) -> Self {
        let pruned = PrunedParts::new(&table, &request.predicate, target_partitions, cut);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&request.schema)),
            Partitioning::UnknownPartitioning(pruned.partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self { table, request: Arc::new(request), pruned: Arc::new(pruned), properties: Arc::new(properties) }
    }

    /// Returns a scan of the same rows, with each partition in the given order.
    fn with_order(&self, order: &[PhysicalSortExpr]) -> Self {
        let mut request = ScanRequest::clone(&self.request);
        request.predicate.sorted = true;
        let equivalences = EquivalenceProperties::new_with_orderings(self.schema(), [order.to_vec()]);
        let properties = PlanProperties::clone(&self.properties).with_eq_properties(equivalences);
        Self { request: Arc::new(request), properties: Arc::new(properties), ..self.clone() }
    }

    /// Returns whether the table's order starts with `order`, ignoring columns that have a single value.
    fn provides_order(&self, order: &[PhysicalSortExpr]) -> bool {
        let predicate = &self.request.predicate;
        let one_cluster = self.pruned.clusters == 1;
        let has_one_value = |column: &str| predicate.has_one_value(column) || (column == "cluster" && one_cluster);
        // In a group of several sources, rows are ordered within each source only.
        let is_mixed = self.pruned.several_sources && self.table.unit.is_group();
        let is_kept = |column: &&&str| !is_mixed || matches!(**column, "cluster" | "group_id");
        let mut own = self.table.order.iter().take_while(is_kept).filter(|column| !has_one_value(column));
        order.iter().all(|sort| {
            let column = sort.expr.downcast_ref::<Column>().map(Column::name);
            let ascends = !sort.options.descending;
            ascends && column.is_some_and(|column| has_one_value(column) || own.next() == Some(&column))
        })
    }
}

impl DisplayAs for LiveScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = if self.table.unit.is_group() { "shards" } else { "clusters" };
        let ScanRequest { predicate, limit, .. } = &*self.request;
        let parts: usize = self.pruned.partitions.iter().map(Vec::len).sum();
        write!(f, "LiveScanExec: table={}, {units}={parts}/{}", self.table.name, self.pruned.all_parts)?;
        f.write_str(&predicate.describe())?;
        if predicate.sorted {
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
        self.request.limit
    }

    /// Lowers the limit of the scan; a higher limit, or none, does not change it.
    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let limit = self.request.limit.into_iter().chain(limit).min();
        let request = ScanRequest { limit, ..ScanRequest::clone(&self.request) };
        Some(Arc::new(Self { request: Arc::new(request), ..self.clone() }))
    }

    fn try_pushdown_sort(&self, order: &[PhysicalSortExpr]) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        if !self.provides_order(order) {
            return Ok(SortOrderPushdownResult::Unsupported);
        }
        Ok(SortOrderPushdownResult::Exact { inner: Arc::new(self.with_order(order)) })
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let statement_context = StatementContext::of(&context)?;
        let (table, request, pruned) = (Arc::clone(&self.table), Arc::clone(&self.request), Arc::clone(&self.pruned));
        let rows = if table.unit == UnitKind::Offset { BATCH_ROWS } else { usize::MAX };
        // Batches are created on demand, and the memory of the previous one is free by then.
        let memory = StatementMemory::of(&context);
        let batches = stream! {
            let (cut, cancel) = (&statement_context.cut, statement_context.job.cancel());
            let bounds = Bounds { cancel: cancel.clone(), budget: Some(memory) };
            let parts = pruned.partitions.get(partition).map_or(&[][..], Vec::as_slice);
            let units = cut_parts::read(cut, parts, &request.predicate, rows);
            for batch in (table.scan)(units, &request, bounds) {
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
        let rows = match (self.request.limit, self.pruned.partitions.len()) {
            (None, 1) => self.pruned.rows,
            (None, _) if partition.is_none() => self.pruned.rows,
            (Some(limit), 1) => self.pruned.rows.map(|rows| rows.min(limit)),
            // Each partition stops at the limit on its own.
            _ => Precision::Absent,
        };
        Ok(Arc::new(Statistics::new_unknown(&self.schema()).with_num_rows(rows)))
    }
}
