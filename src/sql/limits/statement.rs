//! What is refused before it costs anything: by its relations before it is planned, by its nodes and expressions before
//! it is optimised.
//!
//! The parser and the planner recurse over long chains of operators, and the optimiser takes more
//! than linear time; common table expressions are copied wherever they are named.

use std::{collections::HashMap, ops::ControlFlow};

use arrow::datatypes::DataType;
use datafusion::{
    common::{Result, tree_node::TreeNode as _, tree_node::TreeNodeRecursion},
    logical_expr::{
        Expr, LogicalPlan, Operator, expr::WindowFunctionDefinition, logical_plan::Subquery, utils::split_conjunction,
    },
    sql::{
        parser::Statement as ParsedStatement,
        sqlparser::ast::{self, Query, Statement as SqlStatement, TableFactor, Visit as _, Visitor, visit_relations},
    },
};

use super::{super::error::SqlError, tokens::limit};
use crate::config;

/// Refuses what is more than a query, and what grows too large once its common table expressions are copied in. `of` says
/// how many tables a name stands for.
pub(crate) fn parsed(
    statement: &ParsedStatement,
    settings: &config::Sql,
    of: &dyn Fn(&str) -> usize,
) -> Result<(), SqlError> {
    read_only(statement)?;
    match statement {
        ParsedStatement::Explain(explain) => parsed(&explain.statement, settings, of),
        ParsedStatement::Statement(statement) => {
            if let ControlFlow::Break(clause) = statement.visit(&mut Ignored) {
                return Err(SqlError::Invalid(format!("{clause} is not supported")));
            }
            if let ControlFlow::Break(sets) = statement.visit(&mut GroupingSets) {
                let text = format!("GROUP BY makes {sets} grouping sets, {MAX_GROUPING_SETS} are allowed");
                return Err(SqlError::Invalid(text));
            }
            let relations = weigh(statement, of);
            limit(relations, settings.max_relations, "relations, with those of views and WITH", "sql.max_relations")
        }
        _ => Ok(()),
    }
}

/// Refuses what is more than a query before it is planned: an INSERT of the wrong number of values
/// is first of all an INSERT.
fn read_only(statement: &ParsedStatement) -> Result<(), SqlError> {
    let verb = match statement {
        ParsedStatement::Explain(explain) => return read_only(&explain.statement),
        ParsedStatement::Statement(statement) => match statement.as_ref() {
            SqlStatement::Query(_)
            | SqlStatement::Explain { .. }
            | SqlStatement::ExplainTable { .. }
            | SqlStatement::ShowTables { .. }
            | SqlStatement::ShowColumns { .. }
            | SqlStatement::ShowFunctions { .. }
            | SqlStatement::ShowVariable { .. } => return Ok(()),
            other => other.to_string().split_whitespace().take(1).collect(),
        },
        ParsedStatement::CreateExternalTable(_) => "CREATE".to_owned(),
        ParsedStatement::CopyTo(_) => "COPY".to_owned(),
        ParsedStatement::Reset(_) => "RESET".to_owned(),
    };
    Err(SqlError::NotReadOnly(format!("{verb} is refused")))
}

/// Grouping sets of a statement: each row is in all of them, and each is planned. Those of a CUBE of eight columns.
const MAX_GROUPING_SETS: usize = 256;

/// Looks for a CUBE, a ROLLUP or a list of grouping sets that makes too many.
struct GroupingSets;

impl Visitor for GroupingSets {
    type Break = usize;

    fn pre_visit_expr(&mut self, expression: &ast::Expr) -> ControlFlow<usize> {
        let sets = match expression {
            ast::Expr::Cube(columns) => 1_usize.checked_shl(columns.len().try_into().unwrap_or(u32::MAX)),
            ast::Expr::Rollup(columns) => columns.len().checked_add(1),
            ast::Expr::GroupingSets(sets) => Some(sets.len()),
            _ => Some(0),
        };
        let sets = sets.unwrap_or(usize::MAX);
        if sets > MAX_GROUPING_SETS { ControlFlow::Break(sets) } else { ControlFlow::Continue(()) }
    }
}

/// Looks for clauses that the planner would pass over in silence, and give another answer than was asked for.
struct Ignored;

impl Visitor for Ignored {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        let found = [
            (!query.locks.is_empty(), "FOR UPDATE or FOR SHARE"),
            (query.for_clause.is_some(), "FOR"),
            (query.settings.is_some(), "SETTINGS"),
            (query.format_clause.is_some(), "FORMAT"),
        ];
        first(&found)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        let found = match factor {
            TableFactor::Table { with_hints, version, partitions, sample, index_hints, .. } => [
                (sample.is_some(), "TABLESAMPLE"),
                (!partitions.is_empty(), "PARTITION"),
                (version.is_some(), "a version of a table"),
                (!with_hints.is_empty() || !index_hints.is_empty(), "a hint"),
            ],
            TableFactor::Derived { sample, .. } => [(sample.is_some(), "TABLESAMPLE"); 4],
            _ => return ControlFlow::Continue(()),
        };
        first(&found)
    }
}

fn first(found: &[(bool, &'static str)]) -> ControlFlow<&'static str> {
    found.iter().find(|(is_there, _)| *is_there).map_or(ControlFlow::Continue(()), |(_, what)| ControlFlow::Break(what))
}

/// The names that each common table expression of a statement refers to.
#[derive(Default)]
struct Ctes(HashMap<String, Vec<String>>);

impl Visitor for Ctes {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            // Two of one name count as one that refers to both's relations.
            self.0.entry(cte.alias.name.value.to_lowercase()).or_default().extend(names(&cte.query));
        }
        ControlFlow::Continue(())
    }
}

/// The last word of each relation's name, however it is spelt.
fn names<V: datafusion::sql::sqlparser::ast::Visit>(node: &V) -> Vec<String> {
    let mut names = vec![];
    let _ = visit_relations(node, |name| {
        let last = name.0.last().and_then(|part| part.as_ident());
        names.push(last.map_or_else(String::new, |ident| ident.value.to_lowercase()));
        ControlFlow::<()>::Continue(())
    });
    names
}

/// Relations of a statement once each name stands for its copy; not less than there will be.
fn weigh(statement: &SqlStatement, of: &dyn Fn(&str) -> usize) -> usize {
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
        // What refers to itself is a table or view of that name, or a recursion, which is refused.
        known.insert(name, of(name));
        let sum = names.iter().fold(0_usize, |sum, name| sum.saturating_add(weight(name, ctes, of, known)));
        // What reads no table is a copy all the same.
        let weight = sum.max(1);
        known.insert(name, weight);
        weight
    }
    let mut ctes = Ctes::default();
    let _ = statement.visit(&mut ctes);
    let (names, mut known) = (names(statement), HashMap::new());
    names.iter().fold(0_usize, |sum, name| sum.saturating_add(weight(name, &ctes, of, &mut known)))
}

/// Counts the nodes of a plan, and looks at its expressions.
pub(crate) fn plan(plan: &LogicalPlan, settings: &config::Sql) -> Result<()> {
    let mut nodes = 0_usize;
    plan.apply_with_subqueries(|node| {
        nodes += 1;
        limit(nodes, settings.max_plan_nodes, "steps", "sql.max_plan_nodes").map_err(SqlError::into_datafusion)?;
        if node.schema().fields().iter().any(|field| is_too_deep(field.data_type(), 3)) {
            return Err(SqlError::Invalid("lists are nested too deep".to_owned()).into_datafusion());
        }
        check_subqueries(node)?;
        node.apply_expressions(|expression| expression.apply(check))
    })?;
    let copies = growth(plan);
    limit(copies, settings.max_plan_nodes, "copies of an expression that names another twice", "sql.max_plan_nodes")
        .map_err(SqlError::into_datafusion)
}

/// How often the optimiser may have to write an expression out, when each projection names a column of the one
/// below several times: it doubles with each step.
fn growth(plan: &LogicalPlan) -> usize {
    let below = plan.inputs().into_iter().map(growth).max().unwrap_or(1);
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

fn is_too_deep(data_type: &DataType, room: usize) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) => room == 0 || is_too_deep(item.data_type(), room - 1),
        DataType::FixedSizeList(..) => true,
        _ => false,
    }
}

/// Refuses expressions that cost more than their length tells.
fn check(expression: &Expr) -> Result<TreeNodeRecursion> {
    let refuse = |what: &str| Err(SqlError::Invalid(what.to_owned()).into_datafusion());
    let varies = |pattern: &Expr| pattern.any_column_refs();
    match expression {
        Expr::Cast(cast) if is_costly(cast.field.data_type()) => refuse("there are no casts to types of fixed size"),
        Expr::TryCast(cast) if is_costly(cast.field.data_type()) => refuse("there are no casts to types of fixed size"),
        Expr::ScalarFunction(call) if call.name().starts_with("regexp_") && call.args.get(1).is_some_and(varies) => {
            refuse("a regular expression must be the same for all rows")
        }
        Expr::BinaryExpr(binary) if is_regex(binary.op) && varies(&binary.right) => {
            refuse("a regular expression must be the same for all rows")
        }
        Expr::SimilarTo(like) if varies(&like.pattern) => refuse("a regular expression must be the same for all rows"),
        Expr::WindowFunction(window) => match &window.fun {
            WindowFunctionDefinition::AggregateUDF(function)
                if !WINDOW_AGGREGATES.split(' ').any(|name| name == function.name()) =>
            {
                refuse(&format!(
                    "{} is no window function here: it would hold every row for every row",
                    function.name()
                ))
            }
            _ => Ok(TreeNodeRecursion::Continue),
        },
        _ => Ok(TreeNodeRecursion::Continue),
    }
}

/// Aggregates whose value stays small however many rows they see.
const WINDOW_AGGREGATES: &str = "\
    count sum avg min max first_value last_value stddev stddev_pop var var_pop bool_and bool_or";

fn is_regex(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::RegexMatch | Operator::RegexIMatch | Operator::RegexNotMatch | Operator::RegexNotIMatch
    )
}

/// One value takes what the type says, not what the value needs.
fn is_costly(data_type: &DataType) -> bool {
    match data_type {
        DataType::FixedSizeList(..) | DataType::FixedSizeBinary(_) => true,
        DataType::List(item) | DataType::LargeList(item) => is_costly(item.data_type()),
        _ => false,
    }
}

/// Refuses IN and EXISTS with a UNION that are a part of a condition, as beside OR, or a value. DataFusion joins such a
/// subquery to mark rows by it; where that is a UNION it loses rows, or refuses for names that nobody wrote. A wrong answer
/// is worse than none.
fn check_subqueries(step: &LogicalPlan) -> Result<()> {
    let is_filter = matches!(step, LogicalPlan::Filter(_));
    step.apply_expressions(|expression| {
        // A condition of its own is a join that keeps rows, or leaves them out: there is nothing wrong with those.
        let parts = if is_filter { split_conjunction(expression) } else { vec![expression] };
        for part in parts.into_iter().filter(|part| !(is_filter && is_whole(part))) {
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
    "IN and EXISTS beside OR, or as a value, take no UNION: write one for each of its parts, with OR between them";

fn is_whole(condition: &Expr) -> bool {
    match condition {
        Expr::Not(inner) => is_whole(inner),
        condition => subquery(condition).is_some(),
    }
}

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
