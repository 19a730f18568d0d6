//! Flight SQL, with the client of the arrow-flight crate.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Int64Type, Schema, TimeUnit};
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, Any, CommandGetCrossReference, CommandGetDbSchemas,
    CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandStatementQuery, CommandStatementSubstraitPlan, ProstMessageExt as _, SqlInfo,
    TicketStatementQuery,
};
use arrow_flight::{Action, CancelFlightInfoRequest, CancelFlightInfoResult, FlightDescriptor, FlightInfo, Ticket};
use futures::TryStreamExt as _;
use prost::Message as _;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{assert_fails, shop};
use crate::support::{Lab, Setup, kafka, until};

pub(crate) type Flight = FlightSqlServiceClient<Channel>;

const ENDLESS: &str = "SELECT count(*) FROM columns a, columns b, columns c, (SELECT * FROM columns LIMIT 20) d \
                       WHERE a.position + b.position + c.position + d.position < 0";

pub(crate) fn flight(lab: &Lab) -> Flight {
    FlightSqlServiceClient::new(lab.channel())
}

/// Returns the only batch, and the schema that the stream declares.
pub(crate) async fn fetch(client: &mut Flight, info: &FlightInfo) -> Result<(RecordBatch, Arc<Schema>), FlightError> {
    assert_eq!(info.endpoint.len(), 1);
    assert!(info.endpoint[0].location.is_empty());
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await?;
    let batches: Vec<RecordBatch> = (&mut stream).try_collect().await?;
    let schema = Arc::clone(stream.schema().unwrap());
    Ok((concat_batches(&schema, &batches)?, schema))
}

/// Prepares, binds and executes a statement; all three steps must declare the same schema.
pub(crate) async fn prepared(client: &mut Flight, sql: &str, row: Option<RecordBatch>) -> RecordBatch {
    let mut statement = client.prepare(sql.to_owned(), None).await.unwrap();
    let first = statement.dataset_schema().unwrap().clone();
    if let Some(row) = row {
        statement.set_parameters(row).unwrap();
    }
    let info = statement.execute().await.unwrap();
    let second = info.clone().try_decode_schema().unwrap();
    let (batch, third) = fetch(client, &info).await.unwrap();
    assert_eq!((&first, &second), (&second, third.as_ref()), "{sql}");
    statement.close().await.unwrap();
    batch
}

fn row(columns: impl IntoIterator<Item = ArrayRef>) -> Option<RecordBatch> {
    let columns = columns.into_iter().enumerate().map(|(at, column)| (format!("{at}"), column));
    Some(RecordBatch::try_from_iter(columns).unwrap())
}

fn text(value: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

fn number(value: i64) -> ArrayRef {
    Arc::new(Int64Array::from(vec![value]))
}

fn command(command: &impl arrow_flight::sql::ProstMessageExt) -> FlightDescriptor {
    FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
}

fn query(sql: &str) -> CommandStatementQuery {
    CommandStatementQuery { query: sql.to_owned(), transaction_id: None }
}

async fn action(client: &mut Flight, name: &str, body: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut answers = client.inner_mut().do_action(Action::new(name, body)).await?.into_inner();
    Ok(answers.message().await?.map_or_else(Vec::new, |answer| answer.body.to_vec()))
}

#[test]
fn prepare_info_and_rows_declare_the_same_schema() {
    let lab = shop();
    lab.block_on(async {
        let mut client = flight(&lab);
        for sql in [
            "SELECT * FROM offsets",
            "SELECT * FROM members",
            "SELECT * FROM consumers",
            "SELECT topic, sum(partitions) FROM active_consumers GROUP BY 1",
            "SELECT group_id, sum(lag), count(*), max(committed_at) FROM lag GROUP BY 1",
            "SELECT o.partition, l.lag FROM offsets o LEFT JOIN lag l ON o.topic = l.topic AND l.lag > 5",
            "SELECT partition, 1 AS one FROM offsets WHERE false",
            "SELECT CAST(1 AS VARCHAR) a, upper('x') b, now() c",
            "SHOW TABLES",
            "DESCRIBE offsets",
            "EXPLAIN SELECT 1",
        ] {
            prepared(&mut client, sql, None).await;
        }
        let sql = "SELECT partition + $1 AS sum, group_id FROM offsets WHERE group_id = $2 AND committed_offset > $3";
        prepared(&mut client, sql, row([number(1), text("billing"), number(0)])).await;
        for sql in [
            "SELECT CASE WHEN $1 > 5 THEN 1 ELSE 2.5 END AS x",
            "SELECT $1 AS x UNION ALL SELECT 2.5",
            "SELECT 2.5 AS x UNION ALL SELECT $1",
            "SELECT COALESCE($1, 2.5) AS x",
            "SELECT x FROM (VALUES (2.5), ($1)) v (x)",
        ] {
            let batch = prepared(&mut client, sql, row([number(1)])).await;
            assert_eq!(batch.schema().field(0).data_type(), &DataType::Float64, "{sql}");
        }
        let batch = prepared(&mut client, "SELECT now() AS at, concat('x', 'y') AS name", None).await;
        let types: Vec<_> = batch.schema().fields().iter().map(|field| field.data_type().clone()).collect();
        assert_eq!(types, [DataType::Timestamp(TimeUnit::Nanosecond, None), DataType::Utf8]);
        let batch = prepared(&mut client, "SELECT topics AS n FROM consumers", None).await;
        let comment = "Number of topics that the group committed to or owns partitions of";
        assert_eq!(batch.schema().field(0).metadata()["comment"], comment, "columns of a view have comments, too");
    });
}

#[test]
fn a_statement_runs_when_its_ticket_is_redeemed() {
    let lab = shop();
    lab.block_on(async {
        let mut client = flight(&lab);
        let sql = "SELECT committed_offset FROM offsets WHERE group_id = 'billing' AND topic = 'payments'";
        let info = client.execute(sql.to_owned(), None).await.unwrap();
        let (batch, _) = fetch(&mut client, &info).await.unwrap();
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[4]);
        lab.commit("billing", "payments", 0, 9);
        lab.writer.flush().unwrap();
        let request = offsetd::rpc::proto::GetOffsetRequest { freshness: 2, ..Default::default() };
        lab.client().get_offset(request).await.unwrap();
        let (batch, _) = fetch(&mut client, &info).await.unwrap();
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[9], "each redemption sees its own cut");
    });
}

#[test]
fn an_answer_names_its_snapshot() {
    let lab = shop();
    let names: Vec<String> = lab.block_on(async {
        let mut client = flight(&lab);
        let info = client.execute("SELECT * FROM offsets".to_owned(), None).await.unwrap();
        let mut names = vec![];
        for _ in 0..2 {
            let ticket = info.endpoint[0].ticket.clone().unwrap();
            let answer = client.inner_mut().do_get(ticket).await.unwrap();
            assert_eq!(answer.metadata().get("offsetd-incomplete-clusters").unwrap(), "");
            names.push(answer.metadata().get("offsetd-snapshot").unwrap().to_str().unwrap().to_owned());
        }
        names
    });
    assert!(!names[0].is_empty() && names[0] != names[1], "{names:?}");
}

#[test]
fn what_is_prepared_or_not_redeemed_keeps_nothing() {
    let lab = shop();
    let _prepared = lab.block_on(async {
        let mut client = flight(&lab);
        let statement = client.prepare("SELECT * FROM offsets".to_owned(), None).await.unwrap();
        (statement, client.execute("SELECT * FROM offsets".to_owned(), None).await.unwrap())
    });
    lab.commit("billing", "payments", 0, 9);
    lab.settle();
    until("no old version to be retained", || lab.get("/metrics").text().contains("\noffsetd_held_bytes 0\n"));
}

#[test]
fn parameters_are_numbered_and_typed() {
    let lab = shop();
    lab.block_on(async {
        let mut client = flight(&lab);
        for sql in [
            "SELECT committed_offset FROM offsets WHERE group_id = ? AND topic = ? AND partition = ?",
            "SELECT committed_offset FROM offsets WHERE group_id = $1 AND topic = $2 AND partition = $3",
        ] {
            let statement = client.prepare(sql.to_owned(), None).await.unwrap();
            let kinds: Vec<_> =
                statement.parameter_schema().unwrap().fields().iter().map(|field| field.data_type().clone()).collect();
            assert_eq!(kinds, [DataType::Utf8, DataType::Utf8, DataType::Int32], "{sql}");
            let batch = prepared(&mut client, sql, row([text("billing"), text("orders"), number(0)])).await;
            assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[90]);
        }
        let many = RecordBatch::try_from_iter([("a", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef)]).unwrap();
        let mut statement = client.prepare("SELECT ?".to_owned(), None).await.unwrap();
        statement.set_parameters(many).unwrap();
        let error = statement.execute().await.unwrap_err().to_string();
        assert!(error.contains("one row per execution"), "{error}");
        let error = client.prepare("SELECT $5000000".to_owned(), None).await.unwrap_err().to_string();
        assert!(error.contains("$1 to $1024"), "{error}");
        let unbound = client.execute("SELECT ?".to_owned(), None).await.unwrap();
        let error = fetch(&mut client, &unbound).await.unwrap_err().to_string();
        assert!(error.contains("$1"), "{error}");
    });
}

#[test]
fn tables_are_found_with_and_without_a_catalog_and_by_patterns() {
    let lab = Lab::new(1);
    let tables = |catalog: Option<&str>, schema: Option<&str>, table: Option<&str>, kinds: &[&str]| {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let command = CommandGetTables {
            catalog: owned(catalog),
            db_schema_filter_pattern: owned(schema),
            table_name_filter_pattern: owned(table),
            table_types: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            include_schema: true,
        };
        lab.block_on(async {
            let mut client = flight(&lab);
            let info = client.get_tables(command).await.unwrap();
            fetch(&mut client, &info).await.unwrap().0
        })
    };
    let all = tables(None, None, None, &[]).num_rows();
    assert!(all > 10, "{all}");
    let views = tables(None, None, None, &["VIEW"]);
    assert_eq!(
        views.column(2).as_string::<i32>().iter().flatten().collect::<Vec<_>>(),
        ["active_consumers", "consumers", "relations", "source_differences", "stopped_groups"]
    );
    let of_tables = all - views.num_rows();
    assert_eq!(tables(Some("offsetd"), Some("public"), None, &["TABLE"]).num_rows(), of_tables);
    assert_eq!(tables(None, Some("pub%"), None, &["BASE TABLE", "table"]).num_rows(), of_tables, "Grafana's form");
    assert_eq!(tables(None, None, None, &["table", "view"]).num_rows(), all);
    assert_eq!(tables(Some("other"), None, None, &[]).num_rows(), 0);
    let one = tables(None, None, Some("offset_"), &[]);
    assert_eq!(one.column(2).as_string::<i32>().value(0), "offsets");
    let bytes = one.column(4).as_binary::<i32>().value(0);
    let schema = arrow::ipc::reader::StreamReader::try_new(bytes, None).unwrap().schema();
    let field = schema.field_with_name("committed_offset").unwrap();
    assert_eq!(field.metadata()["ARROW:FLIGHT:SQL:REMARKS"], "Offset of the next record that the group reads");
    assert!(!schema.metadata()["comment"].is_empty());
    let bytes = views.column(4).as_binary::<i32>().value(1);
    let schema = arrow::ipc::reader::StreamReader::try_new(bytes, None).unwrap().schema();
    let remarks = &schema.field_with_name("active_topics").unwrap().metadata()["ARROW:FLIGHT:SQL:REMARKS"];
    assert_eq!(remarks, "Number of topics of which a member owns partitions");
}

#[test]
fn metadata_commands_answer() {
    let lab = Lab::new(1);
    lab.block_on(async {
        let mut client = flight(&lab);
        let mut rows = vec![];
        let info = client.get_catalogs().await.unwrap();
        rows.push(fetch(&mut client, &info).await.unwrap().0.num_rows());
        let info = client.get_db_schemas(CommandGetDbSchemas::default()).await.unwrap();
        rows.push(fetch(&mut client, &info).await.unwrap().0.num_rows());
        let info = client.get_table_types().await.unwrap();
        rows.push(fetch(&mut client, &info).await.unwrap().0.num_rows());
        let info = client.get_xdbc_type_info(CommandGetXdbcTypeInfo::default()).await.unwrap();
        rows.push(fetch(&mut client, &info).await.unwrap().0.num_rows());
        let info = client.get_sql_info(vec![SqlInfo::FlightSqlServerName]).await.unwrap();
        rows.push(fetch(&mut client, &info).await.unwrap().0.num_rows());
        assert_eq!(rows, [1, 1, 2, 6, 1]);
        let info = client.get_sql_info(vec![]).await.unwrap();
        let all = fetch(&mut client, &info).await.unwrap().0.num_rows();
        assert_eq!(all, 14 + 77, "every one of FlightSql.proto");
        for descriptor in [
            command(&CommandGetPrimaryKeys { table: "offsets".to_owned(), ..Default::default() }),
            command(&CommandGetImportedKeys { table: "offsets".to_owned(), ..Default::default() }),
            command(&CommandGetExportedKeys { table: "offsets".to_owned(), ..Default::default() }),
            command(&CommandGetCrossReference {
                pk_table: "a".to_owned(),
                fk_table: "b".to_owned(),
                ..Default::default()
            }),
        ] {
            let info = client.inner_mut().get_flight_info(descriptor).await.unwrap().into_inner();
            let declared = info.clone().try_decode_schema().unwrap();
            let (batch, schema) = fetch(&mut client, &info).await.unwrap();
            assert_eq!((batch.num_rows(), &declared), (0, schema.as_ref()));
        }
    });
}

#[test]
fn what_changes_anything_is_refused_as_read_only() {
    let lab = Lab::new(1);
    lab.block_on(async {
        let mut client = flight(&lab);
        let says = |error: String| assert!(error.contains("read-only") && error.contains("SELECT"), "{error}");
        says(client.execute_update("DELETE FROM offsets".to_owned(), None).await.unwrap_err().to_string());
        says(client.execute("DELETE FROM offsets".to_owned(), None).await.unwrap_err().to_string());
        says(client.prepare("INSERT INTO offsets VALUES (1)".to_owned(), None).await.unwrap_err().to_string());
        says(client.begin_transaction().await.unwrap_err().to_string());
        let plan = command(&CommandStatementSubstraitPlan::default());
        let refused = client.inner_mut().get_flight_info(plan).await;
        assert_fails(refused, Code::InvalidArgument, &["Substrait", "read-only"]);
    });
}

#[test]
fn hostile_commands_tickets_and_handles_are_invalid() {
    let lab = Lab::new(1);
    lab.block_on(async {
        let mut client = flight(&lab);
        let foreign = prost::bytes::Bytes::from_static(b"\x0a\x08DROP ALL");
        let any = |type_url: &str| Any { type_url: type_url.to_owned(), value: foreign.clone() };
        let tickets = [
            vec![],
            b"SELECT 1".to_vec(),
            vec![0xff; 1000],
            any("type.googleapis.com/arrow.flight.protocol.sql.TicketStatementQuery").encode_to_vec(),
            TicketStatementQuery { statement_handle: foreign.clone() }.as_any().encode_to_vec(),
            CommandPreparedStatementQuery { prepared_statement_handle: foreign.clone() }.as_any().encode_to_vec(),
        ];
        for ticket in tickets {
            let answer = client.inner_mut().do_get(Ticket::new(ticket.clone())).await.map(|_| ());
            let code = answer.as_ref().unwrap_err().code();
            assert!([Code::InvalidArgument, Code::Unimplemented].contains(&code), "{ticket:?}: {answer:?}");
            let answer = client.inner_mut().get_flight_info(FlightDescriptor::new_cmd(ticket.clone())).await;
            let code = answer.as_ref().unwrap_err().code();
            assert!([Code::InvalidArgument, Code::Unimplemented].contains(&code), "{ticket:?}: {answer:?}");
        }
        let large = command(&query(&format!("SELECT '{}'", "x".repeat(2 << 20))));
        assert!(client.inner_mut().get_flight_info(large).await.is_err());
        assert_fails(action(&mut client, "Other", vec![]).await, Code::InvalidArgument, &["Other"]);
        assert_fails(action(&mut client, "CancelFlightInfo", vec![0xff]).await, Code::InvalidArgument, &[]);
        assert_fails(action(&mut client, "SetSessionOptions", vec![0xff]).await, Code::InvalidArgument, &[]);
        assert!(client.execute("SELECT 1".to_owned(), None).await.is_ok());
    });
}

#[test]
fn a_statement_under_way_is_cancelled_by_its_info() {
    let lab = Setup::default().with("SQL_CONCURRENCY", "2").with("SQL_QUEUE", "0").ready(&kafka(1));
    for old in [false, true] {
        lab.block_on(async {
            let mut client = flight(&lab);
            let info = client.execute(ENDLESS.to_owned(), None).await.unwrap();
            let cancel = async |client: &mut Flight| {
                if old {
                    let request = ActionCancelQueryRequest { info: info.encode_to_vec().into() };
                    let body = action(client, "CancelQuery", request.as_any().encode_to_vec()).await.unwrap();
                    let answer = Any::decode(&*body).unwrap().unpack::<ActionCancelQueryResult>().unwrap();
                    return answer.unwrap().result;
                }
                let request = CancelFlightInfoRequest::new(info.clone());
                let body = action(client, "CancelFlightInfo", request.encode_to_vec()).await.unwrap();
                CancelFlightInfoResult::decode(&*body).unwrap().status
            };
            assert_eq!(cancel(&mut client).await, 3, "a statement that does not run yet cannot be cancelled");
            let ticket = info.endpoint[0].ticket.clone().unwrap();
            let mut rows = client.inner_mut().do_get(ticket).await.unwrap().into_inner();
            assert!(rows.message().await.unwrap().is_some(), "the schema is sent once the statement runs");
            assert_eq!(cancel(&mut client).await, 1, "cancelled");
            assert_fails(rows.message().await, Code::Cancelled, &["cancelled"]);
        });
    }
}

#[test]
fn a_client_that_leaves_or_is_late_ends_its_statement() {
    let lab = Setup::default().with("SQL_CONCURRENCY", "1").with("SQL_QUEUE", "0").ready(&kafka(1));
    let info = lab.block_on(async { flight(&lab).execute(ENDLESS.to_owned(), None).await.unwrap() });
    let ticket = || info.endpoint[0].ticket.clone().unwrap();
    let runs = || lab.block_on(async { flight(&lab).execute("SELECT 1".to_owned(), None).await.is_ok() });
    assert!(runs(), "an unredeemed ticket holds no query slot");
    let rows = lab.block_on(async {
        let mut rows = flight(&lab).inner_mut().do_get(ticket()).await.unwrap().into_inner();
        assert!(rows.message().await.unwrap().is_some());
        rows
    });
    assert!(!runs());
    drop(rows);
    until("the query slot to be free", runs);
    // The client's deadline covers the time until the first rows.
    let (mut late, mut seconds) = (None, 1);
    until("the first rows before the deadline", || {
        seconds *= 2;
        let mut request = tonic::Request::new(ticket());
        request.metadata_mut().insert("grpc-timeout", format!("{seconds}S").parse().unwrap());
        late = lab.block_on(async { flight(&lab).inner_mut().do_get(request).await.ok() });
        late.is_some()
    });
    lab.block_on(async {
        let mut rows = late.unwrap().into_inner();
        let ended = async {
            while rows.message().await?.is_some() {}
            Ok::<_, Status>(())
        };
        assert_fails(ended.await, Code::DeadlineExceeded, &[]);
    });
    until("the query slot to be free", runs);
}

#[test]
fn credentials_and_sessions_are_accepted() {
    let lab = Lab::new(1);
    lab.block_on(async {
        let mut client = flight(&lab);
        client.handshake("user", "password").await.unwrap();
        assert_eq!(client.token().map(String::as_str), Some("anonymous"));
        let info = client.execute("SELECT 1".to_owned(), None).await.unwrap();
        assert_eq!(fetch(&mut client, &info).await.unwrap().0.num_rows(), 1);
        assert!(!action(&mut client, "GetSessionOptions", vec![]).await.unwrap().is_empty());
        assert!(action(&mut client, "SetSessionOptions", vec![]).await.unwrap().is_empty());
        assert!(!action(&mut client, "CloseSession", vec![]).await.unwrap().is_empty());
    });
}
