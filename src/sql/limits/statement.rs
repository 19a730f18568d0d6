//! Checks that reject a costly statement: by its clauses and relations before it is planned, by its plan nodes and
//! expressions before it is optimized.
//!
//! The optimizer takes more than linear time, and a common table expression is copied wherever its name is used.

use std::{collections::HashMap, ops::ControlFlow};

use arrow::datatypes::DataType;
use datafusion::{
    common::{Result, tree_node::TreeNode as _, tree_node::TreeNodeRecursion},
    logical_expr::{
        Cast, Expr, LogicalPlan, TryCast, expr::WindowFunctionDefinition, logical_plan::Subquery,
        utils::split_conjunction,
    },
    sql::{
        parser::Statement as ParsedStatement,
        sqlparser::ast::{self, Query, Statement as SqlStatement, TableFactor, Visit as _, Visitor, visit_relations},
    },
};

use super::{super::error::SqlError, tokens::check_limit};
use crate::config;

/// Rejects a statement that does more than read, or that grows too large once its common table expressions are
/// expanded. `of` returns the number of tables that a name stands for.
pub(crate) fn check_parsed(
    statement: &ParsedStatement,
    settings: &config::Sql,
    of: &dyn Fn(&str) -> usize,
) -> Result<(), SqlError> {
    let statement = read_only(statement)?;
    if let ControlFlow::Break(text) = statement.visit(&mut Unsupported) {
        return Err(SqlError::Invalid(text));
    }
    let relations = count_relations(statement, of);
    let what = "relations, including those of views and WITH";
    check_limit(relations, settings.max_relations, what, "sql.max_relations")
}

/// Returns the statement, or the one that EXPLAIN explains; rejects one that does more than read. This is checked
/// before planning, so that an INSERT with a wrong number of values is reported as an INSERT.
fn read_only(statement: &ParsedStatement) -> Result<&SqlStatement, SqlError> {
    let verb = match statement {
        ParsedStatement::Explain(explain) => return read_only(&explain.statement),
        ParsedStatement::Statement(statement) => match statement.as_ref() {
            SqlStatement::Query(_)
            | SqlStatement::Explain { .. }
            | SqlStatement::ExplainTable { .. }
            | SqlStatement::ShowTables { .. }
            | SqlStatement::ShowColumns { .. }
            | SqlStatement::ShowFunctions { .. }
            | SqlStatement::ShowVariable { .. } => return Ok(statement),
            other => other.to_string().split_whitespace().take(1).collect(),
        },
        ParsedStatement::CreateExternalTable(_) => "CREATE".to_owned(),
        ParsedStatement::CopyTo(_) => "COPY".to_owned(),
        ParsedStatement::Reset(_) => "RESET".to_owned(),
    };
    Err(SqlError::NotReadOnly(format!("{verb} is not allowed")))
}

/// Maximum grouping sets: those of a CUBE of eight columns. Each set is planned, and every row is in all of them.
const MAX_GROUPING_SETS: usize = 256;

/// Finds a CUBE, a ROLLUP or a list of grouping sets with too many sets, and clauses that the planner ignores silently,
/// which would change the meaning of the statement.
struct Unsupported;

impl Visitor for Unsupported {
    type Break = String;

    fn pre_visit_expr(&mut self, expression: &ast::Expr) -> ControlFlow<String> {
        let sets = match expression {
            ast::Expr::Cube(columns) => 1_usize.checked_shl(columns.len().try_into().unwrap_or(u32::MAX)),
            ast::Expr::Rollup(columns) => columns.len().checked_add(1),
            ast::Expr::GroupingSets(sets) => Some(sets.len()),
            _ => Some(0),
        };
        match sets.unwrap_or(usize::MAX) {
            0..=MAX_GROUPING_SETS => ControlFlow::Continue(()),
            sets => ControlFlow::Break(format!("GROUP BY makes {sets} grouping sets; {MAX_GROUPING_SETS} are allowed")),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        break_on_first([
            (!query.locks.is_empty(), "FOR UPDATE or FOR SHARE"),
            (query.for_clause.is_some(), "FOR"),
            (query.settings.is_some(), "SETTINGS"),
            (query.format_clause.is_some(), "FORMAT"),
        ])
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<String> {
        match factor {
            TableFactor::Table { with_hints, version, partitions, sample, index_hints, .. } => break_on_first([
                (sample.is_some(), "TABLESAMPLE"),
                (!partitions.is_empty(), "PARTITION"),
                (version.is_some(), "a version of a table"),
                (!with_hints.is_empty() || !index_hints.is_empty(), "a hint"),
            ]),
            TableFactor::Derived { sample, .. } => break_on_first([(sample.is_some(), "TABLESAMPLE")]),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Breaks with the first clause that was found.
fn break_on_first<const N: usize>(clauses: [(bool, &str); N]) -> ControlFlow<String> {
    match clauses.into_iter().find(|(is_there, _)| *is_there) {
        Some((_, clause)) => ControlFlow::Break(format!("{clause} is not supported")),
        None => ControlFlow::Continue(()),
    }
}

/// The names to which each common table expression of a statement refers.
#[derive(Default)]
struct Ctes(HashMap<String, Vec<String>>);

impl Visitor for Ctes {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            // Two expressions of the same name count as one that refers to the relations of both.
            self.0.entry(cte.alias.name.value.to_lowercase()).or_default().extend(names(&cte.query));
        }
        ControlFlow::Continue(())
    }
}

/// Returns the last part of each relation's name, in lower case.
fn names<V: datafusion::sql::sqlparser::ast::Visit>(node: &V) -> Vec<String> {
    let mut names = vec![];
    let _ = visit_relations(node, |name| {
        let last = name.0.last().and_then(|part| part.as_ident());
        names.push(last.map_or_else(String::new, |ident| ident.value.to_lowercase()));
        ControlFlow::<()>::Continue(())
    });
    names
}

/// Returns the number of relations after all common table expressions are expanded; an upper bound.
fn count_relations(statement: &SqlStatement, of: &dyn Fn(&str) -> usize) -> usize {
    fn weight<'a>(
        name: &'a str,
        ctes: &'a Ctes,
        of: &dyn Fn(&str) -> usize,
        known: &mut HashMap<&'a str, usize>,
    ) -> usize {
        if let Some(weight) = known.get(name) {
            return *weight;
        }
        let Some(names) = ctes.0.get(name) else { return of(name) };
        // A name that refers to itself is a table or view of that name; recursive expressions are rejected.
        known.insert(name, of(name));
        let sum = names.iter().fold(0_usize, |sum, name| sum.saturating_add(weight(name, ctes, of, known)));
        // An expression that reads no table is copied as well.
        let weight = sum.max(1);
        known.insert(name, weight);
        weight
    }
    let mut ctes = Ctes::default();
    let _ = statement.visit(&mut ctes);
    let (names, mut known) = (names(statement), HashMap::new());
    names.iter().fold(0_usize, |sum, name| sum.saturating_add(weight(name, &ctes, of, &mut known)))
}

/// Rejects a plan with too many nodes, or with expressions that cost too much.
pub(crate) fn check_plan(plan: &LogicalPlan, settings: &config::Sql) -> Result<()> {
    let mut nodes = 0_usize;
    plan.apply_with_subqueries(|node| {
        nodes += 1;
        check_limit(nodes, settings.max_plan_nodes, "steps", "sql.max_plan_nodes")
            .map_err(SqlError::into_datafusion)?;
        if node.schema().fields().iter().any(|field| is_too_deep(field.data_type(), 3)) {
            return Err(SqlError::Invalid("lists are nested too deeply".to_owned()).into_datafusion());
        }
        check_subqueries(node)?;
        node.apply_expressions(|expression| expression.apply(check_expression))
    })?;
    let copies = expression_copies(plan);
    check_limit(copies, settings.max_plan_nodes, "copies of an expression", "sql.max_plan_nodes")
        .map_err(SqlError::into_datafusion)
}

/// Returns how many copies of an expression the optimizer may create. If each projection refers several times to a
/// column of the one below, the number doubles with each step.
fn expression_copies(plan: &LogicalPlan) -> usize {
    let below = plan.inputs().into_iter().map(expression_copies).max().unwrap_or(1);
    let LogicalPlan::Projection(projection) = plan else { return below };
    let most = projection.expr.iter().map(|expression| {
        let mut counts: HashMap<&datafusion::common::Column, usize> = HashMap::new();
        let _ = expression.apply(|expression| {
            if let Expr::Column(column) = expression {
                *counts.entry(column).or_default() += 1;
            }
            Ok(TreeNodeRecursion::Continue)
        });
        counts.into_values().max().unwrap_or(1)
    });
    below.saturating_mul(most.max().unwrap_or(1))
}

/// Returns whether lists are nested more than `room` times below a list.
fn is_too_deep(data_type: &DataType, room: usize) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) => room == 0 || is_too_deep(item.data_type(), room - 1),
        DataType::FixedSizeList(..) => true,
        _ => false,
    }
}

/// Aggregates with a state that stays small for any number of rows.
const WINDOW_AGGREGATES: &str = "\
    count sum avg min max first_value last_value stddev stddev_pop var var_pop bool_and bool_or";

/// Rejects expressions that cost more than their length suggests.
fn check_expression(expression: &Expr) -> Result<TreeNodeRecursion> {
    let text = match expression {
        Expr::Cast(Cast { field, .. }) | Expr::TryCast(TryCast { field, .. }) if has_fixed_size(field.data_type()) => {
            "casts to types of fixed size are not supported".to_owned()
        }
        Expr::WindowFunction(window) => match &window.fun {
            WindowFunctionDefinition::AggregateUDF(function)
                if !WINDOW_AGGREGATES.split(' ').any(|name| name == function.name()) =>
            {
                let name = function.name();
                format!("{name} is not supported as a window function: it would keep all rows for each row")
            }
            _ => return Ok(TreeNodeRecursion::Continue),
        },
        _ => return Ok(TreeNodeRecursion::Continue),
    };
    Err(SqlError::Invalid(text).into_datafusion())
}

/// Returns whether a value has the size of its type, whatever its contents.
fn has_fixed_size(data_type: &DataType) -> bool {
    match data_type {
        DataType::FixedSizeList(..) | DataType::FixedSizeBinary(_) => true,
        DataType::List(item) | DataType::LargeList(item) => has_fixed_size(item.data_type()),
        _ => false,
    }
}

/// Rejects IN and EXISTS with a UNION if they are part of a condition, for instance next to OR, or a value. DataFusion
/// turns such a subquery into a mark join, which for a UNION loses rows or fails with unknown names. An error is better
/// than a wrong answer.
fn check_subqueries(step: &LogicalPlan) -> Result<()> {
    let is_filter = matches!(step, LogicalPlan::Filter(_));
    step.apply_expressions(|expression| {
        // A subquery that is a condition on its own becomes a semi or anti join, which is correct.
        let parts = if is_filter { split_conjunction(expression) } else { vec![expression] };
        for part in parts.into_iter().filter(|part| !(is_filter && is_subquery(part))) {
            part.apply(|inner| match subquery(inner).map(|subquery| has_union(&subquery.subquery)).transpose()? {
                Some(true) => Err(SqlError::Invalid(MARKED_UNION.to_owned()).into_datafusion()),
                _ => Ok(TreeNodeRecursion::Continue),
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

const MARKED_UNION: &str =
    "IN and EXISTS next to OR, or as a value, do not support UNION; write one for each part, with OR between them";

/// Returns whether a condition is a subquery, possibly negated.
fn is_subquery(condition: &Expr) -> bool {
    match condition {
        Expr::Not(inner) => is_subquery(inner),
        condition => subquery(condition).is_some(),
    }
}

/// Returns the subquery of IN or EXISTS.
fn subquery(expression: &Expr) -> Option<&Subquery> {
    match expression {
        Expr::InSubquery(inner) => Some(&inner.subquery),
        Expr::Exists(inner) => Some(&inner.subquery),
        _ => None,
    }
}

fn has_union(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|step| Ok(matches!(step, LogicalPlan::Union(_))))
}
