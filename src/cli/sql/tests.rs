use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, AsArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, TimestampNanosecondArray,
        UInt64Array,
    },
    datatypes::{Int32Type, Int64Type},
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use serde_json::{Value as Json, json};
use tonic::Status;

use super::{
    execute::{OutputOptions, execute},
    format::Renderer,
    *,
};
use crate::{
    cli::{
        tests::fake::Fake,
        text::{Expanded, TableLayout, width},
    },
    rpc::proto::{Freshness, SqlBatch, SqlResponse, SqlSchema, SqlStats, sql_response::Message},
};

fn batch() -> RecordBatch {
    let big = 1_i64 << 53;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("group_id", Arc::new(StringArray::from(vec![Some("or\u{1b}ders"), Some("a,\"b\""), None]))),
        ("lag", Arc::new(Int64Array::from(vec![Some(big - 1), Some(-big), None]))),
        ("records", Arc::new(UInt64Array::from(vec![0, u64::MAX, 7]))),
        ("rate", Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN), None]))),
        ("at", Arc::new(TimestampNanosecondArray::from(vec![Some(1_700_000_000_000_000_000), Some(1_500_000), None]))),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([
                Some(vec![Some(1), None]),
                Some(vec![Some(big)]),
                None,
            ])),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

/// Returns the schema, the batches and the end of an Arrow stream, as the server sends them.
fn pieces(batches: &[RecordBatch]) -> Vec<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches.first().unwrap_or(&batch()).schema()).unwrap();
    let mut pieces = vec![std::mem::take(writer.get_mut())];
    for batch in batches {
        writer.write(batch).unwrap();
        pieces.push(std::mem::take(writer.get_mut()));
    }
    writer.finish().unwrap();
    pieces.push(std::mem::take(writer.get_mut()));
    pieces
}

fn rendered(format: Format, batches: &[RecordBatch]) -> Vec<u8> {
    let mut renderer = Renderer::new(format, TableLayout::default(), Vec::new());
    for piece in pieces(batches) {
        renderer.write_chunk(piece).unwrap();
    }
    renderer.finish().unwrap().0
}

fn text(format: Format, batches: &[RecordBatch]) -> String {
    String::from_utf8(rendered(format, batches)).unwrap()
}

fn rows() -> Json {
    json!([
        {"group_id": "or\u{1b}ders", "lag": 9_007_199_254_740_991_i64, "records": 0, "rate": 0.5,
         "at": "2023-11-14T22:13:20Z", "list": [1, null]},
        {"group_id": "a,\"b\"", "lag": "-9007199254740992", "records": "18446744073709551615", "rate": null,
         "at": "1970-01-01T00:00:00.001500Z", "list": ["9007199254740992"]},
        {"group_id": null, "lag": null, "records": 7, "rate": null, "at": null, "list": null},
    ])
}

#[test]
fn json_keeps_large_integers_exact_and_null_null() {
    let array: Json = serde_json::from_str(&text(Format::Json, &[batch()])).unwrap();
    assert_eq!(array, rows());
    let lines = text(Format::Ndjson, &[batch(), batch().slice(0, 1)]);
    let lines: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[..3], rows().as_array().unwrap()[..]);
    assert_eq!((lines.len(), &lines[3]), (4, &rows()[0]));
    let two: Json = serde_json::from_str(&text(Format::Json, &[batch(), batch()])).unwrap();
    assert_eq!(two.as_array().unwrap().len(), 6);
}

#[test]
fn an_empty_result_is_valid_in_each_format() {
    assert_eq!(text(Format::Json, &[]), "[]\n");
    assert_eq!(text(Format::Ndjson, &[]), "");
    assert_eq!(text(Format::Csv, &[]), "group_id,lag,records,rate,at,list\n");
    assert!(text(Format::Table, &[]).starts_with("group_id  lag  records"));
    assert!(rendered(Format::Parquet, &[]).starts_with(b"PAR1"));
}

#[test]
fn csv_has_one_header_and_lists_as_json() {
    let csv = text(Format::Csv, &[batch(), batch().slice(2, 1)]);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[1], "or\u{1b}ders,9007199254740991,0,0.5,2023-11-14T22:13:20Z,\"[1,null]\"");
    assert_eq!(
        lines[2],
        "\"a,\"\"b\"\"\",-9007199254740992,18446744073709551615,NaN,1970-01-01T00:00:00.001500Z,\"[\"\"9007199254740992\"\"]\""
    );
    assert_eq!(lines[3], ",,7,,,");
    assert_eq!((lines.len(), lines[4]), (5, lines[3]));
}

#[test]
fn tables_escape_control_characters_and_show_null() {
    let table = text(Format::Table, &[batch()]);
    let words = |line: usize| table.lines().nth(line).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(2), "or\\u{1b}ders 9007199254740991 0 0.5 2023-11-14T22:13:20Z [1, NULL]");
    assert_eq!(words(4), "NULL NULL 7 NULL NULL NULL");
}

#[test]
fn plans_are_shown_line_by_line() {
    let text_of = |lines: [&str; 2]| -> ArrayRef { Arc::new(StringArray::from(lines.to_vec())) };
    let (kinds, plans) =
        (text_of(["logical_plan", "physical_plan"]), text_of(["Sort\n  Scan: 'a\u{1b}b'", "SortExec\n"]));
    let plan = RecordBatch::try_from_iter([("plan_type", kinds), ("plan", plans)]).unwrap();
    let shown = "logical_plan\n  Sort\n    Scan: 'a\\u{1b}b'\nphysical_plan\n  SortExec\n";
    assert_eq!(text(Format::Table, &[plan]), shown);
}

#[test]
fn arrow_and_parquet_hold_the_same_rows() {
    let arrow = rendered(Format::Arrow, &[batch(), batch()]);
    let read: Vec<RecordBatch> = StreamReader::try_new(arrow.as_slice(), None).unwrap().map(Result::unwrap).collect();
    assert_eq!(read, [batch(), batch()]);

    let parquet = rendered(Format::Parquet, &[batch()]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    std::fs::write(&path, parquet).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    let mut reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(file, 100).unwrap();
    let read = reader.next().unwrap().unwrap();
    assert_eq!(read.column(0).as_string::<i32>(), batch().column(0).as_string::<i32>());
    assert_eq!(read.column(4), batch().column(4));
}

#[test]
fn chunks_may_end_at_any_byte() {
    let mut renderer = Renderer::new(Format::Json, TableLayout::default(), Vec::new());
    for byte in pieces(&[batch()]).concat() {
        renderer.write_chunk(vec![byte]).unwrap();
    }
    let array: Json = serde_json::from_slice(&renderer.finish().unwrap().0).unwrap();
    assert_eq!(array, rows());
}

#[test]
fn a_response_that_is_not_an_arrow_stream_is_an_error() {
    let mut renderer = Renderer::new(Format::Table, TableLayout::default(), Vec::new());
    let garbage = renderer.write_chunk(vec![7; 64]).and_then(|()| renderer.finish().map(drop));
    assert!(garbage.is_err());
}

#[test]
fn types_of_parameters_are_guessed_only_when_nothing_is_lost() {
    let guess = |text: &str| parameter(text).value.unwrap();
    let string = |text: &str| Value::StringValue(text.to_owned());
    assert_eq!(guess("42"), Value::Int64Value(42));
    assert_eq!(guess("-7"), Value::Int64Value(-7));
    assert_eq!(guess("0.5"), Value::DoubleValue(0.5));
    assert_eq!(guess("-1e3"), Value::DoubleValue(-1000.0));
    assert_eq!(guess("true"), Value::BoolValue(true));
    assert_eq!(guess("null"), Value::NullValue(0));
    assert_eq!(guess("'42'"), string("42"));
    assert_eq!(guess("''"), string(""));
    for text in ["", "007", "00.5", "+5", "99999999999999999999", "nan", "inf", "1.2.3", "orders", "'", "1e999", "e5"] {
        assert_eq!(guess(text), string(text), "{text}");
    }
}

fn message(message: Message) -> Result<SqlResponse, Status> {
    Ok(SqlResponse { message: Some(message) })
}

/// Returns the messages that the server sends for a result of one batch.
fn answer(stats: SqlStats) -> Vec<Result<SqlResponse, Status>> {
    let [schema, rows, end] = pieces(&[batch()]).try_into().unwrap();
    vec![
        message(Message::Schema(SqlSchema { columns: vec![], arrow_ipc: schema })),
        message(Message::Batch(SqlBatch { rows: 3, arrow_ipc: rows, json_rows: vec![] })),
        message(Message::Stats(SqlStats { rows: 3, arrow_ipc: end, ..stats })),
    ]
}

fn args() -> SqlArgs {
    SqlArgs {
        statement: None,
        commands: vec![],
        files: vec![],
        format: Format::Table,
        params: vec![],
        max_rows: None,
        timeout: None,
        latest: false,
        server: ServerArgs::default(),
    }
}

async fn executed(fake: Fake, format: Format, token: Option<&str>) -> (String, Result<(), Failure>) {
    let mut client = fake.client(token).await;
    let mut out = Vec::new();
    let show = OutputOptions { format, layout: TableLayout::default(), timing: true, whole: "--format csv" };
    let result = execute(&mut client, args().request("SELECT"), &mut out, &show).await;
    (String::from_utf8(out).unwrap(), result.map(drop))
}

#[tokio::test]
async fn a_table_ends_with_rows_time_and_missing_clusters() {
    let stats = SqlStats {
        elapsed: Some(prost_types::Duration { seconds: 0, nanos: 3_400_000 }),
        truncated: true,
        incomplete_clusters: vec!["late".to_owned()],
        ..SqlStats::default()
    };
    let fake = Fake { sql: answer(stats), authorization: Some("Bearer t0ken"), ..Fake::default() };
    let (text, result) = executed(fake, Format::Table, Some("t0ken")).await;
    result.unwrap();
    let last = "(3 rows, limited by --max-rows, 3 ms); not included, since not loaded yet: late";
    assert_eq!(text.lines().last(), Some(last));
}

#[tokio::test]
async fn a_shortened_table_says_so_and_a_record_is_complete() {
    let fake = Fake { sql: answer(SqlStats::default()), ..Fake::default() };
    let mut client = fake.client(None).await;
    let mut shown = async |expanded, width| {
        let mut out = vec![];
        let layout = TableLayout { width: Some(width), expanded, colour: false };
        let show = OutputOptions { format: Format::Table, layout, timing: false, whole: "\\x" };
        execute(&mut client, args().request("SELECT"), &mut out, &show).await.unwrap();
        String::from_utf8(out).unwrap()
    };
    let table = shown(Expanded::Auto, 104).await;
    assert!(table.lines().all(|line| width(line) <= 104), "{table}");
    assert_eq!(table.lines().last(), Some("(3 rows); values are shortened; \\x shows them in full"));
    let records = shown(Expanded::Auto, 80).await;
    assert!(records.contains("─[ 3 ]") && records.contains("at        2023-11-14T22:13:20Z"), "{records}");
    assert_eq!(records.lines().last(), Some("(3 rows)"));
    assert!(shown(Expanded::On, 200).await.starts_with("─[ 1 ]"));
}

#[tokio::test]
async fn other_formats_contain_only_data() {
    let fake = Fake { sql: answer(SqlStats::default()), ..Fake::default() };
    let (text, result) = executed(fake, Format::Json, None).await;
    result.unwrap();
    assert_eq!(serde_json::from_str::<Json>(&text).unwrap(), rows());
}

#[tokio::test]
async fn an_error_after_some_rows_shows_them_and_fails() {
    let mut sql = answer(SqlStats::default());
    sql[2] = Err(Status::resource_exhausted("over sql.max_bytes"));
    let (text, result) = executed(Fake { sql: sql.clone(), ..Fake::default() }, Format::Table, None).await;
    assert!(text.contains("9007199254740991"), "{text}");
    assert_eq!(result.unwrap_err().to_string(), "over sql.max_bytes");
    sql.pop();
    let (_, result) = executed(Fake { sql, ..Fake::default() }, Format::Ndjson, None).await;
    assert!(result.unwrap_err().to_string().contains("incomplete"));
}

#[tokio::test]
async fn a_missing_token_is_reported() {
    let fake = Fake { authorization: Some("Bearer t0ken"), ..Fake::default() };
    let failure = executed(fake, Format::Table, None).await.1.unwrap_err();
    assert_eq!((failure.code(), failure.to_string().as_str()), (1, "no valid token (give --token or OFFSETD_TOKEN)"));
}

#[test]
fn requests_carry_limits_and_parameters() {
    let mut args = SqlArgs { params: vec!["1".to_owned()], max_rows: Some(5), latest: true, ..args() };
    args.timeout = Some(Duration::from_secs(2));
    let request = args.request("SELECT $1");
    assert!(request.metadata().contains_key("grpc-timeout"));
    let request = request.into_inner();
    assert_eq!((request.max_rows, request.parameters.len()), (5, 1));
    assert_eq!(request.freshness(), Freshness::Latest);
}

#[test]
fn small_integer_types_are_plain_json_numbers() {
    let column: ArrayRef = Arc::new(arrow::array::PrimitiveArray::<Int32Type>::from(vec![i32::MAX]));
    let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
    let mut renderer = Renderer::new(Format::Ndjson, TableLayout::default(), Vec::new());
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    renderer.write_chunk(writer.into_inner().unwrap()).unwrap();
    assert_eq!(renderer.finish().unwrap().0, b"{\"n\":2147483647}\n");
}
