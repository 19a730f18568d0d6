//! What a statement's conditions let a table skip.

use std::{collections::HashSet, sync::Arc};

use datafusion::{
    common::ScalarValue,
    physical_expr::{
        PhysicalExpr,
        utils::{Guarantee, LiteralGuarantee},
    },
};

/// Names that a row must have to be of interest. A table may visit others; DataFusion filters.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) clusters: Names,
    pub(super) groups: Names,
    pub(super) topics: Names,
}

/// A set of names, or any.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Option<HashSet<String>>);

impl Names {
    pub(super) fn includes(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(name))
    }

    /// The names, when only some are of interest.
    pub(super) fn list(&self) -> Option<impl Iterator<Item = &str>> {
        self.0.as_ref().map(|names| names.iter().map(String::as_str))
    }

    fn restrict(&mut self, names: HashSet<String>) {
        self.0 = Some(match self.0.take() {
            None => names,
            Some(before) => before.intersection(&names).cloned().collect(),
        });
    }
}

impl Wanted {
    /// What the conjunction of `filters` guarantees, however its conditions are spelt.
    pub(super) fn new(filters: &[Arc<dyn PhysicalExpr>]) -> Self {
        let mut wanted = Self::default();
        let guarantees = filters.iter().flat_map(LiteralGuarantee::analyze);
        for guarantee in guarantees.filter(|guarantee| guarantee.guarantee == Guarantee::In) {
            let names: Option<HashSet<String>> = guarantee.literals.iter().map(text).collect();
            let Some(names) = names else { continue };
            match guarantee.column.name() {
                "cluster" => wanted.clusters.restrict(names),
                "group_id" => wanted.groups.restrict(names),
                "topic" => wanted.topics.restrict(names),
                _ => {}
            }
        }
        wanted
    }

    /// For EXPLAIN: empty when everything is wanted.
    pub(super) fn describe(&self) -> String {
        let part = |label: &str, names: &Names| {
            let names = names.0.as_ref()?;
            let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
            names.sort_unstable();
            Some(format!(", {label}=[{}]", names.join(", ")))
        };
        [("clusters", &self.clusters), ("groups", &self.groups), ("topics", &self.topics)]
            .iter()
            .filter_map(|(label, names)| part(label, names))
            .collect()
    }

    /// Nothing is left out.
    pub(super) fn is_everything(&self) -> bool {
        self.clusters.0.is_none() && self.groups.0.is_none() && self.topics.0.is_none()
    }
}

fn text(value: &ScalarValue) -> Option<String> {
    match value.try_as_str() {
        Some(Some(text)) => Some(text.to_owned()),
        _ => None,
    }
}
