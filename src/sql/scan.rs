//! The plan node that reads a table from a cut.

use std::{fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{DFSchema, DataFusionError, Result, Statistics, stats::Precision, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::stream;

use super::{
    table::{AnyTable, By, Unit},
    wanted::Wanted,
};
use crate::store::cut::{ClusterCut, Cut};

/// A table over one cut.
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

    /// Filters name what may be skipped; DataFusion still applies them.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = DFSchema::try_from(self.table.schema())?;
        let filters: Vec<Arc<dyn PhysicalExpr>> =
            filters.iter().map(|filter| state.create_physical_expr(filter.clone(), &schema)).collect::<Result<_>>()?;
        let wanted = Wanted::new(&filters);
        let projection = projection.cloned().unwrap_or_else(|| (0..self.table.schema().fields().len()).collect());
        Ok(Arc::new(LiveScanExec::try_new(&self.table, &self.cut, wanted, projection, limit)?))
    }
}

/// Which part of the cut a partition of the scan reads.
#[derive(Clone, Copy, Debug)]
struct Place {
    cluster: usize,
    shard: Option<usize>,
}

/// Reads a table, a unit a partition.
#[derive(Debug)]
struct LiveScanExec {
    table: Arc<dyn AnyTable>,
    cut: Arc<Cut>,
    wanted: Wanted,
    projection: Vec<usize>,
    limit: Option<usize>,
    places: Vec<Place>,
    all_places: usize,
    properties: Arc<PlanProperties>,
}

impl LiveScanExec {
    fn try_new(
        table: &Arc<dyn AnyTable>,
        cut: &Arc<Cut>,
        wanted: Wanted,
        projection: Vec<usize>,
        limit: Option<usize>,
    ) -> Result<Self> {
        let all = places(cut, table.as_ref());
        let all_places = all.len();
        let mut places: Vec<Place> = all.into_iter().filter(|place| is_wanted(cut, *place, &wanted)).collect();
        // An empty scan still has a partition.
        if places.is_empty() {
            places.push(Place { cluster: usize::MAX, shard: None });
        }
        let schema = Arc::new(table.schema().project(&projection)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(places.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            table: Arc::clone(table),
            cut: Arc::clone(cut),
            wanted,
            projection,
            limit,
            places,
            all_places,
            properties: Arc::new(properties),
        })
    }

    fn count(&self, place: Place) -> Option<usize> {
        unit(&self.cut, place).map_or(Some(0), |unit| self.table.count(unit))
    }

    fn rows(&self, partition: Option<usize>) -> Precision<usize> {
        let places: Vec<Place> = match partition {
            None => self.places.clone(),
            Some(partition) => self.places.get(partition).copied().into_iter().collect(),
        };
        let count: Option<usize> = places.into_iter().map(|place| self.count(place)).sum();
        match count {
            Some(rows) if self.wanted.is_everything() && self.limit.is_none() => Precision::Exact(rows),
            Some(rows) => Precision::Inexact(self.limit.map_or(rows, |limit| rows.min(limit))),
            None => Precision::Absent,
        }
    }
}

fn clusters<'a>(cut: &'a Cut, table: &dyn AnyTable) -> Vec<&'a ClusterCut> {
    let unloaded = if table.shows_unloaded() { &*cut.unloaded } else { &[] };
    cut.clusters.iter().chain(unloaded).collect()
}

fn places(cut: &Cut, table: &dyn AnyTable) -> Vec<Place> {
    let clusters = clusters(cut, table);
    let numbered = clusters.iter().enumerate();
    match table.by() {
        By::Server => numbered.take(1).map(|(cluster, _)| Place { cluster, shard: None }).collect(),
        By::Cluster => numbered.map(|(cluster, _)| Place { cluster, shard: None }).collect(),
        By::Shard => numbered
            .flat_map(|(cluster, of)| (0..of.shards.len()).map(move |shard| Place { cluster, shard: Some(shard) }))
            .collect(),
    }
}

fn unit(cut: &Cut, place: Place) -> Option<Unit<'_>> {
    let cluster = cut.clusters.iter().chain(&cut.unloaded).nth(place.cluster)?;
    let shard = match place.shard {
        None => None,
        Some(shard) => Some(&**cluster.shards.get(shard)?),
    };
    Some(Unit { cut, cluster, shard })
}

/// Whether a place can hold what is wanted: the right cluster, and one of the groups.
fn is_wanted(cut: &Cut, place: Place, wanted: &Wanted) -> bool {
    let Some(unit) = unit(cut, place) else { return false };
    if !wanted.clusters.includes(&unit.cluster.cluster.name) {
        return false;
    }
    match (unit.shard, wanted.groups.list()) {
        (Some(shard), Some(mut ids)) => ids.any(|id| shard.group(id).is_some()),
        _ => true,
    }
}

impl DisplayAs for LiveScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = match self.table.by() {
            By::Server | By::Cluster => "clusters",
            By::Shard => "shards",
        };
        let read = self.places.iter().filter(|place| unit(&self.cut, **place).is_some()).count();
        write!(
            f,
            "LiveScanExec: table={}, {units}={read}/{}{}",
            self.table.name(),
            self.all_places,
            self.wanted.describe()
        )?;
        self.limit.map_or(Ok(()), |limit| write!(f, ", limit={limit}"))
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

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (table, cut) = (Arc::clone(&self.table), Arc::clone(&self.cut));
        let (wanted, projection, limit) = (self.wanted.clone(), self.projection.clone(), self.limit);
        let place = self.places.get(partition).copied();
        // Rows are made when the stream is polled, not while planning.
        let batches = stream::once(async move {
            let unit = place.and_then(|place| unit(&cut, place));
            let batches = unit.map_or(Ok(vec![]), |unit| table.batches(unit, &wanted, &projection, limit));
            match batches {
                Ok(batches) => stream::iter(batches.into_iter().map(Ok).collect::<Vec<_>>()),
                Err(error) => stream::iter(vec![Err(DataFusionError::from(error))]),
            }
        });
        let batches = futures::StreamExt::flatten(batches);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let statistics = Statistics::new_unknown(&self.schema());
        Ok(Arc::new(statistics.with_num_rows(self.rows(partition))))
    }
}
