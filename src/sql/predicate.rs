//! The scan predicate: which rows of a table the conditions of a statement can match.
//!
//! It only prunes: rows outside of it cannot match. DataFusion evaluates the complete conditions on the remaining rows.

use std::{collections::BTreeSet, ops::RangeInclusive, sync::Arc};

use datafusion::{
    common::ScalarValue,
    logical_expr::Operator,
    physical_expr::{
        PhysicalExpr,
        expressions::{BinaryExpr, Column, InListExpr, LikeExpr, Literal},
        split_conjunction,
        utils::{Guarantee, LiteralGuarantee},
    },
};

use crate::model::{Millis, Name};

/// The time column of samples; conditions on it limit the samples that are read.
pub(super) const SAMPLED_AT: &str = "sampled_at";

/// The rows and columns of a table that a statement needs.
#[derive(Clone, Debug, Default)]
pub(super) struct ScanPredicate {
    pub(super) clusters: NameSet,
    pub(super) groups: NameSet,
    pub(super) topics: NameSet,
    partitions: Option<BTreeSet<i32>>,
    /// Bounds of [`SAMPLED_AT`], both inclusive.
    times: Option<(Millis, Millis)>,
    /// The columns that the statement uses.
    columns: BTreeSet<String>,
    /// Whether rows must be returned in the table's order.
    pub(super) sorted: bool,
    /// Whether the conditions only name clusters and groups.
    names_only_units: bool,
}

/// A set of names: all, some, or those with a prefix.
#[derive(Clone, Debug, Default)]
pub(super) struct NameSet {
    listed: Option<BTreeSet<String>>,
    prefix: String,
}

impl NameSet {
    pub(super) fn includes(&self, name: &str) -> bool {
        self.listed.as_ref().is_none_or(|names| names.contains(name)) && name.starts_with(&self.prefix)
    }

    /// Returns which names of a list match; `None` if all do.
    pub(super) fn mask<'a>(&self, names: impl Iterator<Item = &'a Name>) -> Option<Vec<bool>> {
        (!self.is_any()).then(|| names.map(|name| self.includes(name)).collect())
    }

    /// Returns the named names in order; `None` if names are not enumerated.
    pub(super) fn list(&self) -> Option<impl Iterator<Item = &str>> {
        let names = self.listed.as_ref()?;
        Some(names.iter().map(String::as_str).filter(|name| name.starts_with(&self.prefix)))
    }

    /// Returns the prefix of every matching name; empty if there is none.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns whether exactly one name can match.
    fn has_one_value(&self) -> bool {
        self.listed.as_ref().is_some_and(|names| names.len() == 1)
    }

    /// Returns whether every name matches.
    pub(super) fn is_any(&self) -> bool {
        self.listed.is_none() && self.prefix.is_empty()
    }

    fn restrict(&mut self, names: BTreeSet<String>) {
        restrict(&mut self.listed, names);
    }

    fn restrict_prefix(&mut self, prefix: &str) {
        if prefix.starts_with(&self.prefix) {
            prefix.clone_into(&mut self.prefix);
        } else if !self.prefix.starts_with(prefix) {
            // No name starts with both prefixes.
            self.restrict(BTreeSet::new());
        }
    }

    fn describe(&self, label: &str) -> String {
        let mut text = String::new();
        if let Some(names) = &self.listed {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            text = format!(", {label}=[{}]", names.join(", "));
        }
        if !self.prefix.is_empty() {
            text = format!("{text}, {label}=[{}…]", self.prefix);
        }
        text
    }
}

impl ScanPredicate {
    /// Returns what the conjunction of `filters` guarantees, however the conditions are written. `columns` are the
    /// columns that the statement uses.
    pub(super) fn new(filters: &[Arc<dyn PhysicalExpr>], columns: BTreeSet<String>) -> Self {
        let mut predicate = Self { columns, ..Self::default() };
        for guarantee in filters.iter().flat_map(LiteralGuarantee::analyze) {
            if guarantee.guarantee == Guarantee::In {
                predicate.restrict(guarantee.column.name(), &guarantee.literals.into_iter().collect::<Vec<_>>());
            }
        }
        let conditions = filters.iter().flat_map(split_conjunction);
        // The scan is exact for such conditions, so DataFusion does not evaluate them again.
        let is_known = |names: &NameSet| names.listed.is_some();
        predicate.names_only_units = conditions.clone().all(|condition| match unit_column(condition) {
            Some("cluster") => is_known(&predicate.clusters),
            Some(_) => is_known(&predicate.groups),
            None => false,
        });
        for condition in conditions {
            if let Some((column, prefix)) = prefix(condition)
                && let Some(names) = predicate.names(column)
            {
                names.restrict_prefix(&prefix);
            }
            if let Some((operator, at)) = time_bound(condition) {
                predicate.restrict_times(operator, at);
            }
        }
        predicate
    }

    fn names(&mut self, column: &str) -> Option<&mut NameSet> {
        match column {
            "cluster" => Some(&mut self.clusters),
            "group_id" => Some(&mut self.groups),
            "topic" => Some(&mut self.topics),
            _ => None,
        }
    }

    fn restrict(&mut self, column: &str, literals: &[ScalarValue]) {
        if let Some(names) = self.names(column) {
            if let Some(literals) = literals.iter().map(text).collect() {
                names.restrict(literals);
            }
        } else if column == "partition"
            && let Some(literals) = literals.iter().map(|literal| i32::try_from(literal.clone()).ok()).collect()
        {
            restrict(&mut self.partitions, literals);
        }
    }

    fn restrict_times(&mut self, operator: Operator, at: Millis) {
        let (from, to) = self.times.get_or_insert((Millis::MIN, Millis::MAX));
        if matches!(operator, Operator::Gt | Operator::GtEq | Operator::Eq) {
            *from = (*from).max(at);
        }
        if matches!(operator, Operator::Lt | Operator::LtEq | Operator::Eq) {
            *to = (*to).min(at);
        }
    }

    /// Returns the time range of the samples that may match.
    pub(super) fn times(&self) -> RangeInclusive<Millis> {
        let (from, to) = self.times.unwrap_or((Millis::MIN, Millis::MAX));
        from..=to
    }

    /// Returns whether a partition of a topic may match.
    pub(super) fn has_partition(&self, partition: i32) -> bool {
        self.partitions.as_ref().is_none_or(|partitions| partitions.contains(&partition))
    }

    /// Returns whether the statement uses any of the columns.
    pub(super) fn needs(&self, columns: &[&str]) -> bool {
        columns.iter().any(|column| self.columns.contains(*column))
    }

    /// Returns whether a column can have only one value.
    pub(super) fn has_one_value(&self, column: &str) -> bool {
        match column {
            "cluster" => self.clusters.has_one_value(),
            "group_id" => self.groups.has_one_value(),
            "topic" => self.topics.has_one_value(),
            "partition" => self.partitions.as_ref().is_some_and(|partitions| partitions.len() == 1),
            _ => false,
        }
    }

    /// Returns whether all rows of the named units match. `by_group`: units are groups, otherwise clusters.
    pub(super) fn selects_whole_units(&self, by_group: bool) -> bool {
        self.names_only_units && (by_group || self.groups.is_any())
    }

    /// Describes the predicate for EXPLAIN; empty if every row matches.
    pub(super) fn describe(&self) -> String {
        let mut text = self.clusters.describe("clusters");
        text.push_str(&self.groups.describe("groups"));
        text.push_str(&self.topics.describe("topics"));
        if let Some(partitions) = &self.partitions {
            let partitions: Vec<String> = partitions.iter().map(i32::to_string).collect();
            text = format!("{text}, partitions=[{}]", partitions.join(", "));
        }
        text
    }
}

/// Intersects the known values with others.
fn restrict<T: Ord>(known: &mut Option<BTreeSet<T>>, mut values: BTreeSet<T>) {
    if let Some(before) = known {
        values.retain(|value| before.contains(value));
    }
    *known = Some(values);
}

fn text(value: &ScalarValue) -> Option<String> {
    value.try_as_str().flatten().map(str::to_owned)
}

fn column(expression: &Arc<dyn PhysicalExpr>) -> Option<&str> {
    expression.downcast_ref::<Column>().map(Column::name)
}

fn literal(expression: &Arc<dyn PhysicalExpr>) -> Option<&ScalarValue> {
    expression.downcast_ref::<Literal>().map(Literal::value)
}

/// Returns the column of a condition that only names clusters or groups.
fn unit_column(condition: &Arc<dyn PhysicalExpr>) -> Option<&str> {
    let is_text = |expression| literal(expression).and_then(text).is_some();
    let name = if let Some(list) = condition.downcast_ref::<InListExpr>() {
        (!list.negated() && list.list().iter().all(is_text)).then(|| column(list.expr()))?
    } else {
        let binary = condition.downcast_ref::<BinaryExpr>()?;
        match binary.op() {
            Operator::Eq if is_text(binary.right()) => column(binary.left()),
            // DataFusion turns a short IN list into alternatives.
            Operator::Or => unit_column(binary.left()).filter(|left| unit_column(binary.right()) == Some(*left)),
            _ => None,
        }
    };
    name.filter(|name| matches!(*name, "cluster" | "group_id"))
}

/// Returns the operator and the constant of a condition that compares [`SAMPLED_AT`] with a constant, as if the
/// constant were on the right. Samples have whole milliseconds.
fn time_bound(condition: &Arc<dyn PhysicalExpr>) -> Option<(Operator, Millis)> {
    let binary = condition.downcast_ref::<BinaryExpr>()?;
    let (operator, other) = if column(binary.left()) == Some(SAMPLED_AT) {
        (*binary.op(), binary.right())
    } else if column(binary.right()) == Some(SAMPLED_AT) {
        (binary.op().swap()?, binary.left())
    } else {
        return None;
    };
    match literal(other)? {
        ScalarValue::TimestampNanosecond(Some(nanos), _) => Some((operator, nanos.div_euclid(1_000_000))),
        _ => None,
    }
}

/// Returns the column and the prefix of `column LIKE 'prefix%…'`.
fn prefix(condition: &Arc<dyn PhysicalExpr>) -> Option<(&str, String)> {
    let like = condition.downcast_ref::<LikeExpr>().filter(|like| !like.negated() && !like.case_insensitive())?;
    let pattern = literal(like.pattern()).and_then(text)?;
    let mut prefix = String::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' | '_' => break,
            '\\' => prefix.push(characters.next()?),
            character => prefix.push(character),
        }
    }
    Some((column(like.expr())?, prefix))
}

#[cfg(test)]
mod tests;
