//! `columns`: what every column of every table means.

use std::sync::Arc;

use arrow::datatypes::FieldRef;

use super::super::{
    table::{AnyTable, By, COMMENT, Columns, Table, Unit},
    wanted::Wanted,
};

pub(super) struct ColumnsTable;

pub(super) struct Row {
    table: Arc<dyn AnyTable>,
    position: i32,
    name: String,
    data_type: String,
    nullable: bool,
    comment: String,
}

impl Table for ColumnsTable {
    type Row<'a> = Row;
    const NAME: &'static str = "columns";
    const COMMENT: &'static str = "One row per column of every table, with its meaning";
    const BY: By = By::Server;
    const SHOWS_UNLOADED: bool = true;

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("table_name", "Table", |row| row.table.name())
            .text("table_comment", "What a row of the table is", |row| row.table.comment())
            .int32("position", "Position of the column in the table, from 1", |row| row.position)
            .text("column_name", "Column", |row| &row.name)
            .text("data_type", "Arrow's name of the type", |row| &row.data_type)
            .boolean("nullable", "Whether the column may be NULL, which is unknown or none", |row| row.nullable)
            .text("comment", "What the column means, with its unit", |row| &row.comment)
    }

    fn rows<'a>(_: Unit<'a>, _: &'a Wanted) -> impl Iterator<Item = Row> + Send {
        super::all().into_iter().flat_map(|table| {
            let row = |(field, position): (&FieldRef, i32)| Row {
                table: Arc::clone(&table),
                position,
                name: field.name().clone(),
                data_type: field.data_type().to_string(),
                nullable: field.is_nullable(),
                comment: field.metadata().get(COMMENT).cloned().unwrap_or_default(),
            };
            table.schema().fields().iter().zip(1..).map(row).collect::<Vec<_>>()
        })
    }

    fn count(_: Unit<'_>) -> Option<usize> {
        Some(super::all().iter().map(|table| table.schema().fields().len()).sum())
    }
}
