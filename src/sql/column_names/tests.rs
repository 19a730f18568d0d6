use datafusion::sql::parser::DFParser;

use super::*;

/// Returns the statement with its columns named.
fn named(sql: &str) -> String {
    let mut parsed = DFParser::parse_sql(sql).unwrap().pop_front().unwrap();
    name_columns(&mut parsed);
    parsed.to_string()
}

#[test]
fn an_expression_is_named_by_its_text_and_a_column_by_itself() {
    assert_eq!(
        named("SELECT group_id, l.topic, sum(lag),  lag\n *  2, 1, 'x' AS y FROM lag l"),
        "SELECT group_id, l.topic, sum(lag) AS \"sum(lag)\", lag * 2 AS \"lag * 2\", 1 AS \"1\", 'x' AS y FROM lag l"
    );
    assert_eq!(named("SELECT *, count(*) FROM lag"), "SELECT *, count(*) AS \"count(*)\" FROM lag");
}

#[test]
fn every_select_is_named_and_quotes_are_doubled() {
    assert_eq!(
        named("WITH a AS (SELECT max(x) FROM t) SELECT * FROM (SELECT \"a\" || 'b' FROM a) UNION SELECT 1"),
        "WITH a AS (SELECT max(x) AS \"max(x)\" FROM t) \
         SELECT * FROM (SELECT \"a\" || 'b' AS \"\"\"a\"\" || 'b'\" FROM a) UNION SELECT 1 AS \"1\""
    );
}

#[test]
fn names_have_an_end_and_are_not_given_twice() {
    let long = format!("SELECT {}", vec!["1"; 40].join(" + "));
    let name = named(&long).split('"').nth(1).unwrap().to_owned();
    assert_eq!(name.chars().count(), MAX_CHARACTERS);
    assert_eq!(named(&format!("{long}, {} + 2", vec!["1"; 40].join(" + "))).matches(" AS ").count(), 0);
    assert_eq!(named("SELECT unnest(x)"), "SELECT unnest(x)");
    assert_eq!(named("EXPLAIN SELECT 1"), "EXPLAIN SELECT 1");
}
