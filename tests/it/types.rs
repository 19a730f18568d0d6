//! Values of branches with several types: no interface loses a value on its path to the client.

use std::process::Command;

use arrow::array::RecordBatch;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow::ipc::reader::StreamReader;
use arrow::record_batch::RecordBatchOptions;
use offsetd::rpc::proto::{SqlRequest, SqlValue, sql_response::Message, sql_value};
use offsetd::sql::output::JsonRows;
use serde_json::{Value, json};

use crate::process::wait_for;
use crate::pushdown::{Both, lines, sorted};
use crate::rpc::flight;
use crate::support::{LIMIT, Lab, until};

/// A value of each type. It changes visibly if it is converted to another type with a loss.
const VALUES: [&str; 25] = [
    "NULL",
    "true",
    "CAST(-5 AS TINYINT)",
    "CAST(300 AS SMALLINT)",
    "CAST(70000 AS INT)",
    "9007199254740993",
    "CAST(200 AS TINYINT UNSIGNED)",
    "CAST(60000 AS SMALLINT UNSIGNED)",
    "CAST(4000000000 AS INT UNSIGNED)",
    "18446744073709551615",
    "CAST(2.5 AS REAL)",
    "2.5",
    "CAST(2.125 AS DECIMAL(10, 3))",
    "CAST('12345678901234567890123456.5' AS DECIMAL(38, 4))",
    "'x'",
    "'7'",
    "DATE '2026-01-02'",
    "CAST('12:34:56' AS TIME)",
    "TIMESTAMP '2026-01-02T03:04:05.123456789'",
    "to_timestamp_seconds(1)",
    "CAST('2026-01-02T03:04:05+01:00' AS TIMESTAMP WITH TIME ZONE)",
    "INTERVAL '1' DAY",
    "TIMESTAMP '2026-01-02' - TIMESTAMP '2026-01-01T12:00:00.5'",
    "X'00ff'",
    "make_array(1, 2)",
];

/// Statements that combine two values, `$a` and `$b`, in one column.
const BRANCHES: [&str; 14] = [
    "SELECT CASE WHEN false THEN $a ELSE $b END AS x, CASE WHEN false THEN $b ELSE $a END AS y",
    "SELECT CASE 1 WHEN 2 THEN $a WHEN 1 THEN $b END AS x, CASE 1 WHEN 2 THEN $b WHEN 1 THEN $a END AS y",
    "SELECT COALESCE(NULL, $a, $b) AS x, COALESCE(NULL, $b, $a) AS y",
    "SELECT nvl($a, $b) AS x, nvl($b, $a) AS y",
    "SELECT nullif($a, $b) AS x, nullif($b, $a) AS y",
    "SELECT $a AS x UNION ALL SELECT $b",
    "SELECT $b AS x UNION ALL SELECT $a UNION ALL SELECT $b",
    "SELECT $b AS x UNION SELECT $a",
    "SELECT x FROM (VALUES ($a), ($b)) v (x)",
    "WITH c AS (SELECT $a AS x UNION ALL SELECT $b) SELECT x FROM c",
    "SELECT (SELECT x FROM (SELECT $a AS x UNION ALL SELECT $b) t WHERE x IS NOT NULL ORDER BY 1 LIMIT 1) AS x",
    "SELECT $a AS x INTERSECT SELECT $b",
    "SELECT $a AS x EXCEPT SELECT $b",
    "SELECT make_array($a, $b) AS x, make_array($b, $a) AS y",
];

/// Returns the type that a column has on the wire, as the contract states.
fn wire(kind: &DataType) -> DataType {
    match kind {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Nanosecond, None),
        other => other.clone(),
    }
}

/// Returns the rows as text.
fn shown(batches: &[RecordBatch]) -> Vec<String> {
    if batches.iter().all(|batch| batch.num_rows() == 0) { vec![] } else { sorted(lines(batches)) }
}

fn as_wired((schema, batches): &(SchemaRef, Vec<RecordBatch>)) -> (Vec<DataType>, Vec<String>) {
    let kinds = schema.fields().iter().map(|field| wire(field.data_type())).collect::<Vec<_>>();
    let exact = CastOptions { safe: false, ..CastOptions::default() };
    let wired = |batch: &RecordBatch| {
        let columns = batch.columns().iter().zip(&kinds).enumerate();
        let columns = columns
            .map(|(at, (column, kind))| (at.to_string(), cast_with_options(column, kind, &exact).unwrap(), true));
        let columns: Vec<_> = columns.collect();
        let fields = columns
            .iter()
            .map(|(name, column, _)| arrow::datatypes::Field::new(name, column.data_type().clone(), true));
        let schema = arrow::datatypes::Schema::new(fields.collect::<Vec<_>>());
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = columns.into_iter().map(|(_, column, _)| column).collect();
        RecordBatch::try_new_with_options(schema.into(), columns, &options).unwrap()
    };
    let batches: Vec<RecordBatch> = batches.iter().map(wired).collect();
    (kinds, shown(&batches))
}

#[test]
fn branches_of_every_pair_of_types_give_what_datafusion_gives() {
    let both = Both::new();
    let (mut compared, mut wrong) = (0, vec![]);
    for (at, a) in VALUES.iter().enumerate() {
        for b in VALUES.iter().skip(at) {
            for branch in BRANCHES {
                let sql = branch.replace("$a", a).replace("$b", b);
                match (both.try_ours(&sql), both.try_theirs(&sql)) {
                    (Ok(ours), Ok(theirs)) => {
                        compared += 1;
                        let announced = &ours.0;
                        if ours.1.iter().any(|batch| batch.schema_ref() != announced) {
                            wrong.push(format!("{sql}\n  is not as announced: {announced:?}"));
                        }
                        let (ours, theirs) = (as_wired(&ours), as_wired(&theirs));
                        if ours != theirs {
                            wrong.push(format!("{sql}\n  ours {ours:?}\n  theirs {theirs:?}"));
                        }
                    }
                    (Err(_), Err(_)) => {}
                    (Ok(ours), Err(error)) => wrong.push(format!("{sql}\n  ours {ours:?}\n  theirs {error}")),
                    (Err(error), Ok(theirs)) => {
                        wrong.push(format!("{sql}\n  ours {error}\n  theirs {:?}", as_wired(&theirs)));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared}\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 1500, "only {compared} have an answer");
}

/// Returns statements with the expected values of their only column `x`, in order, for every interface.
fn statements() -> Vec<(&'static str, Vec<Value>)> {
    vec![
        ("SELECT CASE WHEN false THEN 1 ELSE 2.5 END AS x", vec![json!(2.5)]),
        ("SELECT COALESCE(NULL, 2.5, 1) AS x", vec![json!(2.5)]),
        ("SELECT x FROM (SELECT 1 AS x UNION ALL SELECT 2.5) ORDER BY 1", vec![json!(1.0), json!(2.5)]),
        (
            "SELECT max(partition) AS x FROM offsets UNION ALL SELECT 3000000000 ORDER BY 1",
            vec![json!(0), json!(3_000_000_000_i64)],
        ),
        ("SELECT count(*) AS x FROM offsets UNION ALL SELECT 2.5 ORDER BY 1", vec![json!(1.0), json!(2.5)]),
        ("SELECT NULL AS x UNION ALL SELECT 'x' ORDER BY 1 NULLS FIRST", vec![json!(null), json!("x")]),
        ("SELECT x FROM (VALUES (1), (2.5)) v (x) ORDER BY 1", vec![json!(1.0), json!(2.5)]),
        ("WITH c AS (SELECT 1 AS x UNION SELECT 2.5) SELECT x FROM c ORDER BY 1 DESC", vec![json!(2.5), json!(1.0)]),
        ("SELECT 2.5 AS x INTERSECT SELECT CAST(2.5 AS DECIMAL(3, 1))", vec![json!(2.5)]),
        ("SELECT 2.5 AS x EXCEPT SELECT 1", vec![json!(2.5)]),
    ]
}

fn rows_of(batch: &RecordBatch, rows: &mut Vec<Value>) {
    let push = |row: &[u8]| {
        rows.push(serde_json::from_slice::<Value>(row).unwrap()["x"].clone());
        Ok(())
    };
    JsonRows::new().each(batch, push).unwrap();
}

fn of_stream(bytes: &[u8]) -> Vec<Value> {
    let mut rows = vec![];
    for batch in StreamReader::try_new(bytes, None).unwrap() {
        rows_of(&batch.unwrap(), &mut rows);
    }
    rows
}

fn of_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["x"].clone()).collect()
}

/// Parses the fields after the header: an empty field is NULL, and a number is a number.
fn of_csv(text: &str) -> Vec<Value> {
    let field = |line: &str| match line {
        "" => Value::Null,
        line => serde_json::from_str(line).unwrap_or_else(|_| json!(line)),
    };
    text.lines().skip(1).map(field).collect()
}

fn by_grpc_arrow(lab: &Lab, statement: &str) -> Vec<Value> {
    lab.block_on(async {
        let request = SqlRequest { statement: statement.to_owned(), ..SqlRequest::default() };
        let (mut answer, mut bytes) = (lab.client().sql(request).await.unwrap().into_inner(), vec![]);
        while let Some(message) = answer.message().await.unwrap() {
            bytes.extend(match message.message.unwrap() {
                Message::Schema(schema) => schema.arrow_ipc,
                Message::Batch(batch) => batch.arrow_ipc,
                Message::Stats(stats) => stats.arrow_ipc,
            });
        }
        of_stream(&bytes)
    })
}

fn by_http(lab: &Lab, accept: &str, statement: &str) -> Vec<u8> {
    let answer = lab.http().post(lab.url("/v1/sql")).header("accept", accept).send(statement).unwrap();
    let answer = crate::support::Answer::read(answer);
    assert_eq!(answer.status, 200, "{statement}: {}", answer.text());
    answer.body
}

fn by_command(lab: &Lab, format: &str, statement: &str) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offsetd"));
    command.args(["sql", "--server", &lab.url(""), "--format", format, statement]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn of_json(bytes: &[u8]) -> Vec<Value> {
    let rows: Vec<Value> = serde_json::from_slice(bytes).unwrap();
    rows.iter().map(|row| row["x"].clone()).collect()
}

#[test]
fn branches_of_several_types_lose_no_value_by_any_door() {
    let lab = Lab::new(1);
    lab.commit("billing", "orders", 0, 5);
    lab.settle();
    for (statement, expected) in statements() {
        let rows = lab.sql(statement).rows;
        let by_flight = lab.block_on(async {
            let mut client = flight::flight(&lab);
            let info = client.execute(statement.to_owned(), None).await.unwrap();
            let (mut direct, mut prepared) = (vec![], vec![]);
            rows_of(&flight::fetch(&mut client, &info).await.unwrap().0, &mut direct);
            rows_of(&flight::prepared(&mut client, statement, None).await, &mut prepared);
            [("Flight SQL", direct), ("Flight SQL, prepared", prepared)]
        });
        let answers = [
            ("gRPC, JSON", rows.iter().map(|row| row["x"].clone()).collect()),
            ("gRPC, Arrow", by_grpc_arrow(&lab, statement)),
            ("HTTP, JSON", of_json(&by_http(&lab, "application/json", statement))),
            ("HTTP, NDJSON", of_lines(text(&by_http(&lab, "application/x-ndjson", statement)))),
            ("HTTP, CSV", of_csv(text(&by_http(&lab, "text/csv", statement)))),
            ("HTTP, Arrow", of_stream(&by_http(&lab, "application/vnd.apache.arrow.stream", statement))),
            ("command, JSON", of_json(&by_command(&lab, "json", statement))),
            ("command, NDJSON", of_lines(text(&by_command(&lab, "ndjson", statement)))),
            ("command, CSV", of_csv(text(&by_command(&lab, "csv", statement)))),
            ("command, Arrow", of_stream(&by_command(&lab, "arrow", statement))),
        ];
        for (interface, rows) in answers.into_iter().chain(by_flight) {
            assert_eq!(rows, expected, "{interface}: {statement}");
        }
        let table = by_command(&lab, "table", statement);
        for value in &expected {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert!(value == "null" || text(&table).contains(&value), "{statement}\n{}", text(&table));
        }
    }
    lab.stop_cleanly();
}

#[test]
fn seconds_of_lag_keep_their_fraction_in_a_branch_with_an_integer() {
    let lab = Lab::new(1);
    lab.kafka.create_topic("orders", 1).unwrap();
    lab.commit("billing", "orders", 0, 0);
    lab.settle();
    let is_caught_up = || lab.sql("SELECT lag FROM lag").rows == [json!({"lag": 0})];
    until("the log end to be known", is_caught_up);
    let sql = "SELECT lag_seconds AS seconds, CASE WHEN lag_seconds IS NULL THEN 0 ELSE lag_seconds END AS x FROM lag";
    wait_for("seconds with a fraction", LIMIT, || {
        lab.writer.produce("orders", 0, 1).unwrap();
        let rows = lab.sql(sql).rows;
        let (seconds, x) = (rows[0]["seconds"].as_f64(), rows[0]["x"].as_f64());
        assert_eq!(seconds.unwrap_or(0.0), x.unwrap(), "{rows:?}");
        seconds.filter(|seconds| seconds.fract() > 0.0).map(drop).ok_or_else(|| format!("{rows:?}"))
    });
}

#[test]
fn a_parameter_in_a_branch_loses_nothing_either() {
    let lab = Lab::new(1);
    let run = |statement: &str, value: sql_value::Value| {
        let parameters = vec![SqlValue { value: Some(value) }];
        let answer = lab.try_sql(SqlRequest { statement: statement.to_owned(), parameters, ..SqlRequest::default() });
        answer.unwrap_or_else(|error| panic!("{statement}: {error}")).rows.iter().map(|row| row["x"].clone()).collect()
    };
    let (half, one) = (sql_value::Value::DoubleValue(2.5), sql_value::Value::Int64Value(1));
    for (statement, value, expected) in [
        ("SELECT CASE WHEN $1 THEN 1 ELSE 2.5 END AS x", sql_value::Value::BoolValue(false), vec![json!(2.5)]),
        ("SELECT COALESCE($1, 1) AS x", half.clone(), vec![json!(2.5)]),
        ("SELECT CASE WHEN true THEN $1 ELSE 7 END AS x", half.clone(), vec![json!(2.5)]),
        ("SELECT $1 AS x UNION ALL SELECT 2.5 ORDER BY 1", one.clone(), vec![json!(1.0), json!(2.5)]),
        ("SELECT 1 AS x UNION ALL SELECT $1 ORDER BY 1", half, vec![json!(1.0), json!(2.5)]),
        ("SELECT x FROM (VALUES (2.5), ($1)) v (x) ORDER BY 1", one, vec![json!(1.0), json!(2.5)]),
    ] {
        for _ in 0..2 {
            let rows: Vec<Value> = run(statement, value.clone());
            assert_eq!(rows, expected, "{statement}");
        }
    }
}

#[test]
fn a_time_that_nanoseconds_do_not_hold_is_an_error_and_not_null() {
    let both = Both::new();
    for sql in ["SELECT to_timestamp_seconds(99999999999)", "SELECT max(to_timestamp_millis(9999999999999)) FROM lag"] {
        let error = both.try_ours(sql).expect_err(sql).to_string();
        assert!(error.contains("overflow") && error.contains("2262"), "{sql}: {error}");
    }
}
