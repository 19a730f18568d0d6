//! `count(*)` of whole tables, or of what conditions leave of them as a whole: asked of the cut, and nothing is read.
//!
//! DataFusion's own rule makes a constant of such a count, which is that of one cut. This is a step of the plan, which
//! tells the count of any.

use std::{fmt, sync::Arc};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch},
    datatypes::{DataType, SchemaRef},
};
use datafusion::{
    common::{
        Result,
        config::ConfigOptions,
        stats::Precision,
        tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion},
    },
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{
        EquivalenceProperties, Partitioning, PhysicalExpr, aggregate::AggregateFunctionExpr, expressions::Literal,
    },
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        aggregates::{AggregateExec, AggregateMode},
        execution_plan::{Boundedness, EmissionType, SchedulingType},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::stream;

use super::{error::SqlError, limits::Reading, scan::LiveScanExec};

/// Puts [`CountExec`] where a scan is only counted.
#[derive(Debug)]
pub(super) struct Counting;

impl PhysicalOptimizerRule for Counting {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let counted = |plan: Arc<dyn ExecutionPlan>| match counted(plan.as_ref()) {
            Some(count) => Transformed::yes(Arc::new(count) as Arc<dyn ExecutionPlan>),
            None => Transformed::no(plan),
        };
        plan.transform_down(|plan| Ok(counted(plan))).data()
    }

    fn name(&self) -> &'static str {
        "counting"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The counts of all rows of a scan, if that is what a step gives.
fn counted(plan: &dyn ExecutionPlan) -> Option<CountExec> {
    let whole = plan.downcast_ref::<AggregateExec>()?;
    let first = match whole.mode() {
        AggregateMode::Single | AggregateMode::SinglePartitioned => whole,
        AggregateMode::Final => {
            whole.input().downcast_ref::<AggregateExec>().filter(|part| *part.mode() == AggregateMode::Partial)?
        }
        _ => return None,
    };
    let is_plain = |of: &AggregateExec| of.group_expr().is_empty() && of.filter_expr().iter().all(Option::is_none);
    let is_sound = is_plain(whole) && is_plain(first) && first.aggr_expr().iter().all(|of| is_count(of));
    let schema = whole.schema();
    let scan = first.input().downcast_ref::<LiveScanExec>()?;
    let gives_counts = schema.fields().iter().all(|field| *field.data_type() == DataType::Int64);
    let has_count = scan.fetch().is_none() && matches!(scan.rows(), Precision::Exact(_));
    (is_sound && gives_counts && has_count).then(|| CountExec::new(scan.clone(), schema))
}

/// Whether it counts all rows.
fn is_count(of: &AggregateFunctionExpr) -> bool {
    let is_value =
        |value: &Arc<dyn PhysicalExpr>| value.downcast_ref::<Literal>().is_some_and(|value| !value.value().is_null());
    of.fun().name() == "count" && !of.is_distinct() && of.expressions().iter().all(is_value)
}

/// One row: in each column how many rows a scan would give.
#[derive(Debug)]
pub(super) struct CountExec {
    scan: LiveScanExec,
    properties: Arc<PlanProperties>,
}

impl CountExec {
    fn new(scan: LiveScanExec, schema: SchemaRef) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self { scan, properties: Arc::new(properties) }
    }

    fn count(&self, reading: &Reading) -> Result<RecordBatch> {
        let Precision::Exact(rows) = self.scan.rows_of(&reading.cut) else {
            return Err(SqlError::Internal("a count is not known".to_owned()).into_datafusion());
        };
        let count: ArrayRef = Arc::new(Int64Array::from_iter_values(i64::try_from(rows).ok()));
        let schema = self.schema();
        let counts = schema.fields().iter().map(|_| Arc::clone(&count)).collect();
        Ok(RecordBatch::try_new(schema, counts)?)
    }
}

impl DisplayAs for CountExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scan.describe("CountExec", f)
    }
}

impl ExecutionPlan for CountExec {
    fn name(&self) -> &'static str {
        "CountExec"
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
        self.scan.apply_expressions(visit)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batch = self.count(&*Reading::of(&context)?);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::iter([batch]))))
    }
}
