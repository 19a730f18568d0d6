//! Names of answer columns without an alias: the text of the expression, for instance `sum(lag)`.

use std::{collections::BTreeMap, ops::ControlFlow};

use datafusion::sql::{
    parser::Statement as Parsed,
    sqlparser::ast::{Expr, Ident, Select, SelectItem, VisitMut as _, VisitorMut},
};

/// Maximum characters of a name.
const MAX_CHARACTERS: usize = 64;

/// Adds an alias to the unnamed columns of each SELECT. DataFusion's own names expose its plan: `sum(lag.lag)`,
/// `Int64(1)`.
pub(super) fn name_columns(parsed: &mut Parsed) {
    if let Parsed::Statement(statement) = parsed {
        // The visitor never breaks.
        let _ = statement.visit(&mut NameColumns);
    }
}

/// The visitor that names the columns of every SELECT.
struct NameColumns;

impl VisitorMut for NameColumns {
    type Break = ();

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        name_projection(&mut select.projection);
        ControlFlow::Continue(())
    }
}

/// Names the columns of one SELECT.
fn name_projection(items: &mut [SelectItem]) {
    let names: Vec<Option<String>> = items.iter().map(expression_text).collect();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names.iter().flatten() {
        *times.entry(name).or_default() += 1;
    }
    for (item, name) in items.iter_mut().zip(&names) {
        // Columns with the same text keep DataFusion's names, which are distinct, or which DataFusion rejects.
        let Some(name) = name.as_deref().filter(|name| times.get(name) == Some(&1)) else { continue };
        if let SelectItem::UnnamedExpr(expr) = item {
            let alias = Ident::with_quote('"', name);
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// Returns the name of an expression without an alias; `None` for a column, which has a name.
fn expression_text(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => None,
        SelectItem::UnnamedExpr(expr) => {
            let text = expr.to_string();
            // `unnest` may expand to several columns.
            if text.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("unnest(")) {
                return None;
            }
            let mut short: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
            if let Some((end, _)) = short.char_indices().nth(MAX_CHARACTERS) {
                short = short.get(..end)?.to_owned();
            }
            Some(short)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
