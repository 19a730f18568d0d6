//! Error texts of failing statements: short words for the author of the statement, whatever is wrong with it, and
//! nothing internal of the engine.

use std::sync::LazyLock;

use offsetd::rpc::proto::{SqlRequest, SqlValue, sql_value};
use offsetd::sql::SqlError;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use regex::Regex;
use serde_json::Value;
use tonic::Code;

use crate::pushdown::Both;
use crate::support::{Answer, Lab};

/// Texts that must never appear: the engine's name, its excuses, and Rust's debug format.
static FOREIGN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"DataFusion|(?i)internal error|likely|bug report|github|sqltorel|Some\(|None\b|\w \{|Ident\b|\n")
        .unwrap()
});

thread_local! {
    static BOTH: Both = Both::new();
}

/// Returns the error text of a statement; `None` if it succeeds. Panics if the text is not meant for the author.
fn refusal(sql: &str) -> Option<String> {
    match BOTH.with(|both| both.try_ours(sql)) {
        Ok(_) => None,
        Err(SqlError::Internal(text)) => panic!("{sql}\n  internal: {text}"),
        Err(error) => {
            let text = error.to_string();
            assert!(!FOREIGN.is_match(&text) && !text.is_empty(), "{sql}\n  {text}");
            Some(text)
        }
    }
}

#[test]
fn arguments_and_operands_of_wrong_types_are_refused_in_short_words() {
    for (sql, words) in [
        ("SELECT sum('x') FROM lag", "no function takes these arguments: sum(Utf8)"),
        ("SELECT sum(topic) FROM lag", "sum(Utf8)"),
        ("SELECT sum(now()) FROM lag", "sum(Timestamp"),
        ("SELECT round('x')", "round(Utf8)"),
        ("SELECT avg(true)", "avg(Boolean)"),
        (
            "SELECT topic FROM lag ORDER BY lcm(now(), X'00ff')",
            "Unsupported argument types Timestamp(Nanosecond) and Binary for function lcm",
        ),
        ("SELECT 1 BETWEEN 'a' AND now()", ""),
        ("SELECT topic BETWEEN 1 AND now() FROM lag", ""),
        ("SELECT * FROM lag PIVOT (sum(lag) FOR topic IN ('a', 'b'))", "not supported: PIVOT"),
        ("SELECT topic COLLATE \"de_DE\" FROM lag", "not supported: COLLATE"),
        ("SELECT * FROM lag UNPIVOT (v FOR k IN (lag, partition))", "not supported: UNPIVOT"),
        ("SELECT 1 DIV 2 FROM lag", "Line: 1, Column: 10"),
        ("SELECT regexp_like(topic, '(') FROM lag", "unclosed group"),
        ("SELECT topic ~ '(' FROM lag", "unclosed group"),
        ("SELECT regexp_replace(topic, '(', '') FROM lag", "unclosed group"),
        ("SELECT ntile('x') OVER (ORDER BY lag) FROM lag", ""),
        ("SELECT lag(lag, 'x') OVER (ORDER BY lag) FROM lag", ""),
        ("SELECT first_value() OVER () FROM lag", "first_value requires arguments"),
        ("SELECT last_value() OVER (ORDER BY lag) FROM lag", "last_value requires arguments"),
        ("SELECT nth_value() OVER () FROM lag", "nth_value requires arguments"),
        ("SELECT nth_value(lag) OVER () FROM lag", ""),
        ("SELECT first_value(), nth_value() FROM lag", ""),
        ("SELECT ntile() OVER (), lead() OVER (), sum() OVER () FROM lag", "requires arguments"),
        ("SELECT 1 + now()", ""),
        ("SELECT -topic FROM lag", ""),
        ("SELECT NOT 5", ""),
        ("SELECT * FROM lag WHERE lag", ""),
        ("SELECT * FROM lag LIMIT 'x'", ""),
        ("SELECT EXTRACT(DAY FROM 'x')", ""),
        ("SELECT no_such(1)", "no_such"),
        ("SELECT no_such FROM lag", "no_such"),
        ("SELEC 1", "syntax error"),
        ("SELECT 1; SELECT 2", "one statement at a time"),
        ("", "the statement is empty"),
    ] {
        let text = refusal(sql).unwrap_or_else(|| panic!("{sql} succeeds"));
        assert!(text.contains(words), "{sql}\n  {text}");
        assert!(text.len() < 500, "{sql}\n  {text}");
    }
}

/// A value of each kind, and columns.
const OPERANDS: [&str; 18] = [
    "NULL",
    "true",
    "-1",
    "9007199254740993",
    "2.5",
    "CAST(2.125 AS DECIMAL(10, 3))",
    "'x'",
    "'2026-01-02'",
    "DATE '2026-01-02'",
    "CAST('12:34:56' AS TIME)",
    "now()",
    "INTERVAL '1' DAY",
    "X'00ff'",
    "make_array(1, 2)",
    "make_array('a', NULL)",
    "topic",
    "lag",
    "committed_at",
];

const OPERATORS: [&str; 32] = [
    "+",
    "-",
    "*",
    "/",
    "%",
    "||",
    "=",
    "<>",
    "<",
    ">=",
    "AND",
    "OR",
    "LIKE",
    "NOT ILIKE",
    "SIMILAR TO",
    "~",
    "!~*",
    "&",
    "|",
    "#",
    "<<",
    ">>",
    "IS DISTINCT FROM",
    "@>",
    "<@",
    "->",
    "->>",
    "#>",
    "?",
    "&&",
    "DIV",
    "^",
];

/// The names of all functions.
static FUNCTIONS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let sql = "SELECT DISTINCT routine_name FROM information_schema.routines ORDER BY 1";
    let names = BOTH.with(|both| crate::pushdown::lines(&both.try_ours(sql).unwrap().1));
    let names: Vec<String> = names.iter().map(|line| line.trim_matches('|').to_owned()).collect();
    assert!(names.len() > 150 && names.iter().any(|name| name == "sum"), "{names:?}");
    names
});

fn expression() -> impl Strategy<Value = String> {
    let leaf = select(OPERANDS.to_vec()).prop_map(str::to_owned);
    leaf.prop_recursive(2, 6, 3, |inner| {
        let operand = || inner.clone();
        prop_oneof![
            6 => (select(FUNCTIONS.clone()), prop::collection::vec(operand(), 0..4), 0..6).prop_map(|(name, of, form)| {
                let rest = match form {
                    0 => " OVER ()",
                    1 => " OVER (PARTITION BY topic ORDER BY lag ROWS 1 PRECEDING)",
                    2 => " FILTER (WHERE lag > 1)",
                    _ => "",
                };
                format!("{name}({}){rest}", of.join(", "))
            }),
            6 => (operand(), select(OPERATORS.to_vec()), operand()).prop_map(|(a, sign, b)| format!("({a} {sign} {b})")),
            1 => (operand(), operand(), operand()).prop_map(|(a, b, c)| format!("({a} BETWEEN {b} AND {c})")),
            1 => (operand(), operand(), operand()).prop_map(|(a, b, c)| format!("({a} NOT IN ({b}, {c}))")),
            1 => (operand(), operand(), operand()).prop_map(|(a, b, c)| format!("CASE WHEN {a} THEN {b} ELSE {c} END")),
            1 => (operand(), select(vec!["BIGINT", "BOOLEAN", "TIMESTAMP", "DATE", "TEXT", "DECIMAL(5, 2)", "BYTEA"]))
                .prop_map(|(a, kind)| format!("CAST({a} AS {kind})")),
            1 => operand().prop_map(|a| format!("(- {a})")),
            1 => operand().prop_map(|a| format!("(NOT {a})")),
            1 => (operand(), operand()).prop_map(|(a, b)| format!("({a})[{b}]")),
        ]
    })
}

/// Returns the seed: fixed, except in `tests/all slow`, where each run tries new expressions.
fn seed() -> RngSeed {
    if std::env::var_os("OFFSETD_SLOW_TESTS").is_some() { RngSeed::Random } else { RngSeed::Fixed(18) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, rng_seed: seed(), ..ProptestConfig::default() })]

    #[test]
    fn no_expression_of_any_types_is_an_internal_error(expression in expression(), form in 0..5) {
        let sql = match form {
            0 => format!("SELECT {expression}"),
            1 => format!("SELECT {expression} FROM lag"),
            2 => format!("SELECT count(*) FROM lag WHERE {expression}"),
            3 => format!("SELECT count(*) FROM lag GROUP BY {expression}"),
            _ => format!("SELECT topic FROM lag ORDER BY {expression} LIMIT 3"),
        };
        // The value of version() contains the engine's name.
        prop_assume!(!sql.contains("version("));
        refusal(&sql);
    }
}

#[test]
fn a_text_is_cut_to_what_trailers_hold() {
    let lab = Lab::new(1);
    for name in ["x".repeat(20_000), "消".repeat(9_000)] {
        let (code, text) = lab.sql_error(&format!("SELECT \"{name}\" FROM lag"));
        assert_eq!(code, Code::InvalidArgument, "{text}");
        assert!(text.contains(name.get(..300).unwrap()) && text.len() <= 4096, "{} bytes", text.len());
    }
    let parameters = vec![SqlValue { value: Some(sql_value::Value::StringValue("x".repeat(50_000))) }];
    let request = SqlRequest { statement: "SELECT CAST($1 AS BIGINT)".to_owned(), parameters, ..SqlRequest::default() };
    let status = lab.try_sql(request).unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().len() <= 4096, "{} bytes", status.message().len());
}

/// A statement with several MB of rows before the one that fails.
const BREAKS: &str = "SELECT a.comment AS x, b.comment AS y, \
    1 / CASE WHEN a.table_name = 'topics' AND b.table_name = 'topics' THEN 0 ELSE 1 END AS z FROM columns a, columns b";

#[test]
fn an_answer_that_fails_on_the_way_says_so_or_breaks_off() {
    let lab = Lab::new(1);
    let sent = |accept: &str| lab.http().post(lab.url("/v1/sql")).header("accept", accept).send(BREAKS).unwrap();
    let answer = Answer::read(sent("application/x-ndjson"));
    assert_eq!(answer.status, 200);
    let lines: Vec<&str> = answer.text().lines().collect();
    assert!(lines.len() > 1000, "{} lines", lines.len());
    let last: Value = serde_json::from_str(lines[lines.len() - 1]).unwrap();
    assert_eq!(last["error"]["code"], "INVALID_ARGUMENT", "{last}");
    assert_eq!(last["error"]["message"], "division by zero", "{last}");
    assert!(last["error"]["id"].is_null() && last.as_object().unwrap().len() == 1, "{last}");
    for accept in ["application/json", "text/csv", "application/vnd.apache.arrow.stream"] {
        let mut answer = sent(accept);
        assert_eq!(answer.status(), 200);
        let read = answer.body_mut().with_config().limit(1 << 30).read_to_vec();
        assert!(read.is_err(), "{accept}: looks whole");
    }
}
