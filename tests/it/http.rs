//! HTTP/1.1: statements in four formats, the point query, probes, metrics, and unknown paths.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray as _;
use arrow::datatypes::{DataType, Int64Type};
use arrow::ipc::reader::StreamReader;
use serde_json::{Value, json};

use crate::mock::Commit;
use crate::rpc::shop;
use crate::support::{Answer, Lab, Setup, kafka, until};

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const CSV: &str = "text/csv";
const ARROW: &str = "application/vnd.apache.arrow.stream";

/// A value of every kind that answers can contain, and a row of NULLs.
const KINDS: &str = "SELECT * FROM (VALUES \
    (1, 'a \"b\", ü\nc', 9007199254740991, 9007199254740992, 0.5, true, '2026-01-02T03:04:05'::timestamp, \
     make_array('x', NULL, 'y,\"z\"')), \
    (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL), \
    (3, '', -9007199254740991, -9223372036854775808, 1e300, false, '1969-12-31T23:59:59.999'::timestamp, make_array())) \
    AS t (id, text, exact, big, float, flag, at, list) ORDER BY id";

fn post(lab: &Lab, body: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = lab.http().post(lab.url("/v1/sql"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::read(request.send(body).unwrap())
}

fn accepting(lab: &Lab, accept: &str, statement: &str) -> Answer {
    let answer = post(lab, statement, &[("accept", accept)]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.header("content-type").starts_with(accept), "{:?}", answer.headers);
    answer
}

fn assert_problem(answer: &Answer, status: u16, words: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), JSON);
    let body = answer.json();
    let error = body["error"].as_str().unwrap_or_else(|| panic!("{body}"));
    assert!(error.contains(words), "{words:?} is not in {error:?}");
}

#[test]
fn json_is_an_array_of_objects_with_large_integers_as_strings() {
    let lab = Lab::new(1);
    let rows = accepting(&lab, JSON, KINDS).json();
    let expected = json!([
        {"id": 1, "text": "a \"b\", ü\nc", "exact": 9_007_199_254_740_991_i64, "big": "9007199254740992", "float": 0.5,
         "flag": true, "at": "2026-01-02T03:04:05Z", "list": ["x", null, "y,\"z\""]},
        {"id": 2, "text": null, "exact": null, "big": null, "float": null, "flag": null, "at": null, "list": null},
        {"id": 3, "text": "", "exact": -9_007_199_254_740_991_i64, "big": "-9223372036854775808", "float": 1e300,
         "flag": false, "at": "1969-12-31T23:59:59.999Z", "list": []},
    ]);
    assert_eq!(rows, expected);
    assert_eq!(accepting(&lab, JSON, "SELECT * FROM lag").json(), json!([]));
}

#[test]
fn ndjson_is_an_object_a_line() {
    let lab = Lab::new(1);
    let answer = accepting(&lab, NDJSON, KINDS);
    let lines: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::Array(lines), accepting(&lab, JSON, KINDS).json());
    assert!(answer.text().ends_with("}\n"));
    assert_eq!(accepting(&lab, NDJSON, "SELECT * FROM lag").text(), "");
}

#[test]
fn csv_has_a_header_and_quotes_what_needs_it() {
    let lab = Lab::new(1);
    let expected = "id,text,exact,big,float,flag,at,list\n\
        1,\"a \"\"b\"\", ü\nc\",9007199254740991,9007199254740992,0.5,true,2026-01-02T03:04:05Z,\"[\"\"x\"\",null,\"\"y,\\\"\"z\\\"\"\"\"]\"\n\
        2,,,,,,,\n\
        3,\"\",-9007199254740991,-9223372036854775808,1e300,false,1969-12-31T23:59:59.999Z,[]\n";
    assert_eq!(accepting(&lab, CSV, KINDS).text(), expected);
    assert_eq!(accepting(&lab, CSV, "SELECT group_id, lag FROM lag").text(), "group_id,lag\n");
    assert_eq!(accepting(&lab, CSV, "SELECT NULL AS a, '' AS b").text(), "a,b\n,\"\"\n");
}

#[test]
fn with_a_guard_no_text_in_csv_is_a_formula() {
    let lab = Lab::new(1);
    let statement = "SELECT * FROM (VALUES \
        (1, '=1+1', -5), (2, '+x', 5), (3, '-x', 0), (4, '@SUM(A1)', 0), (5, '  =\"a\",b', 0), (6, chr(9) || 'x', 0), \
        (7, '\u{ff1d}1', 0), (8, 'a=1', 0), (9, '', 0), (10, NULL, 0)) AS t (id, \"=text\", number) ORDER BY id";
    let csv = |query: &str| {
        let call = lab.http().post(lab.url(&format!("/v1/sql{query}"))).header("accept", CSV);
        let answer = Answer::read(call.send(statement).unwrap());
        (answer.status, answer.text().to_owned())
    };
    let guarded = "id,\"'=text\",number\n1,\"'=1+1\",-5\n2,\"'+x\",5\n3,\"'-x\",0\n4,\"'@SUM(A1)\",0\n\
        5,\"'  =\"\"a\"\",b\",0\n6,\"'\tx\",0\n7,\"'\u{ff1d}1\",0\n8,a=1,0\n9,\"\",0\n10,,0\n";
    assert_eq!(csv("?guard=1"), (200, guarded.to_owned()));
    let bare = csv("").1;
    assert!(bare.starts_with("id,=text,number\n1,=1+1,-5\n"), "{bare}");
    assert_eq!(csv("?guard=0").1, bare);
    assert_eq!(csv("?guard=yes").0, 400);
}

#[test]
fn arrow_is_a_stream_with_the_types() {
    let lab = Lab::new(1);
    let answer = accepting(&lab, ARROW, KINDS);
    let reader = StreamReader::try_new(&*answer.body, None).unwrap();
    let types: Vec<_> = reader.schema().fields().iter().map(|field| field.data_type().to_string()).collect();
    assert_eq!(types[..7], ["Int64", "Utf8", "Int64", "Int64", "Float64", "Boolean", "Timestamp(ns)"]);
    assert!(matches!(reader.schema().field(7).data_type(), DataType::List(_)));
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    let batch = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
    assert_eq!(batch.column(3).as_primitive::<Int64Type>().value(2), i64::MIN);
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[1, 2, 3]);
    let empty = accepting(&lab, ARROW, "SELECT group_id FROM lag");
    let reader = StreamReader::try_new(&*empty.body, None).unwrap();
    assert_eq!((reader.schema().fields().len(), reader.count()), (1, 0));
}

#[test]
fn the_format_is_the_one_that_accept_gives_most_weight_and_json_by_default() {
    let lab = Lab::new(1);
    let kind = |headers: &[(&str, &str)]| {
        let answer = post(&lab, "SELECT 1 AS one", headers);
        assert_eq!(answer.status, 200);
        answer.header("content-type").to_owned()
    };
    assert_eq!(kind(&[]), JSON);
    assert_eq!(kind(&[("accept", "*/*")]), JSON);
    assert_eq!(kind(&[("accept", "text/html, application/x-ndjson;q=0.9, */*;q=0.8")]), NDJSON);
    assert_eq!(kind(&[("accept", "text/csv;q=0.1, application/x-ndjson;q=0.9")]), NDJSON);
    assert_eq!(kind(&[("accept", "application/json;q=0, */*")]), NDJSON);
    assert_eq!(kind(&[("accept", "application/json;q=0.5, text/csv")]), "text/csv; charset=utf-8");
    let answer = post(&lab, "SELECT 1", &[("accept", "application/json;q=0")]);
    assert_problem(&answer, 400, "application/json;q=0");
    let answer = post(&lab, "SELECT 1", &[("accept", "image/png")]);
    assert_problem(&answer, 400, "image/png");
}

#[test]
fn a_json_body_carries_parameters_and_max_rows() {
    let lab = shop();
    let send = |body: &Value| post(&lab, &body.to_string(), &[("content-type", JSON)]);
    let statement = "SELECT group_id, partition FROM offsets WHERE group_id = $1 AND partition < $2 ORDER BY 2";
    let answer = send(&json!({"statement": statement, "parameters": ["billing", 5]}));
    assert_eq!(answer.json().as_array().unwrap().len(), 3);
    assert!(!answer.header("offsetd-snapshot").is_empty());
    let answer =
        send(&json!({"statement": "SELECT $1 IS NULL AS a, $2 AS b, $3 AS c", "parameters": [null, true, 0.25]}));
    assert_eq!(answer.json(), json!([{"a": true, "b": true, "c": 0.25}]));
    let answer = send(&json!({"statement": "SELECT * FROM offsets", "max_rows": 2}));
    assert_eq!(answer.json().as_array().unwrap().len(), 2);
    assert_eq!(answer.header("offsetd-truncated"), "true");
    let answer = send(&json!({"statement": "SELECT * FROM offsets", "max_rows": 0}));
    assert!(answer.json().as_array().unwrap().len() > 2, "0 means unlimited");
    assert_eq!(answer.header("offsetd-truncated"), "false");
    // This answer is longer than the part that is computed before the first byte is sent, so `offsetd-truncated` is
    // sent as a trailer.
    let long = "SELECT a.* FROM columns a CROSS JOIN columns b";
    let answer = send(&json!({"statement": long, "max_rows": 9_000}));
    assert_eq!(answer.json().as_array().unwrap().len(), 9_000);
    assert_eq!((answer.header("offsetd-truncated"), answer.header("trailer")), ("", "offsetd-truncated"));
    assert_eq!(send(&json!({"statement": "SELECT 1 AS x", "freshness": "latest"})).json(), json!([{"x": 1}]));
    for (body, words) in [
        (json!({"statement": "SELECT 1", "rows": 1}), "rows"),
        (json!({"parameters": []}), "statement"),
        (json!({"statement": "SELECT $1", "parameters": [[1]]}), "parameters"),
        (json!({"statement": "SELECT 1", "freshness": "newest"}), "newest"),
        (json!({"statement": "SELECT 1", "max_rows": -1}), "-1"),
    ] {
        assert_problem(&send(&body), 400, words);
    }
    assert_problem(&post(&lab, "{", &[("content-type", JSON)]), 400, "statement");
}

#[test]
fn errors_have_the_status_of_their_kind() {
    let lab = Setup::default().with("SQL_MAX_ROWS", "5").ready(&kafka(1));
    let sql = |statement: &str| post(&lab, statement, &[]);
    assert_problem(&sql("SELEC"), 400, "syntax");
    for (statement, start) in [
        ("SELECT nothing FROM lag", "No field named nothing"),
        ("SELECT * FROM nowhere", "table 'offsetd.public.nowhere' not found"),
        ("SELECT 1 + 'x'::bytea[]", ""),
    ] {
        let error = sql(statement).json()["error"].as_str().unwrap().to_owned();
        assert!(error.starts_with(start) && !error.contains("Error during planning"), "{error}");
    }
    assert_problem(&sql("SELECT nothing\nFROM lag"), 400, "Line: 1, Column: 8");
    assert_problem(&sql(&"x".repeat(3 << 20)), 429, "sql.max_statement_bytes");
    let long = sql(&"x".repeat(5 << 20));
    assert_problem(&long, 429, "4 MiB, a fixed limit");
    assert!(!long.json()["error"].to_string().contains("setting"), "no setting raises this limit: {long:?}");
    assert_problem(&sql("DELETE FROM lag"), 400, "read-only");
    assert_problem(&sql("SELECT 1; SELECT 2"), 400, "one statement");
    assert_problem(&sql(""), 400, "statement");
    let exhausted = sql("SELECT * FROM columns");
    assert_problem(&exhausted, 429, "sql.max_rows");
    assert_eq!(exhausted.header("retry-after"), "", "a retry would fail again");
    let endless = "SELECT sum(a.position * b.position * c.position * d.position) FROM columns a, columns b, columns c, \
                   (SELECT * FROM columns LIMIT 20) d";
    let lab = Setup::default().with("SQL_TIMEOUT", "500ms").ready(&kafka(1));
    assert_problem(&post(&lab, endless, &[]), 504, "sql.timeout");
}

#[test]
fn while_the_cluster_is_not_loaded_data_is_unavailable() {
    let kafka = kafka(1);
    kafka.mock().unwrap().broker_down(1).unwrap();
    let lab = Setup::default().start(&kafka);
    let answer = post(&lab, "SELECT * FROM lag", &[]);
    assert_problem(&answer, 503, "not loaded yet");
    assert!(!answer.header("retry-after").is_empty());
    assert_problem(&lab.get("/v1/query?group_id=g&topic=t&partition=0"), 503, "not loaded yet");
    let ready = lab.get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.json()["awaited"][0].as_str().unwrap().contains("default"), "{}", ready.text());
    assert_eq!((lab.get("/livez").status, lab.get("/metrics").status), (200, 200));
    kafka.mock().unwrap().broker_up(1).unwrap();
    lab.wait_ready();
    assert_eq!(
        lab.get("/readyz").json(),
        json!({"status": "ready", "notes": ["cluster default: no group has committed yet"]})
    );
    assert_eq!(post(&lab, "SELECT * FROM lag", &[]).json(), json!([]));
}

#[test]
fn query_is_the_call_as_json() {
    let lab = shop();
    let answer = lab.get("/v1/query?group_id=billing&topic=orders&partition=0");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let entry = &body["entry"];
    let expected = json!({
        "cluster": "default", "source": "kafka", "group_id": "billing", "topic": "orders", "partition": 0,
        "committed_offset": 90, "leader_epoch": 3, "metadata": "", "expires_at": null, "topic_id": null,
        "log_start_offset": 0, "log_end_offset": 100, "lag": 10, "lag_unknown": null,
        "log_partition": lab.writer.log_partition("billing").unwrap(),
        "owner": {
            "member_id": "c1-id", "instance_id": "c1-instance", "client_id": "c1", "client_host": "/10.0.0.1", "source": null,
        },
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&entry[name], value, "{name}");
    }
    assert!(entry["committed_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(body["snapshot"]["clusters"][0]["complete"], true);
    let unknown = lab.get("/v1/query?group_id=gone&topic=vanished&partition=0&freshness=latest").json();
    assert_eq!((&unknown["entry"]["lag"], &unknown["entry"]["lag_unknown"]), (&Value::Null, &json!("end_unknown")));
}

#[test]
fn query_errors_say_what_is_wrong_with_the_parameters() {
    let lab = shop();
    let get = |parameters: &str| lab.get(&format!("/v1/query?{parameters}"));
    assert_problem(&get("group_id=missing&topic=orders&partition=0"), 404, "missing");
    assert_problem(&get("group_id=billing&topic=x&partition=0"), 404, "\"x\"");
    assert_problem(&get("cluster=x&group_id=billing&topic=orders&partition=0"), 404, "\"x\"");
    assert_problem(&get("group_id=billing&topic=orders"), 400, "partition");
    assert_problem(&get("topic=orders&partition=0"), 400, "group_id");
    assert_problem(&get("group_id=billing&topic=orders&partition=one"), 400, "\"one\"");
    assert_problem(&get("group_id=billing&topic=orders&partition=0&part=1"), 400, "part");
    assert_problem(&get("group_id=billing&topic=orders&partition=0&freshness=new"), 400, "new");
}

#[test]
fn what_is_not_there_is_404_and_another_method_405() {
    let lab = Lab::new(1);
    assert_problem(&lab.get("/nothing"), 404, "no such page");
    assert_problem(&lab.get("/v1/nothing"), 404, "no such page");
    assert_problem(&lab.get("/v1/sql"), 405, "method");
    assert_eq!(lab.get("/").status, 200);
    let grpc = lab.http().post(lab.url("/nothing.Service/Call")).header("content-type", "application/grpc");
    let answer = Answer::read(grpc.send(&[0_u8; 5][..]).unwrap());
    assert_eq!((answer.status, answer.header("grpc-status")), (200, "12"));
}

/// Sends a request as a browser does.
fn browse(lab: &Lab, path: &str, accept: &str, encodings: &str) -> Answer {
    let call = lab.http().get(lab.url(path)).header("accept", accept).header("accept-encoding", encodings);
    Answer::read(call.call().unwrap())
}

const HTML: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

#[test]
fn browsers_get_the_dashboard_and_others_a_text() {
    let lab = Lab::new(1);
    let document = browse(&lab, "/", HTML, "identity");
    assert_eq!((document.status, document.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(document.text().contains("<div id=\"app\">"), "{}", document.text());
    assert_eq!((document.header("cache-control"), document.header("vary")), ("no-cache", "accept"));
    let policy = document.header("content-security-policy");
    for part in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(document.header("x-content-type-options"), "nosniff");
    assert_eq!(document.header("x-frame-options"), "DENY");
    assert_eq!(document.header("referrer-policy"), "no-referrer");
    let page = browse(&lab, "/group?cluster=default&id=a%2Fb%0A%3Cb%3E", HTML, "identity");
    assert_eq!((page.status, page.text()), (200, document.text()));

    assert!(lab.get("/").text().contains("/v1/sql"));
    assert_problem(&lab.get("/consumers"), 404, "no such page");
}

#[test]
fn only_pages_that_the_operator_names_may_show_the_dashboard_in_a_frame() {
    let named = "https://wiki.example.org, http://grafana:3000/";
    let lab = Setup::default().with("SERVER_HTTP_FRAME_ANCESTORS", named).start(&kafka(1));
    for (path, status) in [("/", 200), ("/compare", 200), ("/nothing", 404)] {
        let page = browse(&lab, path, HTML, "identity");
        let policy = page.header("content-security-policy");
        assert!(policy.ends_with("; frame-ancestors https://wiki.example.org http://grafana:3000"), "{policy}");
        assert_eq!((page.status, page.header("x-frame-options")), (status, ""), "{path}");
    }
}

#[test]
fn what_is_not_there_is_a_page_in_browsers_and_json_for_programs() {
    let lab = Lab::new(1);
    for path in ["/nothing", "/consumers/of/nothing", "/v1/nothing"] {
        let page = browse(&lab, path, HTML, "identity");
        assert_eq!((page.status, page.header("content-type")), (404, "text/html; charset=utf-8"), "{path}");
        assert!(page.text().contains("<div id=\"app\">") && page.header("content-security-policy").contains("'none'"));
        for accept in ["*/*", "application/json"] {
            assert_problem(&browse(&lab, path, accept, "identity"), 404, "no such page");
        }
    }
}

#[test]
fn assets_come_compressed_and_are_kept_for_ever() {
    let lab = Lab::new(1);
    let document = browse(&lab, "/", HTML, "identity");
    let names: Vec<&str> = document.text().split('"').filter(|part| part.starts_with("/assets/")).collect();
    assert!(names.iter().any(|name| name.ends_with(".js")), "{names:?}");
    for name in names {
        let brotli = browse(&lab, name, "*/*", "gzip, deflate, br");
        assert_eq!((brotli.status, brotli.header("content-encoding")), (200, "br"), "{name}");
        assert_eq!(brotli.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!((brotli.header("vary"), brotli.header("x-content-type-options")), ("accept-encoding", "nosniff"));
        let gzip = browse(&lab, name, "*/*", "gzip");
        assert_eq!((gzip.status, gzip.header("content-type")), (200, brotli.header("content-type")), "{name}");
    }
    assert_problem(&browse(&lab, "/assets/../Cargo.toml", "*/*", "gzip"), 404, "no such page");
    assert_problem(&browse(&lab, "/assets/%2e%2e%2findex.html", "*/*", "gzip"), 404, "no such page");
}

/// A sample: labels and value.
type Sample = (BTreeMap<String, String>, f64);

/// Parses the text format (version 0.0.4), and asserts its rules for every line.
fn parse_metrics(text: &str) -> BTreeMap<String, Vec<Sample>> {
    let mut families: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    let (mut seen, mut current, mut helped) = (BTreeSet::new(), String::new(), String::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty());
            name.clone_into(&mut helped);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(name, helped, "HELP precedes TYPE");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(families.insert(name.to_owned(), vec![]).is_none(), "the samples of {name} are contiguous");
            name.clone_into(&mut current);
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            assert_eq!(name, current, "a sample follows the header of its family");
            assert!(seen.insert(series.to_owned()), "{series} occurs twice");
            let sample = (parse_labels(labels), value.parse().unwrap_or_else(|_| panic!("{line}")));
            families.get_mut(name).unwrap().push(sample);
        }
    }
    families
}

/// Parses labels, from after the opening brace to the closing one.
fn parse_labels(text: &str) -> BTreeMap<String, String> {
    let (mut labels, mut rest) = (BTreeMap::new(), text);
    while rest != "}" {
        let (name, after) = rest.split_once("=\"").unwrap();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name:?}");
        let (mut value, mut chars) = (String::new(), after.chars());
        loop {
            match chars.next().unwrap() {
                '"' => break,
                '\\' => value.push(match chars.next().unwrap() {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    other => panic!("escape {other:?}"),
                }),
                c => value.push(c),
            }
        }
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} occurs twice");
        let after = chars.as_str();
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    labels
}

fn metrics(lab: &Lab) -> BTreeMap<String, Vec<Sample>> {
    let answer = lab.get("/metrics");
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    parse_metrics(answer.text())
}

/// Returns the value of the only sample with these labels.
fn sample(families: &BTreeMap<String, Vec<Sample>>, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let family = families.get(name).unwrap_or_else(|| panic!("no family {name}"));
    let matches =
        |of: &&Sample| labels.iter().all(|(label, value)| of.0.get(*label).map(String::as_str) == Some(*value));
    let found: Vec<f64> = family.iter().filter(matches).map(|of| of.1).collect();
    assert!(found.len() <= 1, "{name} {labels:?}: {found:?}");
    found.first().copied()
}

#[test]
#[allow(clippy::float_cmp, reason = "counts are whole")]
fn metrics_are_prometheus_text_and_unknown_lag_has_no_sample() {
    let lab = shop();
    let strange = "a\"b\\c\nd";
    lab.writer.commit(&Commit::new(strange, "orders", 0, 10, lab.clock.now())).unwrap();
    lab.writer.write_raw(0, Some(&[0, 42]), None).unwrap();
    lab.writer.write_raw(0, None, Some(&[1])).unwrap();
    lab.settle();
    let all = metrics(&lab);
    let key = |group, topic, partition| [("group_id", group), ("topic", topic), ("partition", partition)];
    let consumer = |name: &str, group, topic, partition| {
        sample(&all, &format!("offsetd_consumer_{name}"), &key(group, topic, partition))
    };
    assert_eq!(consumer("committed_offset", "billing", "orders", "0"), Some(90.0));
    assert_eq!(consumer("lag", "billing", "orders", "0"), Some(10.0));
    assert_eq!(consumer("lag", "audit", "orders", "0"), Some(0.0));
    assert_eq!(consumer("lag", strange, "orders", "0"), Some(90.0));
    assert_eq!(consumer("committed_offset", "gone", "vanished", "0"), Some(5.0));
    assert_eq!(consumer("lag", "gone", "vanished", "0"), None, "an unknown value is not 0");
    assert_eq!(consumer("lag_seconds", "gone", "vanished", "0"), None);
    let topic = [("topic", "orders"), ("partition", "0"), ("cluster", "default")];
    assert_eq!(sample(&all, "offsetd_partition_log_end_offset", &topic), Some(100.0));
    assert_eq!(sample(&all, "offsetd_partition_log_start_offset", &topic), Some(0.0));
    assert_eq!(sample(&all, "offsetd_cluster_ready", &[]), Some(1.0));
    assert_eq!(sample(&all, "offsetd_cluster_reachable", &[("cluster", "default")]), Some(1.0));
    assert_eq!((sample(&all, "offsetd_groups", &[]), sample(&all, "offsetd_offsets", &[])), (Some(6.0), Some(7.0)));
    assert_eq!(sample(&all, "offsetd_unknown_records_total", &[("type", "42"), ("log_partition", "0")]), Some(1.0));
    assert_eq!(sample(&all, "offsetd_decode_errors_total", &[("log_partition", "0")]), Some(1.0));
    assert!(sample(&all, "offsetd_build_info", &[("version", env!("CARGO_PKG_VERSION"))]).is_some());
    let records: f64 = all["offsetd_log_records_total"].iter().map(|of| of.1).sum();
    assert_eq!(records, 12.0);
}

#[test]
fn counters_never_fall_and_follow_the_log() {
    let lab = Lab::new(1);
    let records = || sample(&metrics(&lab), "offsetd_log_records_total", &[]).unwrap();
    let before = records();
    (0..5).for_each(|offset| lab.commit("g", "t", 0, offset));
    lab.settle();
    assert!((records() - before - 5.0).abs() < f64::EPSILON);
    until("the log to be applied completely", || {
        sample(&metrics(&lab), "offsetd_log_behind", &[]).is_some_and(|behind| behind == 0.0)
    });
}
