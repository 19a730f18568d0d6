//! A rewrite rule that replaces patterns, and expressions that copy values, with functions that have limits.

use std::sync::Arc;

use arrow::{
    compute::kernels::comparison::{ilike, like},
    datatypes::DataType,
};
use datafusion::{
    common::{DFSchema, DataFusionError, Result, ScalarValue, config::ConfigOptions, tree_node::Transformed},
    logical_expr::{
        BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable as _, Like, Operator, ScalarUDF,
        expr_rewriter::FunctionRewrite, lit, not,
    },
    physical_expr::ScalarFunctionExpr,
    physical_expr_common::datum::apply,
    physical_plan::joins::utils::JoinFilter,
};

use super::{
    super::{super::builtin::builtin, memory::check_current, width},
    OperatorAccount, bounded, cost_model, is_bounded, size,
};

/// Name of the function that reserves the bytes of copied values.
pub(super) const RESERVING: &str = "reserve_bytes";

/// The rewrite rule.
#[derive(Debug)]
pub(crate) struct BoundingRule {
    like: Arc<ScalarUDF>,
    ilike: Arc<ScalarUDF>,
    regex: Arc<ScalarUDF>,
    reserving: Arc<ScalarUDF>,
    max_value_bytes: usize,
}

impl BoundingRule {
    pub(crate) fn new(max_value_bytes: usize) -> Self {
        let regex = bounded(datafusion::functions::regex::regexp_like(), max_value_bytes);
        let [like, ilike] = ["like", "ilike"].map(|name| bounded(pattern(name), max_value_bytes));
        Self { like, ilike, regex, reserving: reserving(), max_value_bytes }
    }

    /// Returns a call of `regexp_like`.
    fn regex(&self, text: Expr, pattern: Expr, ignores_case: bool, negated: bool) -> Transformed<Expr> {
        let flags = ignores_case.then(|| lit("i"));
        let found = self.regex.call([as_text(text), as_text(pattern)].into_iter().chain(flags).collect());
        Transformed::yes(if negated { not(found) } else { found })
    }

    /// Returns a call of `like` or `ilike`.
    fn like(&self, like: Like) -> Expr {
        let Like { negated, expr, pattern, case_insensitive, .. } = like;
        let function = if case_insensitive { &self.ilike } else { &self.like };
        // A scan can use the prefix of a pattern; it is added as a condition of its own.
        let prefix = literal(&pattern).and_then(|pattern| pattern.split(['%', '_', '\\']).next());
        let prefix = prefix.filter(|prefix| !prefix.is_empty() && !negated && !case_insensitive);
        let prefix = prefix.filter(|_| matches!(*expr, Expr::Column(_)));
        let prefix = prefix.map(|prefix| expr.clone().like(lit(format!("{prefix}%"))));
        let found = function.call(vec![as_text(*expr), as_text(*pattern)]);
        let found = if negated { not(found) } else { found };
        prefix.map_or_else(|| found.clone(), |prefix| prefix.and(found.clone()))
    }
}

impl FunctionRewrite for BoundingRule {
    fn name(&self) -> &'static str {
        "bounding"
    }

    fn rewrite(&self, expression: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        Ok(match expression {
            Expr::Like(like) if like.escape_char.is_none() && !is_simple(&like) => Transformed::yes(self.like(like)),
            Expr::SimilarTo(like) if like.escape_char.is_none() => {
                self.regex(*like.expr, *like.pattern, like.case_insensitive, like.negated)
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
                Operator::RegexMatch => self.regex(*left, *right, false, false),
                Operator::RegexIMatch => self.regex(*left, *right, true, false),
                Operator::RegexNotMatch => self.regex(*left, *right, false, true),
                Operator::RegexNotIMatch => self.regex(*left, *right, true, true),
                _ => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
            },
            // By function rather than by syntax, since operators and subscripts stand for some functions.
            Expr::ScalarFunction(call) if cost_model(call.name()).is_some() && !is_bounded(&call.func) => {
                Transformed::yes(bounded(call.func, self.max_value_bytes).call(call.args))
            }
            expression if copies(&expression, schema)? => Transformed::yes(self.reserving.call(vec![expression])),
            expression => Transformed::no(expression),
        })
    }
}

/// Returns whether an expression copies values of varying size and is not a function with limits.
fn copies(expression: &Expr, schema: &DFSchema) -> Result<bool> {
    let is_candidate = match expression {
        Expr::Case(_) => true,
        Expr::ScalarFunction(call) => {
            matches!(call.name(), "coalesce" | "nvl" | "nvl2" | "nullif" | "greatest" | "least")
        }
        Expr::Cast(cast) => cast.expr.get_type(schema)?.is_nested(),
        Expr::TryCast(cast) => cast.expr.get_type(schema)?.is_nested(),
        _ => false,
    };
    Ok(is_candidate && width::varies(&expression.get_type(schema)?))
}

/// Casts a value to text.
fn as_text(value: Expr) -> Expr {
    Expr::Cast(Cast::new(Box::new(value), DataType::Utf8))
}

/// Returns the text of a literal.
fn literal(value: &Expr) -> Option<&str> {
    match value {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text),
        _ => None,
    }
}

/// Returns whether a pattern is matched without a regular expression: plain text, with `%` only at its ends.
fn is_simple(like: &Like) -> bool {
    let pattern = literal(&like.pattern).filter(|_| !like.case_insensitive);
    pattern.is_some_and(|pattern| {
        let inner = pattern.strip_prefix('%').unwrap_or(pattern);
        !inner.strip_suffix('%').unwrap_or(inner).contains(['%', '_', '\\'])
    })
}

/// Returns the function for LIKE or ILIKE.
fn pattern(name: &'static str) -> Arc<ScalarUDF> {
    let compute = |name, operands: &[ColumnarValue]| match operands {
        [text, pattern] => {
            let kernel = if name == "ilike" { ilike } else { like };
            apply(text, pattern, |text, pattern| Ok(Arc::new(kernel(text, pattern)?)))
        }
        _ => Err(DataFusionError::Plan("LIKE requires a text and a pattern".to_owned())),
    };
    builtin(name, 2, |_, _| Ok(DataType::Boolean), compute)
}

/// Wraps the condition of a join so that it fails once the statement must end, since a join may evaluate its condition
/// for hours without returning a batch.
///
/// # Errors
///
/// The type of the condition cannot be determined.
pub(crate) fn cancellable_filter(filter: &JoinFilter) -> Result<JoinFilter> {
    let (condition, schema) = (Arc::clone(filter.expression()), filter.schema());
    let condition = ScalarFunctionExpr::try_new(reserving(), vec![condition], schema, Arc::default())?;
    Ok(JoinFilter::new(Arc::new(condition), filter.column_indices().to_vec(), Arc::clone(schema)))
}

/// Returns a function that returns its argument, and reserves its bytes in the current account if its type varies in
/// size.
fn reserving() -> Arc<ScalarUDF> {
    let compute = |_, operands: &[ColumnarValue]| {
        check_current()?;
        let value = operands.first().cloned().ok_or_else(no_value)?;
        if let Some(account) = OperatorAccount::current().filter(|_| width::varies(&value.data_type())) {
            account.reserve(size(&value))?;
        }
        Ok(value)
    };
    builtin(RESERVING, 1, |_, kinds| kinds.first().cloned().ok_or_else(no_value), compute)
}

fn no_value() -> DataFusionError {
    DataFusionError::Plan("reserve_bytes requires a value".to_owned())
}
