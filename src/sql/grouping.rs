//! `GROUP BY` names: the first half of it, over codes instead of texts.
//!
//! DataFusion groups in two halves: each partition of a scan by itself, then all together. In the first half it hashes
//! and compares the names of each row, which takes longer than to read the row. A scan of live tables knows without
//! looking which rows have the same name, so that only the few names of a batch are looked at.

use std::{fmt, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray as _, DictionaryArray, Int32Array, RecordBatch},
    buffer::ScalarBuffer,
    compute::take,
    datatypes::{ArrowNativeType as _, SchemaRef},
};
use async_stream::try_stream;
use datafusion::{
    common::{
        Result,
        cast::as_boolean_array,
        config::ConfigOptions,
        tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion},
    },
    execution::{
        SendableRecordBatchStream, TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
    logical_expr::{EmitTo, GroupsAccumulator},
    physical_expr::{PhysicalExpr, aggregate::AggregateFunctionExpr, expressions::Column, utils::collect_columns},
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        aggregates::{
            AggregateExec, AggregateMode,
            group_values::{GroupValues, new_group_values},
            order::GroupOrdering,
        },
        metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput as _},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::StreamExt as _;
use hashbrown::HashMap;

use super::{
    error::SqlError,
    scan::LiveScanExec,
    table::{BATCH_ROWS, CodeType},
};

/// Puts [`NameGroupExec`] where a scan is grouped by names alone.
#[derive(Debug)]
pub(super) struct Grouping;

impl PhysicalOptimizerRule for Grouping {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let grouped = |plan: Arc<dyn ExecutionPlan>| {
            let whole = plan.downcast_ref::<AggregateExec>();
            Ok(whole.map(grouped).transpose()?.flatten().map_or_else(|| Transformed::no(plan), Transformed::yes))
        };
        plan.transform_up(grouped).data()
    }

    fn name(&self) -> &'static str {
        "grouping"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A step that groups a scan by names, made anew; `None` where it does not.
fn grouped(step: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if *step.mode() != AggregateMode::Single {
        return Ok(NameGroupExec::of(step).map(|first| Arc::new(first) as _));
    }
    // Both halves at once, where the plan has one partition.
    if step.limit_options().is_some() {
        return Ok(None);
    }
    let (functions, filters) = (step.aggr_expr().to_vec(), step.filter_expr().to_vec());
    let (by, of) = (step.group_expr(), step.input_schema());
    let half =
        |mode, by, input| AggregateExec::try_new(mode, by, functions.clone(), filters.clone(), input, Arc::clone(&of));
    let first = half(AggregateMode::Partial, by.clone(), Arc::clone(step.input()))?;
    let Some(first) = NameGroupExec::of(&first) else { return Ok(None) };
    let both = half(AggregateMode::Final, by.as_final(), Arc::new(first))?;
    Ok((both.schema() == step.schema()).then(|| Arc::new(both) as _))
}

/// An aggregate as the plan describes it.
#[derive(Clone, Debug)]
struct Function {
    of: Arc<AggregateFunctionExpr>,
    filter: Option<Arc<dyn PhysicalExpr>>,
}

impl Function {
    /// Whether it can be computed for many groups at once, without a look at the columns that are codes.
    fn is_plain(&self, coded: &[usize]) -> bool {
        let arguments = self.of.expressions();
        let mut columns = arguments.iter().chain(&self.filter).flat_map(collect_columns);
        let is_simple = self.of.order_bys().is_empty() && self.of.groups_accumulator_supported();
        is_simple && !columns.any(|column| coded.contains(&column.index()))
    }
}

/// The first half of a grouping by names: for each the states of the functions, and now and then twice for the same.
#[derive(Clone, Debug)]
pub(super) struct NameGroupExec {
    /// With codes in the columns to group by.
    scan: Arc<dyn ExecutionPlan>,
    /// The columns to group by.
    keys: Vec<Column>,
    functions: Vec<Function>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl NameGroupExec {
    /// In the place of a step that groups a scan by names.
    fn of(plan: &dyn ExecutionPlan) -> Option<Self> {
        let half = plan.downcast_ref::<AggregateExec>().filter(|half| *half.mode() == AggregateMode::Partial)?;
        let scan = half.input().downcast_ref::<LiveScanExec>()?;
        let by = half.group_expr();
        let keys: Option<Vec<Column>> =
            by.expr().iter().map(|(key, _)| key.downcast_ref::<Column>().cloned()).collect();
        let keys = keys.filter(|keys| by.is_single() && !keys.is_empty())?;
        let coded: Vec<usize> = keys.iter().map(Column::index).collect();
        let functions = half.aggr_expr().iter().zip(half.filter_expr());
        let functions = functions.map(|(of, filter)| Function { of: Arc::clone(of), filter: filter.clone() });
        let functions: Vec<Function> = functions.collect();
        let is_plain = half.limit_options().is_none() && functions.iter().all(|function| function.is_plain(&coded));
        let scan = scan.coded(&coded).filter(|_| is_plain)?;
        let (properties, metrics) = (Arc::clone(half.properties()), ExecutionPlanMetricsSet::new());
        Some(Self { scan: Arc::new(scan), keys, functions, properties, metrics })
    }
}

impl DisplayAs for NameGroupExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.keys.iter().map(Column::name).collect();
        let functions: Vec<&str> = self.functions.iter().map(|function| function.of.name()).collect();
        write!(f, "NameGroupExec: by=[{}], aggr=[{}]", keys.join(", "), functions.join(", "))
    }
}

impl ExecutionPlan for NameGroupExec {
    fn name(&self) -> &'static str {
        "NameGroupExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.scan]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for function in &self.functions {
            for expression in function.of.expressions().iter().chain(&function.filter) {
                if visit(expression)? == TreeNodeRecursion::Stop {
                    return Ok(TreeNodeRecursion::Stop);
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = children.into_iter().next().unwrap_or_else(|| Arc::clone(&self.scan));
        Ok(Arc::new(Self { scan, metrics: ExecutionPlanMetricsSet::new(), ..Self::clone(&self) }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut rows = self.scan.execute(partition, Arc::clone(&context))?;
        let mut groups = Groups::new(self, &context)?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let batches = try_stream! {
            while let Some(batch) = rows.next().await {
                let batch = batch?;
                let time = metrics.elapsed_compute().timer();
                let has_room = groups.add(&batch)?;
                drop(time);
                if !has_room {
                    yield groups.take()?.record_output(&metrics);
                }
            }
            let all = groups.take()?;
            for from in (0..all.num_rows()).step_by(BATCH_ROWS) {
                yield all.slice(from, BATCH_ROWS.min(all.num_rows() - from)).record_output(&metrics);
            }
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// A function at work.
struct State {
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    accumulator: Box<dyn GroupsAccumulator>,
}

impl State {
    fn new(function: &Function) -> Result<Self> {
        let (arguments, filter) = (function.of.expressions(), function.filter.clone());
        Ok(Self { arguments, filter, accumulator: function.of.create_groups_accumulator()? })
    }

    fn add(&mut self, batch: &RecordBatch, groups: &[usize], all_groups: usize) -> Result<()> {
        let value = |of: &Arc<dyn PhysicalExpr>| of.evaluate(batch)?.into_array(batch.num_rows());
        let arguments: Vec<ArrayRef> = self.arguments.iter().map(value).collect::<Result<_>>()?;
        let filter = self.filter.as_ref().map(value).transpose()?;
        let filter = filter.as_deref().map(as_boolean_array).transpose()?;
        self.accumulator.update_batch(&arguments, groups, filter, all_groups)
    }
}

/// The groups of a partition.
struct Groups {
    schema: SchemaRef,
    /// The columns to group by.
    keys: Vec<usize>,
    names: Box<dyn GroupValues>,
    states: Vec<State>,
    /// Of each row of a batch, its group.
    of_rows: Vec<usize>,
    reservation: MemoryReservation,
}

impl Groups {
    fn new(step: &NameGroupExec, context: &TaskContext) -> Result<Self> {
        let schema = step.schema();
        let keys: Vec<usize> = step.keys.iter().map(Column::index).collect();
        let names = Arc::new(schema.project(&(0..keys.len()).collect::<Vec<_>>())?);
        Ok(Self {
            names: new_group_values(names, &GroupOrdering::None)?,
            schema,
            keys,
            states: step.functions.iter().map(State::new).collect::<Result<_>>()?,
            of_rows: vec![],
            reservation: MemoryConsumer::new("grouping").register(context.memory_pool()),
        })
    }

    /// Adds rows. Whether there is room for more groups: else they are to be taken now, and begun anew.
    fn add(&mut self, batch: &RecordBatch) -> Result<bool> {
        let coded: Option<Vec<_>> =
            self.keys.iter().map(|key| batch.columns().get(*key)?.as_dictionary_opt::<CodeType>()).collect();
        let known = coded.as_deref().and_then(Combined::of);
        let combined =
            known.ok_or_else(|| SqlError::Internal("names without codes".to_owned()).into_datafusion())??;
        let mut groups = vec![];
        self.names.intern(&combined.names, &mut groups)?;
        self.of_rows.clear();
        // Arrow has checked that each code has its name.
        let of_code = |code: &i32| groups.get(code.as_usize()).copied().unwrap_or_default();
        self.of_rows.extend(combined.codes.iter().map(of_code));
        let all = self.names.len();
        self.states.iter_mut().try_for_each(|state| state.add(batch, &self.of_rows, all))?;
        let states: usize = self.states.iter().map(|state| state.accumulator.size()).sum();
        let bytes = self.names.size() + states + self.of_rows.capacity() * size_of::<usize>();
        Ok(self.reservation.try_resize(bytes).is_ok())
    }

    /// All groups, of which none is left.
    fn take(&mut self) -> Result<RecordBatch> {
        if self.names.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let mut columns = self.names.emit(EmitTo::All)?;
        for state in &mut self.states {
            columns.extend(state.accumulator.state(EmitTo::All)?);
        }
        self.names.clear_shrink(0);
        self.reservation.free();
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// Several columns of codes as one.
struct Combined {
    /// Of each row.
    codes: ScalarBuffer<i32>,
    /// What they stand for, in each of the columns.
    names: Vec<ArrayRef>,
}

impl Combined {
    /// `None` of no columns.
    fn of(columns: &[&DictionaryArray<CodeType>]) -> Option<Result<Self>> {
        let (first, others) = columns.split_first()?;
        let first = Self { codes: first.keys().values().clone(), names: vec![Arc::clone(first.values())] };
        Some(others.iter().try_fold(first, |combined, column| combined.with(column)))
    }

    fn with(self, column: &DictionaryArray<CodeType>) -> Result<Self> {
        let mut known: HashMap<(i32, i32), i32> = HashMap::new();
        let (mut left, mut right) = (vec![], vec![]);
        let (mut last, mut code) = (None, 0);
        let pairs = self.codes.iter().zip(column.keys().values());
        let codes = pairs.map(|(of_left, of_right)| {
            let pair = (*of_left, *of_right);
            if last != Some(pair) {
                let next = i32::try_from(known.len()).unwrap_or(i32::MAX);
                code = *known.entry(pair).or_insert_with(|| {
                    left.push(*of_left);
                    right.push(*of_right);
                    next
                });
                last = Some(pair);
            }
            code
        });
        let codes = codes.collect::<Vec<_>>().into();
        let (left, right) = (Int32Array::from(left), Int32Array::from(right));
        let mut names: Vec<ArrayRef> = vec![];
        for known in &self.names {
            names.push(take(known, &left, None)?);
        }
        names.push(take(column.values(), &right, None)?);
        Ok(Self { codes, names })
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Int64Array, StringArray},
        datatypes::{DataType, Field, Schema},
    };
    use datafusion::{
        execution::{memory_pool::GreedyMemoryPool, runtime_env::RuntimeEnvBuilder},
        functions_aggregate::sum::sum_udaf,
        physical_expr::aggregate::AggregateExprBuilder,
        physical_plan::{aggregates::PhysicalGroupBy, empty::EmptyExec},
        prelude::SessionConfig,
    };

    use super::{super::table::code_type, *};

    /// `sum(number)` by two columns of names.
    fn step(names: DataType) -> NameGroupExec {
        let names = |name| Field::new(name, names.clone(), false);
        let schema = Arc::new(Schema::new(vec![names("a"), names("b"), Field::new("number", DataType::Int64, false)]));
        let number: Arc<dyn PhysicalExpr> = Arc::new(Column::new("number", 2));
        let sum = AggregateExprBuilder::new(sum_udaf(), vec![number]).schema(Arc::clone(&schema)).alias("sum");
        let sum = Arc::new(sum.build().unwrap());
        let keys = vec![Column::new("a", 0), Column::new("b", 1)];
        let by = keys.iter().map(|key| (Arc::new(key.clone()) as _, key.name().to_owned())).collect();
        let scan: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::clone(&schema)));
        let by = PhysicalGroupBy::new_single(by);
        let functions = vec![Arc::clone(&sum)];
        let mode = AggregateMode::Partial;
        let half = AggregateExec::try_new(mode, by, functions, vec![None], Arc::clone(&scan), schema).unwrap();
        let properties = Arc::clone(half.properties());
        let functions = vec![Function { of: sum, filter: None }];
        NameGroupExec { scan, keys, functions, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    /// A batch with other codes for the same names, of which one has two.
    fn batch(first: i64) -> RecordBatch {
        let names = |codes: Vec<i32>, names: [&str; 3]| -> ArrayRef {
            Arc::new(DictionaryArray::<CodeType>::new(codes.into(), Arc::new(StringArray::from(names.to_vec()))))
        };
        let a = names(vec![0, 0, 1, 2, 1], ["x", "y", "x"]);
        let b = names(vec![1, 1, 1, 1, 0], ["p", "q", "r"]);
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..5).map(|number| first * 10_i64.pow(number))));
        let field = |name, kind| Field::new(name, kind, false);
        let fields = vec![field("a", code_type()), field("b", code_type()), field("number", DataType::Int64)];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![a, b, numbers]).unwrap()
    }

    fn groups(memory: usize) -> Groups {
        let pool = Arc::new(GreedyMemoryPool::new(memory));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
        let context = TaskContext::default().with_session_config(SessionConfig::new()).with_runtime(runtime);
        Groups::new(&step(DataType::Utf8), &context).unwrap()
    }

    fn rows(batch: &RecordBatch) -> Vec<(String, String, i64)> {
        let text = |column: usize, row| batch.column(column).as_string::<i32>().value(row).to_owned();
        let sums = batch.column(2).as_primitive::<arrow::datatypes::Int64Type>();
        let mut rows: Vec<_> = (0..batch.num_rows()).map(|row| (text(0, row), text(1, row), sums.value(row))).collect();
        rows.sort();
        rows
    }

    fn expected(times: i64) -> Vec<(String, String, i64)> {
        let row = |a: &str, b: &str, sum| (a.to_owned(), b.to_owned(), sum * times);
        vec![row("x", "q", 1011), row("y", "p", 10_000), row("y", "q", 100)]
    }

    #[test]
    fn rows_of_the_same_names_are_one_group_whatever_their_codes() {
        let mut groups = groups(1 << 20);
        assert!(groups.add(&batch(1)).unwrap() && groups.add(&batch(2)).unwrap());
        assert_eq!(rows(&groups.take().unwrap()), expected(3));
        assert_eq!(groups.take().unwrap().num_rows(), 0, "all was taken");
        assert!(groups.add(&batch(5)).unwrap());
        assert_eq!(rows(&groups.take().unwrap()), expected(5), "begun anew");
    }

    #[test]
    fn without_room_groups_are_to_be_taken_and_none_is_lost() {
        let mut groups = groups(0);
        assert!(!groups.add(&batch(1)).unwrap());
        assert_eq!(rows(&groups.take().unwrap()), expected(1));
        assert_eq!(groups.reservation.size(), 0);
    }
}
