//! Sql: one read-only statement as a stream of messages.

use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit};
use arrow::ipc::reader::StreamReader;
use offsetd::rpc::proto::{SqlFormat, SqlRequest, SqlValue, sql_response::Message, sql_value::Value as V};
use serde_json::{Value, json};
use tonic::Code;

use super::{assert_fails, shop};
use crate::support::{Lab, Setup, kafka, until};

/// Statements that compute for minutes without reading data: a join with a condition that is never true, and one
/// without a condition.
const ENDLESS: [&str; 2] = [
    "SELECT count(*) FROM columns a, columns b, columns c, (SELECT * FROM columns LIMIT 20) d \
     WHERE a.position + b.position + c.position + d.position < 0",
    "SELECT sum(a.position * b.position * c.position * d.position) FROM columns a, columns b, columns c, (SELECT * FROM columns LIMIT 20) d",
];

fn request(statement: &str) -> SqlRequest {
    SqlRequest { statement: statement.to_owned(), ..SqlRequest::default() }
}

fn value(value: V) -> SqlValue {
    SqlValue { value: Some(value) }
}

#[test]
fn arrow_bytes_of_all_messages_concatenate_to_one_stream() {
    let lab = shop();
    let statement = "SELECT group_id, partition, committed_offset, committed_at, expires_at FROM offsets ORDER BY 1, 2";
    let (mut bytes, mut rows) = (vec![], 0);
    let schema = lab.block_on(async {
        let request = SqlRequest { format: SqlFormat::ArrowIpc.into(), ..request(statement) };
        let mut stream = lab.client().sql(request).await.unwrap().into_inner();
        let mut schema = None;
        while let Some(message) = stream.message().await.unwrap() {
            match message.message.unwrap() {
                Message::Schema(first) => {
                    bytes.extend_from_slice(&first.arrow_ipc);
                    schema = Some(first);
                }
                Message::Batch(batch) => {
                    assert!(batch.json_rows.is_empty());
                    rows += batch.rows;
                    bytes.extend_from_slice(&batch.arrow_ipc);
                }
                Message::Stats(stats) => {
                    assert_eq!((stats.rows, stats.truncated), (6, false));
                    assert!(stats.elapsed.is_some() && !stats.snapshot.unwrap().id.is_empty());
                    bytes.extend_from_slice(&stats.arrow_ipc);
                }
            }
        }
        schema.unwrap()
    });
    let columns: Vec<_> =
        schema.columns.iter().map(|column| (&*column.name, &*column.r#type, column.nullable)).collect();
    assert_eq!(
        columns[..3],
        [("group_id", "Utf8", false), ("partition", "Int32", false), ("committed_offset", "Int64", false)]
    );
    let reader = StreamReader::try_new(bytes.as_slice(), None).unwrap();
    assert_eq!(reader.schema().field(3).data_type(), &DataType::Timestamp(TimeUnit::Nanosecond, None));
    assert_eq!(reader.schema().field(2).metadata()["comment"], "Offset of the next record that the group reads");
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    let batch = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
    assert_eq!((batch.num_rows(), rows), (6, 6));
    let groups: Vec<_> = batch.column(0).as_string::<i32>().iter().flatten().collect();
    assert_eq!(groups, ["audit", "billing", "billing", "billing", "gone", "idle"]);
    assert_eq!(batch.column(1).as_primitive::<Int32Type>().values(), &[0, 0, 0, 1, 0, 2]);
    let mut offsets = batch.column(2).as_primitive::<Int64Type>().values().to_vec();
    offsets.sort_unstable();
    assert_eq!(offsets, [3, 4, 5, 50, 90, 100]);
    assert_eq!(batch.column(4).null_count(), 5, "only one row has its own retention time");
}

#[test]
fn an_empty_answer_is_a_whole_stream_with_its_schema() {
    let lab = Lab::new(1);
    let answer = lab.sql("SELECT group_id, lag FROM lag");
    assert_eq!((answer.rows.len(), answer.stats.rows), (0, 0));
    let columns: Vec<_> = answer.schema.columns.iter().map(|column| &*column.name).collect();
    assert_eq!(columns, ["group_id", "lag"]);
}

#[test]
fn json_rows_are_objects_in_the_form_of_http() {
    let lab = shop();
    let answer = lab.sql(
        "SELECT group_id, committed_offset, 9007199254740992 AS big, lag_unknown, 'NaN'::double AS nan, \
         '2026-01-02T03:04:05.678'::timestamp AS at, true AS yes FROM lag WHERE group_id = 'gone'",
    );
    let expected = json!({
        "group_id": "gone", "committed_offset": 5, "big": "9007199254740992", "lag_unknown": "end_unknown",
        "nan": null, "at": "2026-01-02T03:04:05.678Z", "yes": true,
    });
    assert_eq!(answer.rows, [expected]);
}

#[test]
fn parameters_have_types() {
    let lab = shop();
    let statement = "SELECT arrow_typeof($1) AS a, arrow_typeof($2) AS b, arrow_typeof($3) AS c, arrow_typeof($4) AS d, \
                     arrow_typeof($5) AS e, $6 IS NULL AS f, $1 AS v, $5 AS at";
    let at = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 };
    let parameters = vec![
        value(V::Int64Value(-7)),
        value(V::StringValue("x' OR 'a'='a".to_owned())),
        value(V::BoolValue(true)),
        value(V::DoubleValue(0.5)),
        value(V::TimestampValue(at)),
        value(V::NullValue(0)),
    ];
    let answer = lab.try_sql(SqlRequest { parameters, ..request(statement) }).unwrap();
    let types: Vec<_> = ["a", "b", "c", "d", "e"].iter().map(|name| answer.rows[0][name].as_str().unwrap()).collect();
    assert_eq!(types, ["Int64", "Utf8", "Boolean", "Float64", "Timestamp(ns)"]);
    assert_eq!(answer.rows[0]["f"], true);
    assert_eq!((&answer.rows[0]["v"], &answer.rows[0]["at"]), (&json!(-7), &json!("2023-11-14T22:13:20.005Z")));

    let statement = "SELECT count(*) AS n FROM offsets WHERE group_id = $1 AND partition >= $2";
    let parameters = vec![value(V::StringValue("billing".to_owned())), value(V::Int64Value(1))];
    let answer = lab.try_sql(SqlRequest { parameters, ..request(statement) }).unwrap();
    assert_eq!(answer.rows, [json!({"n": 1})]);
}

#[test]
fn a_missing_parameter_is_invalid() {
    let lab = shop();
    let (code, text) = lab.sql_error("SELECT * FROM offsets WHERE group_id = $1");
    assert_eq!(code, Code::InvalidArgument, "{text}");
    assert!(text.contains("$1"), "{text}");
    let too_few = SqlRequest { parameters: vec![value(V::Int64Value(1))], ..request("SELECT $1, $2") };
    assert_fails(lab.try_sql(too_few), Code::InvalidArgument, &["$2"]);
}

#[test]
fn max_rows_truncates_and_says_so() {
    let lab = shop();
    let limited = |max_rows| {
        let answer = lab.try_sql(SqlRequest { max_rows, ..request("SELECT * FROM offsets") }).unwrap();
        assert_eq!(usize::try_from(answer.stats.rows).unwrap(), answer.rows.len());
        (answer.rows.len(), answer.stats.truncated)
    };
    assert_eq!((limited(1), limited(5), limited(6)), ((1, true), (5, true), (6, false)));
    assert_eq!(limited(0), (6, false), "0 means unlimited");
    let negative = lab.try_sql(SqlRequest { max_rows: -1, ..request("SELECT 1") });
    assert_fails(negative, Code::InvalidArgument, &["max_rows", "-1"]);
}

#[test]
fn a_limit_of_the_server_names_its_setting() {
    let lab = Setup::default()
        .with("SQL_MAX_ROWS", "100")
        .with("SQL_MAX_BYTES", "20KiB")
        .with("SQL_MAX_STATEMENT_BYTES", "500B")
        .with("SQL_MEMORY_PER_QUERY", "16MiB")
        .ready(&kafka(1));
    let exhausted = |statement: &str, setting: &str| {
        let (code, text) = lab.sql_error(statement);
        assert_eq!(code, Code::ResourceExhausted, "{text}");
        assert!(text.contains(setting), "{text}");
    };
    exhausted("SELECT * FROM columns", "sql.max_rows");
    exhausted("SELECT a.*, b.*, a.comment || b.comment FROM columns a, columns b LIMIT 100", "sql.max_bytes");
    exhausted(&format!("SELECT '{}'", "x".repeat(500)), "sql.max_statement_bytes");
    exhausted(
        "SELECT a.comment || b.comment FROM columns a, columns b, columns c ORDER BY 1 DESC",
        "sql.memory_per_query",
    );
    for window in ["max(x) OVER ()", "lag(x, 100000) OVER ()"] {
        let long = "SELECT a.comment || b.comment || c.comment AS x FROM columns a, columns b, columns c";
        exhausted(&format!("SELECT max(y) FROM (SELECT {window} AS y FROM ({long}))"), "sql.memory_per_query");
    }
    let small = "SELECT max(y) FROM (SELECT lag(comment) OVER () AS y FROM columns)";
    assert_eq!(lab.sql(small).rows.len(), 1, "windows over little data are allowed");
    assert_eq!(lab.sql("SELECT * FROM columns LIMIT 100").rows.len(), 100, "the limit itself is allowed");
}

#[test]
fn what_is_not_a_query_is_invalid_and_says_what_is_allowed() {
    let lab = shop();
    for statement in [
        "INSERT INTO offsets VALUES (1)",
        "DELETE FROM offsets",
        "UPDATE offsets SET partition = 1",
        "DROP TABLE offsets",
        "CREATE TABLE x AS SELECT 1",
        "CREATE VIEW x AS SELECT 1",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "COPY offsets TO '/tmp/x.csv'",
        "SET datafusion.execution.batch_size = 1",
        "RESET datafusion.execution.batch_size",
        "BEGIN",
        "PREPARE x AS SELECT 1",
        "EXPLAIN INSERT INTO offsets VALUES (1)",
        "TRUNCATE TABLE offsets",
    ] {
        let (code, text) = lab.sql_error(statement);
        assert_eq!(code, Code::InvalidArgument, "{statement}: {text}");
        assert!(text.contains("read-only") && text.contains("SELECT"), "{statement}: {text}");
    }
    assert_eq!(lab.sql("SELECT count(*) AS n FROM offsets").rows, [json!({"n": 6})]);
}

#[test]
fn clauses_that_would_change_nothing_are_refused() {
    let lab = shop();
    for (statement, clause) in [
        ("SELECT count(*) FROM offsets TABLESAMPLE BERNOULLI (1)", "TABLESAMPLE"),
        ("SELECT count(*) FROM (SELECT * FROM offsets) TABLESAMPLE (10 ROWS)", "TABLESAMPLE"),
        ("WITH a AS (SELECT * FROM lag TABLESAMPLE SYSTEM (5)) SELECT * FROM a", "TABLESAMPLE"),
        ("SELECT * FROM offsets FOR UPDATE", "FOR UPDATE"),
        ("SELECT * FROM offsets WITH (NOLOCK)", "hint"),
    ] {
        let (code, text) = lab.sql_error(statement);
        assert_eq!(code, Code::InvalidArgument, "{statement}: {text}");
        assert!(text.contains(clause), "{statement}: {text}");
    }
}

#[test]
fn only_what_may_be_free_again_is_worth_trying_again() {
    let lab = Setup::default().with("SQL_MAX_ROWS", "3").ready(&kafka(1));
    for statement in ["SELECT * FROM columns", &format!("SELECT 1{}", " + 1".repeat(20_000))] {
        let status = lab.try_sql(SqlRequest { statement: statement.to_owned(), ..SqlRequest::default() }).unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert!(status.metadata().get("retry-after-ms").is_none(), "{status:?}");
    }
}

#[test]
fn files_and_urls_are_out_of_reach() {
    let lab = Lab::new(1);
    for statement in [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM 'file:///etc/passwd'",
        "SELECT * FROM 'http://127.0.0.1/x.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
    ] {
        let (code, text) = lab.sql_error(statement);
        assert_eq!(code, Code::InvalidArgument, "{statement}: {text}");
        assert!(!text.contains("root:"), "{text}");
    }
}

#[test]
fn a_statement_that_takes_too_long_ends_with_its_deadline_and_leaves_its_place() {
    let setup = Setup::default().with("SQL_TIMEOUT", "500ms").with("SQL_CONCURRENCY", "1").with("SQL_QUEUE", "0");
    let lab = setup.ready(&kafka(1));
    for endless in ENDLESS {
        let (code, text) = lab.sql_error(endless);
        assert_eq!(code, Code::DeadlineExceeded, "{text}");
        assert!(text.contains("sql.timeout"), "{text}");
        until("the next statement to run", || lab.try_sql(request("SELECT 1")).is_ok());
    }
}

#[test]
fn one_statement_too_many_is_refused_and_a_caller_that_leaves_makes_room() {
    let lab = Setup::default().with("SQL_CONCURRENCY", "1").with("SQL_QUEUE", "0").ready(&kafka(1));
    for endless in ENDLESS {
        // The schema is sent once the statement runs.
        let running = lab.block_on(async {
            let mut stream = lab.client().sql(request(endless)).await.unwrap().into_inner();
            assert!(matches!(stream.message().await.unwrap().unwrap().message, Some(Message::Schema(_))));
            stream
        });
        let (code, text) = lab.sql_error("SELECT 1");
        assert_eq!(code, Code::ResourceExhausted, "{text}");
        assert!(text.contains("sql.queue"), "{text}");
        assert_eq!(lab.get("/livez").status, 200, "other requests are not affected");
        assert!(!lab.status().clusters.is_empty());
        drop(running);
        until("the query slot to be free", || lab.try_sql(request("SELECT 1")).is_ok());
    }
}

#[test]
fn statements_beyond_the_concurrency_wait_for_their_turn() {
    let lab = Setup::default().with("SQL_CONCURRENCY", "1").with("SQL_QUEUE", "8").ready(&kafka(1));
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|number| {
                scope.spawn({
                    let lab = &lab;
                    move || lab.sql(&format!("SELECT {number} AS n")).rows
                })
            })
            .collect();
        for (number, run) in runs.into_iter().enumerate() {
            assert_eq!(run.join().unwrap(), [json!({"n": number})]);
        }
    });
}

#[test]
fn two_tables_of_a_statement_never_disagree_while_commits_flow() {
    const AGREE: &str = "SELECT count(*) AS keys, count(o.committed_offset) AS offsets, count(l.committed_offset) AS lags, \
         sum(o.committed_offset) AS sum, sum(CASE WHEN o.committed_offset = l.committed_offset THEN 0 ELSE 1 END) AS differ, \
         (SELECT sum(committed_offset) FROM lag) AS again, (SELECT sum(partitions) FROM groups) AS counted \
         FROM offsets o FULL JOIN lag l ON o.cluster = l.cluster AND o.source = l.source AND o.group_id = l.group_id \
         AND o.topic = l.topic AND o.partition = l.partition";
    let lab = Lab::new(5);
    (0..10).for_each(|group| (0..20).for_each(|partition| lab.commit(&format!("g{group}"), "t", partition, 1)));
    lab.settle();
    let stop = AtomicBool::new(false);
    let sums: Vec<i64> = std::thread::scope(|scope| {
        scope.spawn(|| {
            for offset in 2.. {
                for group in 0..10 {
                    (0..20).for_each(|partition| lab.commit(&format!("g{group}"), "t", partition, offset));
                    lab.commit(&format!("new{offset}-{group}"), "t", 0, 1);
                }
                lab.writer.flush().unwrap();
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let run = |_| {
            let row: Value = lab.sql(AGREE).rows.remove(0);
            assert_eq!(
                (&row["offsets"], &row["lags"], &row["counted"]),
                (&row["keys"], &row["keys"], &row["keys"]),
                "{row}"
            );
            assert_eq!((&row["differ"], &row["again"]), (&json!(0), &row["sum"]), "{row}");
            row["sum"].as_i64().unwrap()
        };
        let sums = (0..15).map(run).collect();
        stop.store(true, Ordering::Relaxed);
        sums
    });
    assert!(sums.first() < sums.last(), "commits were applied meanwhile: {sums:?}");
}

#[test]
fn now_is_the_time_of_the_snapshot() {
    let lab = Lab::new(1);
    let answer = lab.sql("SELECT now()::bigint AS at, now() = now() AS same");
    let taken = answer.stats.snapshot.unwrap().taken_at.unwrap();
    let nanos = taken.seconds * 1_000_000_000 + i64::from(taken.nanos);
    assert_eq!(answer.rows, [json!({"at": nanos.to_string(), "same": true})]);
}

#[test]
fn latest_sees_a_commit_that_was_acknowledged_before() {
    let lab = Lab::new(5);
    for offset in 1..=5 {
        lab.commit("g", "t", 0, offset);
        lab.writer.flush().unwrap();
        let answer = lab.try_sql(SqlRequest { freshness: 2, ..request("SELECT committed_offset AS at FROM offsets") });
        assert_eq!(answer.unwrap().rows, [json!({"at": offset})]);
    }
}

#[test]
fn errors_speak_of_the_statement_and_not_of_the_engine() {
    let lab = shop();
    for (statement, words) in [
        ("SELEC 1", "syntax error"),
        ("SELECT (1", "syntax error"),
        ("SELECT nothing FROM lag", "nothing"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("", "statement"),
        ("SELECT no_such_function(1)", "no_such_function"),
        ("SELECT 1/0", "division by zero"),
        ("SELECT CAST('x' AS INT)", "x"),
        ("SELECT array_repeat('x', 1000000000)", "array_repeat"),
    ] {
        let (code, text) = lab.sql_error(statement);
        assert_eq!(code, Code::InvalidArgument, "{statement}: {text}");
        assert!(text.contains(words), "{statement}: {text}");
        assert!(!text.contains("DataFusion error") && !text.contains("backtrace"), "{statement}: {text}");
    }
    let deep = format!("SELECT {}1{}", "(".repeat(2000), ")".repeat(2000));
    let (code, text) = lab.sql_error(&deep);
    assert_eq!(code, Code::InvalidArgument, "{text}");
}
