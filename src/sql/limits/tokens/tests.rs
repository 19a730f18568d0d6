use super::*;

/// Returns the rewritten tokens of a statement as one text; literals are without escapes.
fn plain(sql: &str) -> Result<String, SqlError> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().unwrap();
    Ok(rewrite(tokens).unwrap()?.iter().map(ToString::to_string).collect())
}

#[test]
fn question_marks_are_numbered_from_left_to_right() {
    for (sql, expected) in [
        ("SELECT 1", "SELECT 1"),
        ("SELECT ?", "SELECT $1"),
        ("SELECT ?, ?,?", "SELECT $1, $2,$3"),
        ("SELECT ?\n\n FROM t\r\n WHERE x=?", "SELECT $1\n\n FROM t\n WHERE x=$2"),
        ("SELECT 'ä€😀' || ?", "SELECT 'ä€😀' || $1"),
        ("SELECT ?AS x", "SELECT $1AS x"),
        ("SELECT ?||'x', ?-1, ?|1", "SELECT $1||'x', $2-1, $3|1"),
    ] {
        assert_eq!(plain(sql).unwrap(), expected);
    }
}

#[test]
fn question_marks_in_literals_comments_and_quoted_names_are_text() {
    let sql = "SELECT '?', 'it''s ?', \"a?\" -- ?\n, /* ? /* ? */ ? */ ? FROM \"?\" WHERE x = ? -- '?";
    let expected = "SELECT '?', 'it's ?', \"a?\" -- ?\n, /* ? /* ? */ ? */ $1 FROM \"?\" WHERE x = $2 -- '?";
    assert_eq!(plain(sql).unwrap(), expected);
}

#[test]
fn both_kinds_of_parameters_are_refused() {
    assert!(matches!(plain("SELECT ?, $1"), Err(SqlError::Invalid(_))));
    assert_eq!(plain("SELECT '?', $1").unwrap(), "SELECT '?', $1");
}

#[test]
fn cluster_is_a_name_after_a_comma() {
    for (sql, expected) in [
        ("SELECT topic, cluster FROM lag", "SELECT topic, \"cluster\" FROM lag"),
        ("SELECT ?,\n /* , */ Cluster, ?", "SELECT $1,\n /* , */ \"cluster\", $2"),
        ("SELECT cluster, ', cluster', l.cluster", "SELECT cluster, ', cluster', l.cluster"),
        ("SELECT a, \"cluster\", clusters", "SELECT a, \"cluster\", clusters"),
    ] {
        assert_eq!(plain(sql).unwrap(), expected);
    }
}
