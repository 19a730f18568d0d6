//! `queries`: the statements of the operator.

use super::{Columns, Flow, ScanPredicate, Table, Unit, UnitKind};
use crate::config::NamedQuery;

pub(super) struct Queries;

impl Table for Queries {
    type Row<'a> = &'a NamedQuery;
    const NAME: &'static str = "queries";
    const COMMENT: &'static str =
        "Statements that the operator offers, one per section [queries.NAME] of the configuration";
    const UNIT: UnitKind = UnitKind::Server;
    const SHOWS_UNLOADED: bool = true;

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("name", "Name of the section", |query| &query.name)
            .text("statement", "SQL statement", |query| &query.statement)
            .optional_text("description", "Meaning of its rows; NULL if the operator gave none", |query| {
                (!query.description.is_empty()).then_some(&*query.description)
            })
    }

    fn rows<'a>(unit: Unit<'a>, _: &'a ScanPredicate, take: impl FnMut(Self::Row<'a>) -> Flow) -> Flow {
        unit.cut.config.queries.iter().try_for_each(take)
    }

    fn count(unit: Unit<'_>) -> Option<usize> {
        Some(unit.cut.config.queries.len())
    }
}
