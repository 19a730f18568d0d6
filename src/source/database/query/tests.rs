use super::*;

const ALL: [&str; 6] = ["metadata", "committed_at", "committed_offset", "partition", "topic", "group_id"];

#[test]
fn columns_are_found_in_any_order_and_a_setting_replaces_group_or_topic() {
    let found = QueryColumns::find(ALL, "", "").unwrap();
    assert_eq!(found.0, COLUMNS.map(|(_, name)| Some(name.to_owned())));
    let found = QueryColumns::find(["Partition", "COMMITTED_OFFSET"], "g", "t").unwrap();
    let names = [None, None, Some("Partition".to_owned()), Some("COMMITTED_OFFSET".to_owned()), None, None];
    assert_eq!(found.0, names);
}

#[test]
fn columns_that_do_not_fit_are_named() {
    let refused =
        |names: &[&str], group, topic| QueryColumns::find(names.iter().copied(), group, topic).unwrap_err().to_string();
    let required = "it must return group_id, topic, partition and committed_offset, and may return committed_at and";
    for (error, shown) in [
        (refused(&["part"], "", ""), "`query` returns the unknown column \"part\""),
        (refused(&["topic", "topic"], "", ""), "`query` returns the column topic twice"),
        (refused(&["topic", "partition", "committed_offset"], "", ""), "no column group_id, and the setting `group`"),
        (refused(&["committed_offset"], "g", "t"), "`query` returns no column partition"),
        (refused(&[], "g", "t"), "`query` returns no column partition"),
    ] {
        assert!(error.contains(shown) && error.contains(required), "{error}");
    }
    let error = refused(&ALL, "g", "");
    assert_eq!(error, "`query` returns the column group_id, and the setting `group` is set too; remove either");
}

#[test]
fn the_query_is_a_subselect_whose_cells_are_short_texts() {
    let columns = QueryColumns::find(["partition", "committed_offset"], "g", "t").unwrap();
    assert_eq!(
        Dialect::Postgres.select(" SELECT * FROM offsets -- all\n ; ", &columns),
        "SELECT NULL, NULL, left(CAST(t.\"partition\" AS text), 4097), \
         left(CAST(t.\"committed_offset\" AS text), 4097), \
         NULL, NULL FROM (\nSELECT * FROM offsets -- all\n) AS t"
    );
    let columns = QueryColumns([Some("a`b".to_owned()), None, None, None, None, None]);
    let statement = Dialect::Mysql.select("SELECT 1", &columns);
    assert!(statement.starts_with("SELECT left(CAST(t.`a``b` AS char), 4097), NULL,"), "{statement}");
}

#[test]
fn the_time_limit_of_a_statement_is_never_unlimited() {
    for (timeout, shown) in
        [(Duration::ZERO, "= 1"), (Duration::from_millis(200), "= 200"), (Duration::MAX, "= 2147483647")]
    {
        assert_eq!(Dialect::Postgres.begin(timeout), format!("BEGIN READ ONLY; SET LOCAL statement_timeout {shown}"));
    }
    let statements = Dialect::Mysql.begin(Duration::from_millis(1_050));
    assert!(
        statements.contains("max_statement_time = 1.050 */ /*!50708 , max_execution_time = 1050 */"),
        "{statements}"
    );
}
