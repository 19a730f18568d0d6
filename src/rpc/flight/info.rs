//! Capabilities (`SqlInfo`) and data types of the Flight SQL server. Both responses are fixed.

use std::collections::HashMap;

use arrow::datatypes::DataType;
use arrow_flight::{
    error::FlightError,
    sql::{
        Nullable, Searchable, SqlInfo as I, SqlNullOrdering, SqlOuterJoinsSupportLevel, SqlSupportedCaseSensitivity,
        SqlSupportedGroupBy, SqlSupportedSubqueries, SqlSupportedTransaction, SqlSupportedUnions,
        SqlSupportsConvert as Convert, SqlTransactionIsolationLevel, SupportedSqlGrammar, XdbcDataType as X,
        XdbcDatetimeSubcode,
        metadata::{SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder},
    },
};

use once_cell::sync::OnceCell;

use crate::sql::functions;

/// Keywords that DataFusion reserves in addition to SQL-92.
const KEYWORDS: &[&str] =
    &["ANTI", "EXCLUDE", "EXPLAIN", "ILIKE", "LATERAL", "LIMIT", "OFFSET", "OVER", "QUALIFY", "SEMI", "SHOW", "WINDOW"];

/// Returns the response to GetSqlInfo.
pub(super) fn sql() -> Result<&'static SqlInfoData, FlightError> {
    static INFO: OnceCell<SqlInfoData> = OnceCell::new();
    INFO.get_or_try_init(|| {
        let mut info = SqlInfoDataBuilder::new();
        [server, language, support, limits].into_iter().for_each(|append| append(&mut info));
        info.build()
    })
}

/// Returns a bitmask of enum values.
fn mask(values: &[i32]) -> i32 {
    values.iter().fold(0, |mask, value| mask | 1 << value)
}

fn server(info: &mut SqlInfoDataBuilder) {
    info.append(I::FlightSqlServerName, "offsetd");
    info.append(I::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(I::FlightSqlServerArrowVersion, "1.3");
    info.append(I::FlightSqlServerReadOnly, true);
    info.append(I::FlightSqlServerSql, true);
    info.append(I::FlightSqlServerSubstrait, false);
    info.append(I::FlightSqlServerSubstraitMinVersion, "");
    info.append(I::FlightSqlServerSubstraitMaxVersion, "");
    info.append(I::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    info.append(I::FlightSqlServerCancel, true);
    info.append(I::FlightSqlServerBulkIngestion, false);
    info.append(I::FlightSqlServerIngestTransactionsSupported, false);
    // 0 means no timeout: handles never expire, because the server keeps no state for them.
    info.append(I::FlightSqlServerStatementTimeout, 0_i32);
    info.append(I::FlightSqlServerTransactionTimeout, 0_i32);
}

fn language(info: &mut SqlInfoDataBuilder) {
    for refused in [I::SqlDdlCatalog, I::SqlDdlSchema, I::SqlDdlTable] {
        info.append(refused, false);
    }
    info.append(I::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i64);
    info.append(I::SqlIdentifierQuoteChar, "\"");
    info.append(I::SqlQuotedIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i64);
    info.append(I::SqlAllTablesAreSelectable, true);
    info.append(I::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedAtEnd as i64);
    info.append(I::SqlKeywords, KEYWORDS);
    info.append(I::SqlNumericFunctions, functions::names(functions::NUMBERS).as_slice());
    info.append(I::SqlStringFunctions, functions::text().as_slice());
    info.append(I::SqlSystemFunctions, functions::names(functions::OTHERS).as_slice());
    info.append(I::SqlDatetimeFunctions, functions::names(functions::TIMES).as_slice());
    info.append(I::SqlSearchStringEscape, "\\");
    info.append(I::SqlExtraNameCharacters, "");
    info.append(I::SqlSchemaTerm, "schema");
    info.append(I::SqlProcedureTerm, "procedure");
    info.append(I::SqlCatalogTerm, "catalog");
    info.append(I::SqlCatalogAtStart, true);
}

fn support(info: &mut SqlInfoDataBuilder) {
    for yes in [
        I::SqlSupportsColumnAliasing,
        I::SqlNullPlusNullIsNull,
        I::SqlSupportsTableCorrelationNames,
        I::SqlSupportsExpressionsInOrderBy,
        I::SqlSupportsOrderByUnrelated,
        I::SqlSupportsLikeEscapeClause,
        I::SqlSupportsNonNullableColumns,
        I::SqlCorrelatedSubqueriesSupported,
    ] {
        info.append(yes, true);
    }
    for no in [
        I::SqlSupportsDifferentTableCorrelationNames,
        I::SqlSupportsIntegrityEnhancementFacility,
        I::SqlSelectForUpdateSupported,
        I::SqlStoredProceduresSupported,
        I::SqlMaxRowSizeIncludesBlobs,
        I::SqlTransactionsSupported,
        I::SqlDataDefinitionCausesTransactionCommit,
        I::SqlDataDefinitionsInTransactionsIgnored,
        I::SqlBatchUpdatesSupported,
        I::SqlSavepointsSupported,
        I::SqlNamedParametersSupported,
        I::SqlLocatorsUpdateCopy,
        I::SqlStoredFunctionsUsingCallSyntaxSupported,
    ] {
        info.append(no, false);
    }
    let simple = [Convert::SqlConvertBigint, Convert::SqlConvertInteger, Convert::SqlConvertVarchar].map(|c| c as i32);
    let casts: HashMap<i32, Vec<i32>> = simple.into_iter().map(|from| (from, simple.to_vec())).collect();
    info.append(I::SqlSupportsConvert, casts);
    let group_by = [SqlSupportedGroupBy::SqlGroupByUnrelated, SqlSupportedGroupBy::SqlGroupByBeyondSelect];
    info.append(I::SqlSupportedGroupBy, mask(&group_by.map(|kind| kind as i32)));
    let grammar = [SupportedSqlGrammar::SqlMinimumGrammar, SupportedSqlGrammar::SqlCoreGrammar];
    info.append(I::SqlSupportedGrammar, mask(&grammar.map(|kind| kind as i32)));
    // Entry level (SupportedAnsi92SqlGrammarLevel 0).
    info.append(I::SqlAnsi92SupportedLevel, mask(&[0]));
    let joins = [SqlOuterJoinsSupportLevel::SqlFullOuterJoins, SqlOuterJoinsSupportLevel::SqlLimitedOuterJoins];
    info.append(I::SqlOuterJoinsSupportLevel, mask(&joins.map(|kind| kind as i32)));
    // Schemas are supported in SELECT only, for which SqlSupportedElementActions has no value.
    info.append(I::SqlSchemasSupportedActions, 0_i32);
    info.append(I::SqlCatalogsSupportedActions, 0_i32);
    info.append(I::SqlSupportedPositionedCommands, 0_i32);
    let subqueries = [
        SqlSupportedSubqueries::SqlSubqueriesInComparisons,
        SqlSupportedSubqueries::SqlSubqueriesInExists,
        SqlSupportedSubqueries::SqlSubqueriesInIns,
    ];
    info.append(I::SqlSupportedSubqueries, mask(&subqueries.map(|kind| kind as i32)));
    let unions = [SqlSupportedUnions::SqlUnion, SqlSupportedUnions::SqlUnionAll];
    info.append(I::SqlSupportedUnions, mask(&unions.map(|kind| kind as i32)));
    let isolation = SqlTransactionIsolationLevel::SqlTransactionNone as i32;
    info.append(I::SqlDefaultTransactionIsolation, i64::from(isolation));
    info.append(I::SqlSupportedTransactionsIsolationLevels, mask(&[isolation]));
    // Forward only (SqlSupportedResultSetType 1), read only (SqlSupportedResultSetConcurrency 1).
    info.append(I::SqlSupportedResultSetTypes, mask(&[1]));
    info.append(I::SqlSupportedConcurrenciesForResultSetUnspecified, 0_i32);
    info.append(I::SqlSupportedConcurrenciesForResultSetForwardOnly, mask(&[1]));
    info.append(I::SqlSupportedConcurrenciesForResultSetScrollSensitive, 0_i32);
    info.append(I::SqlSupportedConcurrenciesForResultSetScrollInsensitive, 0_i32);
}

/// Appends the limits; 0 means that there is no limit or that it is unknown.
fn limits(info: &mut SqlInfoDataBuilder) {
    for unlimited in [
        I::SqlMaxBinaryLiteralLength,
        I::SqlMaxCharLiteralLength,
        I::SqlMaxColumnNameLength,
        I::SqlMaxColumnsInGroupBy,
        I::SqlMaxColumnsInIndex,
        I::SqlMaxColumnsInOrderBy,
        I::SqlMaxColumnsInSelect,
        I::SqlMaxColumnsInTable,
        I::SqlMaxConnections,
        I::SqlMaxCursorNameLength,
        I::SqlMaxIndexLength,
        I::SqlDbSchemaNameLength,
        I::SqlMaxProcedureNameLength,
        I::SqlMaxCatalogNameLength,
        I::SqlMaxRowSize,
        I::SqlMaxStatementLength,
        I::SqlMaxStatements,
        I::SqlMaxTableNameLength,
        I::SqlMaxTablesInSelect,
        I::SqlMaxUsernameLength,
    ] {
        info.append(unlimited, 0_i64);
    }
}

/// Returns the SQL name of a type.
pub(super) fn type_name(kind: &DataType) -> &'static str {
    match kind {
        DataType::Boolean => "BOOLEAN",
        DataType::Int32 => "INTEGER",
        DataType::Int64 => "BIGINT",
        DataType::Float64 => "DOUBLE",
        DataType::Timestamp(_, _) => "TIMESTAMP",
        DataType::List(_) => "ARRAY",
        _ => "VARCHAR",
    }
}

/// Returns the response to GetXdbcTypeInfo: the types of the columns.
pub(super) fn types() -> Result<&'static XdbcTypeInfoData, FlightError> {
    static TYPES: OnceCell<XdbcTypeInfoData> = OnceCell::new();
    TYPES.get_or_try_init(build_types)
}

fn build_types() -> Result<XdbcTypeInfoData, FlightError> {
    let mut types = XdbcTypeInfoDataBuilder::new();
    for (name, kind, size) in [
        ("BOOLEAN", X::XdbcBit, 1),
        ("INTEGER", X::XdbcInteger, 10),
        ("BIGINT", X::XdbcBigint, 19),
        ("DOUBLE", X::XdbcDouble, 15),
        ("VARCHAR", X::XdbcVarchar, i32::MAX),
        ("TIMESTAMP", X::XdbcTimestamp, 29),
    ] {
        let quote = matches!(kind, X::XdbcVarchar | X::XdbcTimestamp).then(|| "'".to_owned());
        let number = matches!(kind, X::XdbcInteger | X::XdbcBigint | X::XdbcDouble);
        let time = kind == X::XdbcTimestamp;
        types.append(XdbcTypeInfo {
            type_name: name.to_owned(),
            data_type: kind,
            column_size: Some(size),
            literal_prefix: if time { Some("TIMESTAMP '".to_owned()) } else { quote.clone() },
            literal_suffix: quote,
            create_params: None,
            nullable: Nullable::NullabilityNullable,
            case_sensitive: kind == X::XdbcVarchar,
            searchable: Searchable::Full,
            unsigned_attribute: number.then_some(false),
            fixed_prec_scale: false,
            auto_increment: number.then_some(false),
            local_type_name: Some(name.to_owned()),
            minimum_scale: time.then_some(0),
            maximum_scale: time.then_some(9),
            sql_data_type: if time { X::XdbcDatetime } else { kind },
            datetime_subcode: time.then_some(XdbcDatetimeSubcode::XdbcSubcodeTimestamp),
            num_prec_radix: number.then_some(if kind == X::XdbcDouble { 2 } else { 10 }),
            interval_precision: None,
        });
    }
    types.build()
}
