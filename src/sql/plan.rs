//! From the text of a statement to its plan.
//!
//! Nothing here is async: the tables are in memory, so that planning waits for nothing, and the compiler takes minutes to
//! prove that a future that holds a plan may be sent to another thread.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::{
    common::{ParamValues, ScalarValue},
    execution::{SessionState, context::SQLOptions},
    logical_expr::LogicalPlan,
    physical_plan::ExecutionPlan,
    sql::{
        parser::{DFParserBuilder, Statement as Parsed},
        sqlparser::{dialect::GenericDialect, tokenizer::TokenWithSpan},
    },
};
use futures::FutureExt as _;
use tokio::task::unconstrained;

use super::{
    catalog,
    error::SqlError,
    limits::{statement as limits, tokens::tokens},
    names, output,
};
use crate::config;

/// The highest `$N`: parameters are described one by one.
const MAX_PARAMETERS: usize = 1024;

/// The plan of a statement whose parameters may be open.
///
/// # Errors
/// It is wrong, more than a query, or over a limit.
pub(super) fn logical(session: &SessionState, sql: &str, settings: &config::Sql) -> Result<LogicalPlan, SqlError> {
    let mut parsed = parse(session, tokens(sql, settings)?)?;
    limits::parsed(&parsed, settings, &catalog::relations)?;
    names::name_columns(&mut parsed);
    let plan = at_once(session.statement_to_plan(parsed))?.map_err(|error| SqlError::planning(&error))?;
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    options.verify_plan(&plan).map_err(|_| SqlError::NotReadOnly("the statement is refused".to_owned()))?;
    limits::plan(&plan, settings).map_err(|error| SqlError::planning(&error))?;
    Ok(plan)
}

fn parse(session: &SessionState, tokens: Vec<TokenWithSpan>) -> Result<Parsed, SqlError> {
    let recursion = session.config_options().sql_parser.recursion_limit.get();
    let parser = DFParserBuilder::new(tokens).with_dialect(&GenericDialect {}).with_recursion_limit(recursion).build();
    let parsed = parser.and_then(|mut parser| parser.parse_statements());
    let mut statements = parsed.map_err(|error| SqlError::planning(&error))?;
    if statements.len() > 1 {
        return Err(SqlError::Invalid("one statement at a time: there is more after the first".to_owned()));
    }
    statements.pop_front().ok_or_else(|| SqlError::Invalid("there is no statement".to_owned()))
}

/// A plan that can be run.
///
/// # Errors
/// Why there is none, as optimising it tells.
pub(super) fn physical(session: &SessionState, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>, SqlError> {
    at_once(session.create_physical_plan(plan))?.map_err(|error| SqlError::planning(&error))
}

/// `$1` to the highest that occurs, with the types that a plan asks for; text where it takes any.
pub(super) fn parameters(plan: &LogicalPlan) -> Result<SchemaRef, SqlError> {
    let mut fields = vec![];
    for (name, kind) in kinds(plan)? {
        let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
        let Some(number) = number.filter(|number| (1..=MAX_PARAMETERS).contains(number)) else {
            return Err(SqlError::Invalid(format!("parameter {name}: parameters are $1 to ${MAX_PARAMETERS}, or ?")));
        };
        if fields.len() < number {
            fields.resize(number, DataType::Utf8);
        }
        let kind = kind.filter(|kind| *kind != DataType::Null);
        if let (Some(field), Some(kind)) = (fields.get_mut(number - 1), kind) {
            *field = kind;
        }
    }
    let field = |(number, kind)| Field::new(format!("${number}"), kind, true);
    let schema = Schema::new((1..).zip(fields).map(field).collect::<Vec<_>>());
    Ok(output::wire_schema(&schema))
}

type Kinds = HashMap<String, Option<DataType>>;

fn kinds(plan: &LogicalPlan) -> Result<Kinds, SqlError> {
    plan.get_parameter_types().map_err(|error| SqlError::planning(&error))
}

/// A plan with its parameters, and the schema of its answer.
///
/// Where the statement tells a parameter's type, the schema is the same with any value: a value
/// takes that type if it loses nothing by it, and what could be NULL by a parameter still may.
pub(super) fn bind(
    session: &SessionState,
    plan: LogicalPlan,
    values: Vec<ScalarValue>,
) -> Result<(LogicalPlan, SchemaRef), SqlError> {
    let kinds = kinds(&plan)?;
    let open = answer_schema(session, &without_values(&plan, &kinds)?)?;
    if values.is_empty() {
        return Ok((plan, open));
    }
    let typed = |(number, value): (usize, ScalarValue)| match kinds.get(&format!("${number}")) {
        Some(Some(kind)) => converted(value, kind),
        _ => value,
    };
    let values: Vec<_> = (1..).zip(values).map(typed).collect();
    let plan = plan.with_param_values(ParamValues::from(values)).map_err(|error| SqlError::planning(&error))?;
    let bound = answer_schema(session, &plan)?;
    let fields = bound.fields().iter().zip(open.fields());
    let fields = fields.map(|(bound, open)| {
        let nullable = bound.is_nullable() || open.is_nullable();
        bound.as_ref().clone().with_name(open.name()).with_nullable(nullable)
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok((plan, schema))
}

/// The plan with NULL for each parameter, which the analysis takes where it may refuse a parameter without a type.
fn without_values(plan: &LogicalPlan, kinds: &Kinds) -> Result<LogicalPlan, SqlError> {
    if kinds.is_empty() {
        return Ok(plan.clone());
    }
    let null = |(name, kind): (&String, &Option<DataType>)| {
        let value = kind.as_ref().map_or(Ok(ScalarValue::Null), ScalarValue::try_from);
        value.map(|value| (name.trim_start_matches('$').to_owned(), value))
    };
    let values = kinds.iter().map(null).collect::<Result<HashMap<_, _>, _>>();
    let plan = values.and_then(|values| plan.clone().with_param_values(ParamValues::from(values)));
    plan.map_err(|error| SqlError::planning(&error))
}

/// The schema of a plan's answer. The planner types a CASE or a UNION by its first branch; the analysis, by all.
fn answer_schema(session: &SessionState, plan: &LogicalPlan) -> Result<SchemaRef, SqlError> {
    let analysed = session.analyzer().execute_and_check(plan.clone(), session.config_options(), |_, _| {});
    Ok(output::wire_schema(analysed.map_err(|error| SqlError::planning(&error))?.schema().as_arrow()))
}

/// The value in another type, if it is the same there.
fn converted(value: ScalarValue, kind: &DataType) -> ScalarValue {
    let there = value.cast_to(kind);
    let back = there.as_ref().ok().and_then(|there| there.cast_to(&value.data_type()).ok());
    match there {
        Ok(there) if value.is_null() || back.as_ref() == Some(&value) => there,
        _ => value,
    }
}

/// The output of a future that waits for nothing: the tables are in memory, and tokio's cooperative budget is lifted.
///
/// # Errors
/// It waits, which is a bug.
fn at_once<F: Future>(future: F) -> Result<F::Output, SqlError> {
    let waits = || SqlError::Internal("planning waits for something outside of it".to_owned());
    unconstrained(future).now_or_never().ok_or_else(waits)
}

#[cfg(test)]
mod tests;
