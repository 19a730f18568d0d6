//! Plans of statements that may come again, as those of dashboards do: to plan takes many times as long as to run what
//! reads little.
//!
//! A plan holds no rows, and runs on the cut of whichever statement it is run for. Kept are those of which that is known to
//! give what a new plan would: steps that keep nothing from one run for the next, and functions that give the same at all
//! times, which `now()` does not.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::{
    common::{
        ScalarValue,
        stats::Precision,
        tree_node::{TreeNode as _, TreeNodeRecursion},
    },
    logical_expr::{Expr, LogicalPlan, Operator, Volatility},
    physical_expr::{
        PhysicalExpr,
        expressions::{BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NegativeExpr, NotExpr},
    },
    physical_plan::{
        ExecutionPlan, aggregates::AggregateExec, coalesce_partitions::CoalescePartitionsExec, coop::CooperativeExec,
        execution_plan::reset_plan_states, filter::FilterExec, limit::GlobalLimitExec, limit::LocalLimitExec,
        placeholder_row::PlaceholderRowExec, projection::ProjectionExec, repartition::RepartitionExec,
        sorts::sort::SortExec, sorts::sort_preserving_merge::SortPreservingMergeExec, union::UnionExec,
    },
};
use parking_lot::Mutex;

use super::{
    super::{arithmetic, count::CountExec, grouping::NameGroupExec, scan::LiveScanExec, session::Functions},
    Cut, Statement,
};

/// How many are kept, those that were used last.
const MOST: usize = 64;
/// Of a statement with its parameters: what is longer was made by a program, and comes once.
const MAX_BYTES: usize = 4096;

/// Rows that are read at once by who asks for them: as many as a page of `GetOffset` has.
const FEW_ROWS: usize = 1000;
/// Expressions of what is done at once.
const FEW_EXPRESSIONS: usize = 64;

/// A plan that can be run, and what is to be known of it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) physical: Arc<dyn ExecutionPlan>,
    /// Of the answer.
    pub(super) schema: SchemaRef,
    /// It reads what a cluster that is still loading has not got.
    pub(super) reads_data: bool,
    pub(super) functions: Functions,
}

/// Plans that can be run again, that which was used last at the end.
#[derive(Debug, Default)]
pub(super) struct Plans(Mutex<Vec<Arc<Kept>>>);

/// A plan that was kept, and the statement that it is of.
#[derive(Debug)]
pub(super) struct Kept {
    sql: String,
    parameters: Vec<ScalarValue>,
    plan: Plan,
    /// What it does with a row takes no time to speak of.
    is_simple: bool,
}

impl Kept {
    fn is_for(&self, statement: &Statement) -> bool {
        self.sql == statement.sql && self.parameters == statement.parameters
    }

    /// The plan for a run on a cut, if it would be planned the same by that.
    pub(super) fn to_run(&self, cut: &Cut) -> Option<Plan> {
        self.run_if(|leaf| leaf.rows(cut).is_some())
    }

    /// The same, if it does little: it reads one table, and few rows of it.
    pub(super) fn to_run_at_once(&self, cut: &Cut) -> Option<Plan> {
        let is_few = |rows: Precision<usize>| rows.get_value().is_some_and(|rows| *rows <= FEW_ROWS);
        self.is_simple.then(|| self.run_if(|leaf| leaf.rows(cut).is_some_and(is_few)))?
    }

    /// A run of its own, with counters of its own.
    fn run_if(&self, may_read: impl Fn(&Leaf<'_>) -> bool) -> Option<Plan> {
        let plan = self.plan.clone();
        let may_run = leaves(&plan.physical)?.iter().all(may_read);
        let physical = may_run.then(|| reset_plan_states(plan.physical))?.ok()?;
        Some(Plan { physical, ..plan })
    }
}

impl Plans {
    /// That of a statement that was planned before.
    pub(super) fn find(&self, statement: &Statement) -> Option<Arc<Kept>> {
        let mut all = self.0.lock();
        let at = all.iter().rposition(|kept| kept.is_for(statement))?;
        let kept = all.remove(at);
        all.push(Arc::clone(&kept));
        Some(kept)
    }

    /// Keeps a plan, if it can be run again.
    pub(super) fn keep(&self, statement: &Statement, logical: &LogicalPlan, plan: &Plan) {
        let bytes = statement.parameters.iter().map(ScalarValue::size).sum::<usize>() + statement.sql.len();
        if bytes > MAX_BYTES || !is_lasting(logical, &plan.physical) {
            return;
        }
        let (sql, parameters) = (statement.sql.clone(), statement.parameters.clone());
        let is_simple = is_simple(&plan.physical);
        // Not the very plan that is about to run: its steps hold what they are at, and the tasks that they started.
        let Ok(physical) = reset_plan_states(Arc::clone(&plan.physical)) else { return };
        let plan = Plan { physical, ..plan.clone() };
        let mut all = self.0.lock();
        all.retain(|kept| !kept.is_for(statement));
        if all.len() >= MOST {
            all.remove(0);
        }
        all.push(Arc::new(Kept { sql, parameters, plan, is_simple }));
    }
}

/// Whether the plan holds nothing of the moment: neither the time, nor a number of rows that stands for a table.
fn is_lasting(logical: &LogicalPlan, physical: &Arc<dyn ExecutionPlan>) -> bool {
    let Some(leaves) = leaves(physical) else { return false };
    let (mut tables, mut is_lasting) = (0, true);
    let walked = logical.apply_with_subqueries(|step| {
        tables += usize::from(matches!(step, LogicalPlan::TableScan(_)));
        step.apply_expressions(|expression| {
            expression.apply(|expression| {
                if let Expr::ScalarFunction(call) = expression {
                    is_lasting &= call.func.signature().volatility == Volatility::Immutable;
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    walked.is_ok() && is_lasting && tables == leaves.len()
}

/// What reads a table.
enum Leaf<'a> {
    Scan(&'a LiveScanExec),
    Count,
}

impl Leaf<'_> {
    /// How many rows it looks at; `None` where this cut would be read in another way.
    fn rows(&self, cut: &Cut) -> Option<Precision<usize>> {
        match self {
            Self::Scan(scan) => scan.rows_if_same(cut),
            Self::Count => Some(Precision::Exact(0)),
        }
    }
}

/// What a plan reads, if all its steps can be run again.
fn leaves(plan: &Arc<dyn ExecutionPlan>) -> Option<Vec<Leaf<'_>>> {
    if let Some(scan) = plan.downcast_ref::<LiveScanExec>() {
        return Some(vec![Leaf::Scan(scan)]);
    }
    if plan.is::<CountExec>() {
        return Some(vec![Leaf::Count]);
    }
    let is_stateless = plan.is::<AggregateExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<FilterExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<LocalLimitExec>()
        || plan.is::<NameGroupExec>()
        || plan.is::<PlaceholderRowExec>()
        || plan.is::<ProjectionExec>()
        || plan.is::<RepartitionExec>()
        || plan.is::<SortExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<UnionExec>();
    let inputs = is_stateless.then(|| plan.children().into_iter().map(leaves).collect::<Option<Vec<_>>>())?;
    Some(inputs?.into_iter().flatten().collect())
}

/// Whether a plan goes through one table, step by step, on one thread, and only compares, computes and sums up.
fn is_simple(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut expressions = 0;
    let mut is_simple = true;
    let walked = plan.apply(|step| {
        is_simple &= step.children().len() <= 1 && step.properties().output_partitioning().partition_count() == 1;
        step.apply_expressions(&mut |expression| {
            expression.apply(|expression| {
                expressions += 1;
                is_simple &= is_cheap(expression.as_ref());
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    walked.is_ok() && is_simple && expressions <= FEW_EXPRESSIONS
}

/// Whether an expression takes the same short time for each row, however the values are.
fn is_cheap(expression: &dyn PhysicalExpr) -> bool {
    let is_regex = |binary: &BinaryExpr| {
        use Operator::{RegexIMatch, RegexMatch, RegexNotIMatch, RegexNotMatch};
        matches!(binary.op(), RegexMatch | RegexIMatch | RegexNotMatch | RegexNotIMatch | Operator::StringConcat)
    };
    expression.is::<Column>()
        || expression.is::<Literal>()
        || expression.is::<NotExpr>()
        || expression.is::<IsNullExpr>()
        || expression.is::<IsNotNullExpr>()
        || expression.is::<InListExpr>()
        || expression.is::<NegativeExpr>()
        || arithmetic::is_checked(expression)
        || expression.downcast_ref::<BinaryExpr>().is_some_and(|binary| !is_regex(binary))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Engine, Statement},
        *,
    };
    use crate::history::tests::{config, lab};

    /// How many plans are kept after a statement.
    async fn kept(engine: &Engine, sql: String, parameters: Vec<ScalarValue>) -> usize {
        let mut answer = engine.run(Statement { sql, parameters, ..Statement::default() }).await.unwrap();
        while let Some(batch) = answer.next().await {
            batch.unwrap();
        }
        engine.shared.plans.0.lock().len()
    }

    fn engine() -> Engine {
        Engine::new(lab(usize::MAX).store, config().sql).unwrap()
    }

    #[tokio::test]
    async fn what_depends_on_the_moment_or_keeps_something_is_planned_each_time() {
        for (sql, is_kept) in [
            ("SELECT 1", true),
            ("SELECT count(*) FROM server", true),
            ("SELECT version FROM server ORDER BY version LIMIT 1", true),
            ("SELECT version, count(*) FROM server GROUP BY version", true),
            ("SELECT version FROM server UNION ALL SELECT 'x'", true),
            ("SELECT now()", false),
            ("SELECT version FROM server WHERE now() > '2020-01-01'", false),
            ("SELECT random()", false),
            ("EXPLAIN SELECT 1", false),
            ("SELECT a.version FROM server a JOIN server b USING (version)", false),
            ("SELECT rank() OVER (ORDER BY version) FROM server", false),
            ("SELECT count(*) FROM information_schema.tables", false),
        ] {
            assert_eq!(kept(&engine(), sql.to_owned(), vec![]).await, usize::from(is_kept), "{sql}");
        }
    }

    #[tokio::test]
    async fn what_reads_little_and_computes_little_is_done_at_once() {
        let long = format!("SELECT version FROM server WHERE version IN ('{}')", ["x"; FEW_EXPRESSIONS].join("', '"));
        for (sql, is_small) in [
            ("SELECT 1", true),
            ("SELECT count(*) FROM offsets", true),
            ("SELECT version, started_at FROM server WHERE version > '0' AND version <> 'x' ORDER BY version", true),
            ("SELECT version, count(*) FROM server GROUP BY version", true),
            ("SELECT * FROM lag WHERE group_id = 'nobody'", true),
            // Of which nobody knows how many rows it has.
            ("SELECT count(*) FROM history", false),
            ("SELECT repeat(version, 3) FROM server", false),
            ("SELECT version FROM server WHERE version ~ 'a'", false),
            ("SELECT version FROM server WHERE version LIKE '%a'", false),
            ("SELECT version FROM server UNION ALL SELECT 'x'", false),
            ("SELECT now()", false),
            (&long, false),
        ] {
            let engine = engine();
            kept(&engine, sql.to_owned(), vec![]).await;
            let cut = engine.shared.store.cut("", true).unwrap();
            let statement = Statement { sql: sql.to_owned(), ..Statement::default() };
            let kept = engine.shared.plans.find(&statement);
            let small = kept.and_then(|kept| kept.to_run_at_once(&cut));
            assert_eq!(small.is_some(), is_small, "{sql}");
        }
    }

    #[tokio::test]
    async fn plans_are_few_and_of_short_statements() {
        let engine = engine();
        assert_eq!(kept(&engine, format!("SELECT '{}'", "x".repeat(MAX_BYTES)), vec![]).await, 0);
        assert_eq!(kept(&engine, "SELECT $1".to_owned(), vec!["x".repeat(MAX_BYTES).into()]).await, 0);
        for number in 0..MOST + 9 {
            let all = kept(&engine, format!("SELECT {number}"), vec![]).await;
            assert_eq!(all, MOST.min(number + 1));
            // What is used does not make way.
            assert_eq!(kept(&engine, "SELECT 0".to_owned(), vec![]).await, all);
        }
        let plans = engine.shared.plans.0.lock();
        assert!(plans.iter().any(|kept| kept.sql == "SELECT 0") && plans.iter().all(|kept| kept.sql != "SELECT 1"));
    }
}
