use super::*;

fn names() -> Catalog {
    let mut names = Catalog::default();
    for (table, columns) in [
        (Some("groups"), "cluster group_id lag members status"),
        (Some("lag"), "cluster group_id topic lag lag_seconds status"),
        (Some("members"), "cluster group_id member_id client_id"),
        (Some("topics"), "cluster topic groups"),
        (Some("evil\u{1b}[2J"), "x"),
        (None, "lcm lower sum || \u{202e}"),
    ] {
        columns.split(' ').for_each(|column| names.add(table, column));
    }
    names
}

/// Returns the completions of the word before `|`.
fn at(text: &str) -> String {
    let (before, after) = text.split_once('|').unwrap();
    let (length, found) = complete(&names(), before, after);
    let (_, word) = before.split_at(before.len() - length);
    assert!(found.iter().all(|found| found.to_lowercase().starts_with(&word.to_lowercase())), "{text}");
    found.join(" ")
}

#[test]
fn a_statement_begins_with_a_verb() {
    assert_eq!(at("|"), "DESCRIBE EXPLAIN SELECT SHOW WITH");
    assert_eq!(at("SE|"), "SELECT");
    assert_eq!(at("SELECT 1; sel|"), "select");
    assert_eq!(at("explain s|"), "select show");
}

#[test]
fn tables_follow_from_and_join() {
    assert_eq!(at("SELECT * FROM |"), "groups lag members topics");
    assert_eq!(at("select * from L|"), "lag");
    assert_eq!(at("SELECT * FROM lag l, g|"), "groups");
    assert_eq!(at("SELECT * FROM lag JOIN m|"), "members");
    assert_eq!(at("SELECT * FROM public.t|"), "topics");
    assert_eq!(at("DESCRIBE t|"), "topics");
}

#[test]
fn columns_are_those_of_the_tables_of_the_statement() {
    assert_eq!(at("SELECT lag| FROM lag"), "lag lag_seconds");
    assert_eq!(at("SELECT lag_| FROM groups"), "");
    assert_eq!(at("SELECT | FROM members"), "client_id cluster group_id member_id");
    assert_eq!(at("SELECT\n*\nFROM topics\nWHERE g|"), "groups group");
    assert_eq!(at("SELECT lag_|"), "lag_seconds");
    assert_eq!(at("SELECT lag FROM topics, groups WHERE mem|"), "members");
    assert_eq!(at("SELECT sum(lag_|) FROM lag; SELECT * FROM groups"), "lag_seconds");
}

#[test]
fn a_qualifier_is_a_table_or_its_alias() {
    assert_eq!(at("SELECT l.| FROM lag AS l JOIN members m"), "cluster group_id lag lag_seconds status topic");
    assert_eq!(at("SELECT * FROM lag l JOIN members m ON m.c|"), "client_id cluster");
    assert_eq!(at("SELECT groups.m|"), "members");
    assert_eq!(at("SELECT l| FROM lag AS lately"), "lag lag_seconds lately lcm( lower( last left like limit");
    assert_eq!(at("SELECT x.| FROM lag"), "");
}

#[test]
fn functions_and_keywords_come_after_columns() {
    assert_eq!(at("SELECT s| FROM groups"), "status sum( select");
    assert_eq!(at("SELECT group_id FROM groups GR|"), "GROUP");
    assert_eq!(at("SELECT Z| FROM groups"), "");
}

#[test]
fn nothing_is_completed_in_strings_and_comments() {
    for text in ["SELECT 'sel|", "SELECT \"gro|", "SELECT 1 -- fr|", "SELECT /* g| */ 1"] {
        assert_eq!(at(text), "", "{text}");
    }
    assert_eq!(at("SELECT 'from' , l| FROM topics"), "lcm( lower( last left like limit");
}

#[test]
fn commands_and_their_arguments_are_completed() {
    assert_eq!(at("\\|"), "? copy d e g gx i o pager q timing watch x");
    assert_eq!(at("\\t|"), "timing");
    assert_eq!(at("\\d t|"), "topics");
    assert_eq!(at("\\x o|"), "off on");
    assert_eq!(at("\\timing o|"), "off on");
}
