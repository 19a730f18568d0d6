//! IN and EXISTS that are a part of a condition, as beside OR, or a value. DataFusion joins such a subquery to mark rows
//! by it; where that is a UNION it loses rows, or refuses for names that nobody wrote. A wrong answer is worse than none.

use datafusion::{
    common::{Result, tree_node::TreeNode as _, tree_node::TreeNodeRecursion},
    logical_expr::{Expr, LogicalPlan, logical_plan::Subquery, utils::split_conjunction},
};

use super::super::error::SqlError;

/// Refuses a step of a plan that has one with a UNION.
pub(crate) fn check(step: &LogicalPlan) -> Result<()> {
    let is_filter = matches!(step, LogicalPlan::Filter(_));
    step.apply_expressions(|expression| {
        // A condition of its own is a join that keeps rows, or leaves them out: there is nothing wrong with those.
        let parts = if is_filter { split_conjunction(expression) } else { vec![expression] };
        for part in parts.into_iter().filter(|part| !(is_filter && is_whole(part))) {
            part.apply(|inner| match subquery(inner).map(|subquery| has_union(&subquery.subquery)).transpose()? {
                Some(true) => Err(refusal()),
                _ => Ok(TreeNodeRecursion::Continue),
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn refusal() -> datafusion::common::DataFusionError {
    let text =
        "IN and EXISTS beside OR, or as a value, take no UNION: write one for each of its parts, with OR between them";
    SqlError::Invalid(text.to_owned()).into_datafusion()
}

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
