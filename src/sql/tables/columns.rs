//! `columns`: one row per column of every table and view, with its meaning.

use arrow::datatypes::FieldRef;

use super::{
    super::table::COMMENT, Columns, DESCRIPTIONS, Flow, ScanPredicate, Table, TableDescription, Unit, UnitKind,
};

pub(super) struct ColumnsTable;

pub(super) struct Row {
    table: &'static TableDescription,
    field: &'static FieldRef,
    position: i32,
    data_type: String,
}

impl Table for ColumnsTable {
    type Row<'a> = Row;
    const NAME: &'static str = "columns";
    const COMMENT: &'static str = "One row per column of every table and view, with its meaning";
    const UNIT: UnitKind = UnitKind::Server;
    const SHOWS_UNLOADED: bool = true;

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("table_name", "Name of the table or view", |row| row.table.name)
            .text("table_comment", "Meaning of a row of the table", |row| row.table.comment)
            .int32("position", "Position of the column in the table, from 1", |row| row.position)
            .text("column_name", "Name of the column", |row| row.field.name())
            .text("data_type", "Arrow name of the type", |row| &row.data_type)
            .boolean("nullable", "Whether the column may be NULL, which means unknown or none", |row| {
                row.field.is_nullable()
            })
            .text("comment", "Meaning of the column, with its unit", |row| {
                row.field.metadata().get(COMMENT).map(String::as_str).unwrap_or_default()
            })
    }

    fn rows<'a>(_: Unit<'a>, _: &'a ScanPredicate, take: impl FnMut(Self::Row<'a>) -> Flow) -> Flow {
        let of_table = |table: &'static TableDescription| {
            let fields = table.schema.fields().iter().zip(1..);
            fields.map(move |(field, position)| Row {
                table,
                field,
                position,
                data_type: field.data_type().to_string(),
            })
        };
        DESCRIPTIONS.get().into_iter().flatten().flat_map(of_table).try_for_each(take)
    }

    fn count(_: Unit<'_>) -> Option<usize> {
        Some(DESCRIPTIONS.get().into_iter().flatten().map(|table| table.schema.fields().len()).sum())
    }
}
