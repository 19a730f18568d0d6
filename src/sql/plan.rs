//! Planning: from the text of a statement to a physical plan.
//!
//! Nothing here is async. The tables are in memory, so planning never waits; and the compiler takes minutes to prove
//! that a future that contains a plan is `Send`.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::{
    common::{ParamValues, ScalarValue, config::SqlParserOptions},
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
    catalog, column_names,
    error::SqlError,
    limits::{statement as limits, tokens::tokens},
    output,
};
use crate::config;

/// The highest allowed `$N`: a description has one field for each parameter.
const MAX_PARAMETERS: usize = 1024;

/// Returns the logical plan of a statement. Its parameters may be unbound.
///
/// # Errors
///
/// The statement is wrong, does more than read, or exceeds a limit.
pub(super) fn logical_plan(session: &SessionState, sql: &str, settings: &config::Sql) -> Result<LogicalPlan, SqlError> {
    let recursion = session.config_options().sql_parser.recursion_limit.get();
    let mut parsed = parse(recursion, tokens(sql, settings)?)?;
    limits::check_parsed(&parsed, settings, &catalog::relation_count)?;
    column_names::name_columns(&mut parsed);
    let plan = poll_once(session.statement_to_plan(parsed))?.map_err(|error| SqlError::from_planning(&error))?;
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    options.verify_plan(&plan).map_err(|_| SqlError::NotReadOnly("the statement does more than read".to_owned()))?;
    limits::check_plan(&plan, settings).map_err(|error| SqlError::from_planning(&error))?;
    Ok(plan)
}

/// Checks the syntax of one statement, and the limits that apply before planning.
///
/// # Errors
///
/// The text is not exactly one statement, or exceeds a limit.
pub fn check_syntax(sql: &str, settings: &config::Sql) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let recursion = SqlParserOptions::default().recursion_limit.get();
    let parsed = parse(recursion, tokens(sql, settings)?)?;
    Ok(limits::check_parsed(&parsed, settings, &catalog::relation_count)?)
}

fn parse(recursion: usize, tokens: Vec<TokenWithSpan>) -> Result<Parsed, SqlError> {
    let parser = DFParserBuilder::new(tokens).with_dialect(&GenericDialect {}).with_recursion_limit(recursion).build();
    let parsed = parser.and_then(|mut parser| parser.parse_statements());
    let mut statements = parsed.map_err(|error| SqlError::from_planning(&error))?;
    if statements.len() > 1 {
        return Err(SqlError::Invalid("one statement at a time: more text follows the first statement".to_owned()));
    }
    statements.pop_front().ok_or_else(|| SqlError::Invalid("the statement is empty".to_owned()))
}

/// Returns the physical plan of a logical plan.
///
/// # Errors
///
/// The reason why the plan cannot be optimized.
pub(super) fn physical_plan(session: &SessionState, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>, SqlError> {
    let planned = match poll_once(session.create_physical_plan(plan))? {
        // DataFusion 55 does not recognize the order of a monotonic function of an unordered expression, such as
        // abs(coalesce(x, 0)), that it has sorted by. One partition needs no merge, so that no order is required.
        Err(error) if error.find_root().message().contains(UNRECOGNIZED_ORDER) => {
            let mut single = session.clone();
            single.config_mut().options_mut().execution.target_partitions = 1;
            poll_once(single.create_physical_plan(plan))?
        }
        planned => planned,
    };
    planned.map_err(|error| SqlError::from_planning(&error))
}

/// Text of DataFusion about a plan whose parts do not have the order that their parents require.
const UNRECOGNIZED_ORDER: &str = "does not satisfy order requirements";

/// Returns the parameters from `$1` to the highest one, with the types that the plan requires; text where it accepts
/// any type.
pub(super) fn parameters(plan: &LogicalPlan) -> Result<SchemaRef, SqlError> {
    let mut fields = vec![];
    for (name, kind) in parameter_types(plan)? {
        let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
        let Some(number) = number.filter(|number| (1..=MAX_PARAMETERS).contains(number)) else {
            return Err(SqlError::Invalid(format!("unknown parameter {name}; use $1 to ${MAX_PARAMETERS}, or ?")));
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

/// The types of the parameters by name; `None` where the plan accepts any type.
type ParameterTypes = HashMap<String, Option<DataType>>;

fn parameter_types(plan: &LogicalPlan) -> Result<ParameterTypes, SqlError> {
    plan.get_parameter_types().map_err(|error| SqlError::from_planning(&error))
}

/// Binds the parameters of a plan, and returns it with the schema of its answer.
///
/// If the statement determines the type of a parameter, the schema does not depend on the value: the value is converted
/// to that type if nothing is lost, and a column that a parameter may make NULL stays nullable.
pub(super) fn bind(
    session: &SessionState,
    plan: LogicalPlan,
    values: Vec<ScalarValue>,
) -> Result<(LogicalPlan, SchemaRef), SqlError> {
    let parameter_types = parameter_types(&plan)?;
    let open = answer_schema(session, &with_null_parameters(&plan, &parameter_types)?)?;
    if values.is_empty() {
        return Ok((plan, open));
    }
    let typed = |(number, value): (usize, ScalarValue)| match parameter_types.get(&format!("${number}")) {
        Some(Some(kind)) => convert_lossless(value, kind),
        _ => value,
    };
    let values: Vec<_> = (1..).zip(values).map(typed).collect();
    let plan = plan.with_param_values(ParamValues::from(values)).map_err(|error| SqlError::from_planning(&error))?;
    let bound = answer_schema(session, &plan)?;
    let fields = bound.fields().iter().zip(open.fields());
    let fields = fields.map(|(bound, open)| {
        let nullable = bound.is_nullable() || open.is_nullable();
        bound.as_ref().clone().with_name(open.name()).with_nullable(nullable)
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok((plan, schema))
}

/// Returns the plan with NULL for each parameter, since the analyzer may reject a parameter without a type.
fn with_null_parameters(plan: &LogicalPlan, parameter_types: &ParameterTypes) -> Result<LogicalPlan, SqlError> {
    if parameter_types.is_empty() {
        return Ok(plan.clone());
    }
    let null = |(name, kind): (&String, &Option<DataType>)| {
        let value = kind.as_ref().map_or(Ok(ScalarValue::Null), ScalarValue::try_from);
        value.map(|value| (name.trim_start_matches('$').to_owned(), value))
    };
    let values = parameter_types.iter().map(null).collect::<Result<HashMap<_, _>, _>>();
    let plan = values.and_then(|values| plan.clone().with_param_values(ParamValues::from(values)));
    plan.map_err(|error| SqlError::from_planning(&error))
}

/// Returns the schema of a plan's answer. The planner takes the type of a CASE or UNION from its first branch, the
/// analyzer from all branches.
fn answer_schema(session: &SessionState, plan: &LogicalPlan) -> Result<SchemaRef, SqlError> {
    let analysed = session.analyzer().execute_and_check(plan.clone(), session.config_options(), |_, _| {});
    Ok(output::wire_schema(analysed.map_err(|error| SqlError::from_planning(&error))?.schema().as_arrow()))
}

/// Converts a value to another type if nothing is lost, or returns it unchanged.
fn convert_lossless(value: ScalarValue, kind: &DataType) -> ScalarValue {
    let converted = value.cast_to(kind);
    let restored = converted.as_ref().ok().and_then(|converted| converted.cast_to(&value.data_type()).ok());
    match converted {
        Ok(converted) if value.is_null() || restored.as_ref() == Some(&value) => converted,
        _ => value,
    }
}

/// Returns the output of a future that never waits: the tables are in memory, and tokio's cooperative budget is
/// disabled.
///
/// # Errors
/// The future waits, which is a bug.
fn poll_once<F: Future>(future: F) -> Result<F::Output, SqlError> {
    let waits = || SqlError::Internal("planning did not finish in one step".to_owned());
    unconstrained(future).now_or_never().ok_or_else(waits)
}

#[cfg(test)]
mod tests;
