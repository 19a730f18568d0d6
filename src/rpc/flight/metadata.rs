//! Flight SQL metadata: catalogs, schemas, tables and keys.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
};
use arrow_flight::{
    error::FlightError,
    sql::{Command, CommandGetTables},
};

use super::info;
use crate::{
    error::Error,
    sql::{CATALOG, COMMENT, Engine, SCHEMA, TableDescription},
};

const TABLE: &str = "TABLE";
const VIEW: &str = "VIEW";

/// Returns all rows of the response to a metadata command; `None` for other commands.
pub(super) fn rows(command: Command, engine: &Engine) -> Result<Option<RecordBatch>, FlightError> {
    let rows = match command {
        Command::CommandGetCatalogs(command) => {
            let mut catalogs = command.into_builder();
            catalogs.append(CATALOG);
            catalogs.build()
        }
        Command::CommandGetDbSchemas(command) => {
            let mut schemas = command.into_builder();
            schemas.append(CATALOG, SCHEMA);
            schemas.build()
        }
        Command::CommandGetTables(command) => tables(command, engine),
        Command::CommandGetTableTypes(command) => {
            let mut types = command.into_builder();
            types.append(TABLE);
            types.append(VIEW);
            types.build()
        }
        Command::CommandGetSqlInfo(command) => command.into_builder(info::sql()?).build(),
        Command::CommandGetXdbcTypeInfo(command) => command.into_builder(info::types()?).build(),
        Command::CommandGetPrimaryKeys(_) => Ok(primary_keys()),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => Ok(foreign_keys()),
        _ => return Ok(None),
    };
    rows.map(Some)
}

fn tables(mut command: CommandGetTables, engine: &Engine) -> Result<RecordBatch, FlightError> {
    // Grafana's data sources request the type name of other systems.
    for kind in &mut command.table_types {
        if kind.eq_ignore_ascii_case(TABLE) || kind.eq_ignore_ascii_case("BASE TABLE") {
            TABLE.clone_into(kind);
        } else if kind.eq_ignore_ascii_case(VIEW) {
            VIEW.clone_into(kind);
        }
    }
    let mut tables = command.into_builder();
    for table in engine.tables() {
        let kind = if table.is_view { VIEW } else { TABLE };
        tables.append(CATALOG, SCHEMA, table.name, kind, &annotated_schema(&table))?;
    }
    tables.build()
}

/// Returns an empty list, because tables have no primary keys.
fn primary_keys() -> RecordBatch {
    empty_rows([
        ("catalog_name", DataType::Utf8, true),
        ("db_schema_name", DataType::Utf8, true),
        ("table_name", DataType::Utf8, false),
        ("column_name", DataType::Utf8, false),
        ("key_name", DataType::Utf8, true),
        ("key_sequence", DataType::Int32, false),
    ])
}

/// Returns an empty list, because tables have no foreign keys.
fn foreign_keys() -> RecordBatch {
    empty_rows([
        ("pk_catalog_name", DataType::Utf8, true),
        ("pk_db_schema_name", DataType::Utf8, true),
        ("pk_table_name", DataType::Utf8, false),
        ("pk_column_name", DataType::Utf8, false),
        ("fk_catalog_name", DataType::Utf8, true),
        ("fk_db_schema_name", DataType::Utf8, true),
        ("fk_table_name", DataType::Utf8, false),
        ("fk_column_name", DataType::Utf8, false),
        ("key_sequence", DataType::Int32, false),
        ("fk_key_name", DataType::Utf8, true),
        ("pk_key_name", DataType::Utf8, true),
        ("update_rule", DataType::UInt8, false),
        ("delete_rule", DataType::UInt8, false),
    ])
}

/// Returns no rows, with the columns that `FlightSql.proto` defines for the command.
fn empty_rows<const N: usize>(columns: [(&str, DataType, bool); N]) -> RecordBatch {
    let fields = columns.map(|(name, kind, nullable)| Field::new(name, kind, nullable));
    RecordBatch::new_empty(Arc::new(Schema::new(fields.to_vec())))
}

/// Returns a table's schema with comments in the metadata keys that clients read (`FlightSqlColumnMetadata` of
/// arrow-java).
fn annotated_schema(table: &TableDescription) -> Schema {
    let field = |field: &Arc<Field>| {
        let mut metadata = field.metadata().clone();
        let comment = metadata.get(COMMENT).cloned().unwrap_or_default();
        let keys = [
            ("CATALOG_NAME", CATALOG),
            ("SCHEMA_NAME", SCHEMA),
            ("TABLE_NAME", table.name),
            ("TYPE_NAME", info::type_name(field.data_type())),
            ("IS_AUTO_INCREMENT", "0"),
            ("IS_CASE_SENSITIVE", "1"),
            ("IS_READ_ONLY", "1"),
            ("IS_SEARCHABLE", "1"),
            ("REMARKS", &comment),
        ];
        metadata.extend(keys.map(|(key, value)| (format!("ARROW:FLIGHT:SQL:{key}"), value.to_owned())));
        field.as_ref().clone().with_metadata(metadata)
    };
    let fields: Vec<_> = table.schema.fields().iter().map(field).collect();
    let remarks = |key: &str| (key.to_owned(), table.comment.to_owned());
    Schema::new(fields).with_metadata(HashMap::from([remarks(COMMENT), remarks("ARROW:FLIGHT:SQL:REMARKS")]))
}

/// Returns the error for a failure of a metadata command. It is a bug, except for an invalid pattern.
pub(super) fn error_of(error: &FlightError) -> Error {
    match error {
        // The client sent an invalid pattern.
        FlightError::Arrow(ArrowError::InvalidArgumentError(text) | ArrowError::ComputeError(text)) => {
            Error::Invalid(text.clone())
        }
        other => Error::internal(&other.to_string()),
    }
}
