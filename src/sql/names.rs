//! Names of columns that a statement does not name: their text in the statement, as `sum(lag)`.

use std::{collections::BTreeMap, ops::ControlFlow};

use datafusion::sql::{
    parser::Statement as Parsed,
    sqlparser::ast::{Expr, Ident, Query, SelectItem, SetExpr, VisitMut as _, VisitorMut},
};

/// Characters of a name.
const LONGEST: usize = 64;

/// Names the columns of each SELECT. The engine's own names show how it plans: `sum(lag.lag)`, `Int64(1)`.
pub(super) fn name_columns(parsed: &mut Parsed) {
    if let Parsed::Statement(statement) = parsed {
        // It never breaks.
        let _ = statement.visit(&mut Names);
    }
}

struct Names;

impl VisitorMut for Names {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        body(&mut query.body);
        ControlFlow::Continue(())
    }
}

fn body(set: &mut SetExpr) {
    match set {
        SetExpr::Select(select) => name(&mut select.projection),
        SetExpr::SetOperation { left, right, .. } => {
            body(left);
            body(right);
        }
        // A query is visited itself.
        _ => {}
    }
}

fn name(items: &mut [SelectItem]) {
    let names: Vec<Option<String>> = items.iter().map(text).collect();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names.iter().flatten() {
        *times.entry(name).or_default() += 1;
    }
    for (item, name) in items.iter_mut().zip(&names) {
        // Columns of the same name keep the engine's names, which tell them apart or are refused.
        let Some(name) = name.as_deref().filter(|name| times.get(name) == Some(&1)) else { continue };
        if let SelectItem::UnnamedExpr(expr) = item {
            let alias = Ident::with_quote('"', name);
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// The name of an expression that has none; a column has one.
fn text(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => None,
        SelectItem::UnnamedExpr(expr) => {
            let text = expr.to_string();
            // It may become several columns.
            if text.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("unnest(")) {
                return None;
            }
            let mut short: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
            if let Some((end, _)) = short.char_indices().nth(LONGEST) {
                short = short.get(..end)?.to_owned();
            }
            Some(short)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
