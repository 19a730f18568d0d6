//! Functions with bounds in place of expressions that are no functions: patterns, and what gives one of several values.

use std::sync::Arc;

use arrow::{
    compute::kernels::comparison::{ilike, like},
    datatypes::{DataType, Field, FieldRef},
};
use datafusion::{
    common::{DFSchema, DataFusionError, Result, ScalarValue, config::ConfigOptions, tree_node::Transformed},
    logical_expr::{
        BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable as _, Like, Operator, ReturnFieldArgs, ScalarFunctionArgs,
        ScalarUDF, ScalarUDFImpl, Signature, Volatility, expr_rewriter::FunctionRewrite, lit, not,
    },
    physical_expr::ScalarFunctionExpr,
    physical_expr_common::datum::apply,
    physical_plan::joins::utils::JoinFilter,
};

use super::{
    super::{account::check_current, width},
    Account, bounded, size,
};

/// Puts functions with bounds in place of expressions.
#[derive(Debug)]
pub(crate) struct Bounding {
    like: Arc<ScalarUDF>,
    ilike: Arc<ScalarUDF>,
    regex: Arc<ScalarUDF>,
    held: ScalarUDF,
}

impl Bounding {
    pub(crate) fn new(max_value_bytes: usize) -> Self {
        let pattern = |ignores_case| {
            let signature = Signature::any(2, Volatility::Immutable);
            bounded(Arc::new(Pattern { ignores_case, signature }.into()), max_value_bytes)
        };
        let held = ScalarUDF::from(Held::new());
        let regex = bounded(datafusion::functions::regex::regexp_like(), max_value_bytes);
        Self { like: pattern(false), ilike: pattern(true), regex, held }
    }

    fn regex(&self, text: Expr, pattern: Expr, ignores_case: bool, negated: bool) -> Transformed<Expr> {
        let flags = ignores_case.then(|| lit("i"));
        let found = self.regex.call([as_text(text), as_text(pattern)].into_iter().chain(flags).collect());
        Transformed::yes(if negated { not(found) } else { found })
    }

    fn like(&self, like: Like) -> Expr {
        let Like { negated, expr, pattern, case_insensitive, .. } = like;
        let function = if case_insensitive { &self.ilike } else { &self.like };
        // What a scan can look for among its keys.
        let prefix = literal(&pattern).and_then(|pattern| pattern.split(['%', '_', '\\']).next());
        let prefix = prefix.filter(|prefix| !prefix.is_empty() && !negated && !case_insensitive);
        let prefix = prefix.filter(|_| matches!(*expr, Expr::Column(_)));
        let prefix = prefix.map(|prefix| expr.clone().like(lit(format!("{prefix}%"))));
        let found = function.call(vec![as_text(*expr), as_text(*pattern)]);
        let found = if negated { not(found) } else { found };
        prefix.map_or_else(|| found.clone(), |prefix| prefix.and(found.clone()))
    }
}

impl FunctionRewrite for Bounding {
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
            expression if copies(&expression, schema)? => Transformed::yes(self.held.call(vec![expression])),
            expression => Transformed::no(expression),
        })
    }
}

/// Whether an expression gives copies of values whose size varies, and is no function with bounds.
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

fn as_text(value: Expr) -> Expr {
    Expr::Cast(Cast::new(Box::new(value), DataType::Utf8))
}

fn literal(value: &Expr) -> Option<&str> {
    match value {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text),
        _ => None,
    }
}

/// Whether a pattern is compared without a regular expression: a text, with `%` at its ends at most.
fn is_simple(like: &Like) -> bool {
    let pattern = literal(&like.pattern).filter(|_| !like.case_insensitive);
    pattern.is_some_and(|pattern| {
        let inner = pattern.strip_prefix('%').unwrap_or(pattern);
        !inner.strip_suffix('%').unwrap_or(inner).contains(['%', '_', '\\'])
    })
}

/// LIKE, or ILIKE.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Pattern {
    ignores_case: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Pattern {
    fn name(&self) -> &'static str {
        if self.ignores_case { "ilike" } else { "like" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), DataType::Boolean, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [text, pattern] = args.args.as_slice() else {
            return Err(DataFusionError::Plan("LIKE takes a text and a pattern".to_owned()));
        };
        let kernel = if self.ignores_case { ilike } else { like };
        apply(text, pattern, |text, pattern| Ok(Arc::new(kernel(text, pattern)?)))
    }
}

/// The condition of a join, which fails once the statement must end: a join may evaluate it for ever without giving a
/// batch.
///
/// # Errors
/// It is no condition.
pub(crate) fn checked(filter: &JoinFilter) -> Result<JoinFilter> {
    let held = Arc::new(ScalarUDF::from(Held::new()));
    let (condition, schema) = (Arc::clone(filter.expression()), filter.schema());
    let condition = ScalarFunctionExpr::try_new(held, vec![condition], schema, Arc::default())?;
    Ok(JoinFilter::new(Arc::new(condition), filter.column_indices().to_vec(), Arc::clone(schema)))
}

/// Gives its argument back, and charges its bytes to the operator at work, unless all values of its type have the same.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Held {
    signature: Signature,
}

impl Held {
    fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Held {
    fn name(&self) -> &'static str {
        "held"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().cloned().ok_or_else(|| DataFusionError::Plan("held takes a value".to_owned()))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = args.arg_fields.first().map(Arc::clone);
        field.ok_or_else(|| DataFusionError::Plan("held takes a value".to_owned()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        check_current()?;
        let value = args.args.into_iter().next();
        let value = value.ok_or_else(|| DataFusionError::Plan("held takes a value".to_owned()))?;
        if let Some(account) = Account::current().filter(|_| width::varies(&value.data_type())) {
            account.charge(size(&value))?;
        }
        Ok(value)
    }
}
