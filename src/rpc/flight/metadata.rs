//! What clients ask about the tables: catalogs, schemas, tables, keys.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
};
use arrow_flight::{
    error::FlightError,
    sql::{
        CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys,
        CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
        CommandGetXdbcTypeInfo, ProstMessageExt,
    },
};

use super::info;
use crate::sql::{CATALOG, COMMENT, Engine, SCHEMA, TableDescription};

const TABLE: &str = "TABLE";
const VIEW: &str = "VIEW";

/// A command about the tables.
pub(super) trait Lookup: ProstMessageExt + Clone {
    /// All of its answer.
    fn rows(self, engine: &Engine) -> Result<RecordBatch, FlightError>;
}

impl Lookup for CommandGetCatalogs {
    fn rows(self, _: &Engine) -> Result<RecordBatch, FlightError> {
        let mut catalogs = self.into_builder();
        catalogs.append(CATALOG);
        catalogs.build()
    }
}

impl Lookup for CommandGetDbSchemas {
    fn rows(self, _: &Engine) -> Result<RecordBatch, FlightError> {
        let mut schemas = self.into_builder();
        schemas.append(CATALOG, SCHEMA);
        schemas.build()
    }
}

impl Lookup for CommandGetTables {
    fn rows(mut self, engine: &Engine) -> Result<RecordBatch, FlightError> {
        // Grafana's sources ask for the name of other systems.
        for kind in &mut self.table_types {
            if kind.eq_ignore_ascii_case(TABLE) || kind.eq_ignore_ascii_case("BASE TABLE") {
                TABLE.clone_into(kind);
            } else if kind.eq_ignore_ascii_case(VIEW) {
                VIEW.clone_into(kind);
            }
        }
        let mut tables = self.into_builder();
        for table in engine.tables() {
            let kind = if table.is_view { VIEW } else { TABLE };
            tables.append(CATALOG, SCHEMA, table.name, kind, &described(&table))?;
        }
        tables.build()
    }
}

impl Lookup for CommandGetTableTypes {
    fn rows(self, _: &Engine) -> Result<RecordBatch, FlightError> {
        let mut types = self.into_builder();
        types.append(TABLE);
        types.append(VIEW);
        types.build()
    }
}

impl Lookup for CommandGetSqlInfo {
    fn rows(self, _: &Engine) -> Result<RecordBatch, FlightError> {
        self.into_builder(info::sql()?).build()
    }
}

impl Lookup for CommandGetXdbcTypeInfo {
    fn rows(self, _: &Engine) -> Result<RecordBatch, FlightError> {
        self.into_builder(info::types()?).build()
    }
}

impl Lookup for CommandGetPrimaryKeys {
    fn rows(self, _: &Engine) -> Result<RecordBatch, FlightError> {
        Ok(none([
            ("catalog_name", DataType::Utf8, true),
            ("db_schema_name", DataType::Utf8, true),
            ("table_name", DataType::Utf8, false),
            ("column_name", DataType::Utf8, false),
            ("key_name", DataType::Utf8, true),
            ("key_sequence", DataType::Int32, false),
        ]))
    }
}

macro_rules! foreign_keys {
    ($($command:ty),+) => {$(
        impl Lookup for $command {
            fn rows(self, _: &Engine) -> Result<RecordBatch, FlightError> {
                Ok(foreign_keys())
            }
        }
    )+};
}

foreign_keys!(CommandGetExportedKeys, CommandGetImportedKeys, CommandGetCrossReference);

/// Tables have no foreign keys.
fn foreign_keys() -> RecordBatch {
    none([
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

/// No rows, in the columns that `FlightSql.proto` gives the command.
fn none<const N: usize>(columns: [(&str, DataType, bool); N]) -> RecordBatch {
    let fields = columns.map(|(name, kind, nullable)| Field::new(name, kind, nullable));
    RecordBatch::new_empty(Arc::new(Schema::new(fields.to_vec())))
}

/// A table's schema with its comments where clients look for them (`FlightSqlColumnMetadata` of
/// arrow-java).
fn described(table: &TableDescription) -> Schema {
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

/// Words for a failure that only a bug makes.
pub(super) fn bug(error: &FlightError) -> crate::error::Error {
    match error {
        // A pattern that a client made up.
        FlightError::Arrow(ArrowError::InvalidArgumentError(text) | ArrowError::ComputeError(text)) => {
            crate::error::Error::Invalid(text.clone())
        }
        other => crate::error::Error::internal(&other.to_string()),
    }
}
