//! `columns`: what every column of every table and view means.

use arrow::datatypes::FieldRef;

use super::{super::table::COMMENT, By, Columns, Flow, Table, TableDescription, Unit, Wanted, described};

pub(super) struct ColumnsTable;

pub(super) struct Row {
    table: TableDescription,
    position: i32,
    name: String,
    data_type: String,
    nullable: bool,
    comment: String,
}

impl Table for ColumnsTable {
    type Row<'a> = Row;
    const NAME: &'static str = "columns";
    const COMMENT: &'static str = "One row per column of every table and view, with its meaning";
    const BY: By = By::Server;
    const SHOWS_UNLOADED: bool = true;

    fn columns() -> Columns<Self> {
        Columns::<Self>::default()
            .text("table_name", "Table or view", |row| row.table.name)
            .text("table_comment", "What a row of the table is", |row| row.table.comment)
            .int32("position", "Position of the column in the table, from 1", |row| row.position)
            .text("column_name", "Column", |row| &row.name)
            .text("data_type", "Arrow's name of the type", |row| &row.data_type)
            .boolean("nullable", "Whether the column may be NULL, which is unknown or none", |row| row.nullable)
            .text("comment", "What the column means, with its unit", |row| &row.comment)
    }

    fn rows<'a>(_: Unit<'a>, _: &'a Wanted, take: impl FnMut(Self::Row<'a>) -> Flow) -> Flow {
        described()
            .into_iter()
            .flat_map(|table| {
                let row = |(field, position): (&FieldRef, i32)| Row {
                    table: table.clone(),
                    position,
                    name: field.name().clone(),
                    data_type: field.data_type().to_string(),
                    nullable: field.is_nullable(),
                    comment: field.metadata().get(COMMENT).cloned().unwrap_or_default(),
                };
                table.schema.fields().iter().zip(1..).map(row).collect::<Vec<_>>()
            })
            .try_for_each(take)
    }

    fn count(_: Unit<'_>) -> Option<usize> {
        Some(described().iter().map(|table| table.schema.fields().len()).sum())
    }
}
