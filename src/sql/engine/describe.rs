//! What a statement gives and needs, without running it; and the tables there are.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::{
    common::{ParamValues, ScalarValue},
    execution::SessionState,
    logical_expr::LogicalPlan,
};

use super::{
    super::tables::{self, TableDescription},
    Engine, Shared, SqlError, Statement, Turn,
    logical::Logical,
    output, sort,
};

/// The highest `$N`: parameters are described one by one.
const MAX_PARAMETERS: usize = 1024;

/// What a statement gives and needs.
#[derive(Clone, Debug)]
pub struct Description {
    /// Columns of the answer, exactly as [`Engine::run`] declares them for the same parameters.
    pub schema: SchemaRef,
    /// `$1`, `$2`, … with the types that the statement asks for; text where it takes any.
    pub parameters: SchemaRef,
}

impl Engine {
    /// Plans a statement, within the same limits as [`Engine::run`], and does not run it.
    ///
    /// # Errors
    /// Why it cannot be run, as far as planning tells.
    pub async fn describe(&self, statement: Statement) -> Result<Description, SqlError> {
        let work =
            |shared: Arc<Shared>, statement, turn| async move { shared.describe(statement, &turn).await };
        let turn = self.admit(&statement).await?;
        self.work(statement, turn, work)?.outcome().await.unwrap_or(Err(SqlError::ShuttingDown))
    }

    /// All tables and views, by name, with their columns as a query gives them.
    #[must_use]
    pub fn tables(&self) -> Vec<TableDescription> {
        let described = tables::described().into_iter();
        described.map(|table| TableDescription { schema: output::wire_schema(&table.schema), ..table }).collect()
    }
}

impl Shared {
    async fn describe(&self, statement: Statement, turn: &Turn) -> Result<Description, SqlError> {
        let Logical { plan, session } = self.plan(&statement.sql, turn)?;
        let parameters = parameters(&plan)?;
        let (_, schema) = bind(&session, plan, statement.parameters)?;
        Ok(Description { schema, parameters })
    }
}

/// `$1` to the highest that occurs.
fn parameters(plan: &LogicalPlan) -> Result<SchemaRef, SqlError> {
    let mut fields = vec![];
    for (name, kind) in plan.get_parameter_types().map_err(sort)? {
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

/// A plan with its parameters, and the schema of its answer.
///
/// Where the statement tells a parameter's type, the schema is the same with any value: a value
/// takes that type if it loses nothing by it, and what could be NULL by a parameter still may.
pub(super) fn bind(
    session: &SessionState,
    plan: LogicalPlan,
    values: Vec<ScalarValue>,
) -> Result<(LogicalPlan, SchemaRef), SqlError> {
    let kinds = plan.get_parameter_types().map_err(sort)?;
    let open = answer_schema(session, &without_values(&plan, &kinds)?)?;
    if values.is_empty() {
        return Ok((plan, open));
    }
    let typed = |(number, value): (usize, ScalarValue)| match kinds.get(&format!("${number}")) {
        Some(Some(kind)) => converted(value, kind),
        _ => value,
    };
    let values: Vec<_> = (1..).zip(values).map(typed).collect();
    let plan = plan.with_param_values(ParamValues::from(values)).map_err(sort)?;
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
fn without_values(plan: &LogicalPlan, kinds: &HashMap<String, Option<DataType>>) -> Result<LogicalPlan, SqlError> {
    if kinds.is_empty() {
        return Ok(plan.clone());
    }
    let null = |(name, kind): (&String, &Option<DataType>)| {
        let value = kind.as_ref().map_or(Ok(ScalarValue::Null), ScalarValue::try_from);
        value.map(|value| (name.trim_start_matches('$').to_owned(), value))
    };
    let values: HashMap<String, ScalarValue> = kinds.iter().map(null).collect::<Result<_, _>>().map_err(sort)?;
    plan.clone().with_param_values(ParamValues::from(values)).map_err(sort)
}

/// The schema of a plan's answer. The planner types a CASE or a UNION by its first branch; the analysis, by all.
fn answer_schema(session: &SessionState, plan: &LogicalPlan) -> Result<SchemaRef, SqlError> {
    let analysed = session.analyzer().execute_and_check(plan.clone(), session.config_options(), |_, _| {});
    Ok(output::wire_schema(analysed.map_err(sort)?.schema().as_arrow()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_takes_another_type_only_if_it_loses_nothing() {
        let int = |value| ScalarValue::Int64(Some(value));
        assert_eq!(converted(int(7), &DataType::Int32), ScalarValue::Int32(Some(7)));
        assert_eq!(converted(int(1 << 40), &DataType::Int32), int(1 << 40));
        let half = ScalarValue::Float64(Some(1.5));
        assert_eq!(converted(half.clone(), &DataType::Int32), half);
        let word = ScalarValue::Utf8(Some("x".to_owned()));
        assert_eq!(converted(word.clone(), &DataType::Int32), word);
        assert_eq!(converted(ScalarValue::Null, &DataType::Int32), ScalarValue::Int32(None));
    }
}
