//! What may follow at the prompt: keywords, tables, columns and functions.

use std::collections::{BTreeMap, BTreeSet};

use super::input::last_statement;

/// The names that a server knows.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The columns of each table and view.
    tables: BTreeMap<String, Vec<String>>,
    functions: Vec<String>,
}

const COMMANDS: &[&str] = &["?", "d", "q", "timing", "x"];
/// What a statement begins with.
const BEGINNINGS: &[&str] = &["DESCRIBE", "EXPLAIN", "SELECT", "SHOW", "WITH"];
const KEYWORDS: &[&str] = &[
    "ALL",
    "ANALYZE",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CROSS",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FILTER",
    "FIRST",
    "FROM",
    "FULL",
    "FUNCTIONS",
    "GROUP",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER",
    "INTERSECT",
    "INTERVAL",
    "IS",
    "JOIN",
    "LAST",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "RIGHT",
    "SELECT",
    "TABLES",
    "THEN",
    "TIMESTAMP",
    "TRUE",
    "UNION",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
    "WITH",
];
/// Keywords that begin a part of a statement.
const PARTS: &[&str] = &["SELECT", "FROM", "JOIN", "ON", "USING", "WHERE", "BY", "HAVING", "LIMIT", "OFFSET"];

/// The bytes of the word that ends at the cursor, and what may stand in its place.
pub(super) fn complete(names: &Names, before: &str, after: &str) -> (usize, Vec<String>) {
    if let Some(command) = before.trim_start().strip_prefix('\\') {
        return command_word(names, command);
    }
    let Some(statement) = last_statement(before) else { return (0, vec![]) };
    let word = statement.rsplit(|c| !is_word(c)).next().unwrap_or_default();
    let whole = format!("{statement} {}", after.split(';').next().unwrap_or_default());
    let named = Named::find(names, &tokens(&whole));
    if let Some((qualifier, part)) = word.rsplit_once('.') {
        let found = match qualifier {
            "public" | "offsetd.public" => names.all_tables(),
            _ => named.columns_of(names, qualifier),
        };
        return (part.len(), matching(part, found));
    }
    let before = tokens(statement.strip_suffix(word).unwrap_or_default());
    let found = match expected(&before, word) {
        Expected::Beginning => matching_keywords(word, BEGINNINGS),
        Expected::Table => matching(word, names.all_tables()),
        Expected::Column => matching(word, named.columns(names)),
        Expected::Anything => anything(names, &named, word),
    };
    (word.len(), found)
}

fn command_word(names: &Names, command: &str) -> (usize, Vec<String>) {
    let (found, word): (Vec<&str>, _) = match command.rsplit_once(char::is_whitespace) {
        None => (COMMANDS.to_vec(), command),
        Some((name, table)) if name.trim() == "d" => (names.all_tables(), table),
        Some((name, state)) if name.trim() == "x" => (vec!["auto", "off", "on"], state),
        Some(_) => (vec![], ""),
    };
    (word.len(), matching(word, found))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.')
}

/// Words and signs.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = vec![];
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = if is_word(first) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        let (token, after) = rest.split_at(end);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

fn is_keyword(token: &str, keywords: &[&str]) -> bool {
    keywords.iter().any(|keyword| keyword.eq_ignore_ascii_case(token))
}

/// What the next word is.
enum Expected {
    /// The first of a statement.
    Beginning,
    Table,
    /// Nothing is written of it yet: only columns, or there would be too much to choose from.
    Column,
    Anything,
}

fn expected(before: &[&str], word: &str) -> Expected {
    let part = before.iter().rev().find(|token| is_keyword(token, PARTS));
    match before.last() {
        None => Expected::Beginning,
        Some(last) if is_keyword(last, &["EXPLAIN", "ANALYZE"]) => Expected::Beginning,
        Some(last) if is_keyword(last, &["FROM", "JOIN", "DESCRIBE"]) => Expected::Table,
        Some(&",") if part.is_some_and(|part| is_keyword(part, &["FROM"])) => Expected::Table,
        Some(_) if word.is_empty() => Expected::Column,
        Some(_) => Expected::Anything,
    }
}

fn anything(names: &Names, named: &Named, word: &str) -> Vec<String> {
    let keywords = matching_keywords(word, KEYWORDS);
    // Names are of small letters: who writes large ones means a keyword.
    if word.contains(|c: char| c.is_ascii_uppercase()) && !keywords.is_empty() {
        return keywords;
    }
    let known = named.columns(names).into_iter().chain(named.0.keys().map(String::as_str));
    let mut found = matching(word, known.collect());
    let functions = matching(word, names.functions.iter().map(String::as_str).collect());
    found.extend(functions.into_iter().map(|function| format!("{function}(")));
    // A column may be called as a keyword is.
    let keywords: Vec<String> = keywords.into_iter().filter(|keyword| !found.contains(keyword)).collect();
    found.extend(keywords);
    found
}

/// What begins as the word does.
fn matching(word: &str, names: Vec<&str>) -> Vec<String> {
    let begins = |name: &&str| name.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
    let found: BTreeSet<&str> = names.into_iter().filter(begins).collect();
    found.into_iter().map(str::to_owned).collect()
}

/// In small letters where the word is.
fn matching_keywords(word: &str, keywords: &[&str]) -> Vec<String> {
    let mut found = matching(word, keywords.to_vec());
    if word.contains(|c: char| c.is_ascii_lowercase()) {
        found.iter_mut().for_each(|keyword| keyword.make_ascii_lowercase());
    }
    found
}

impl Names {
    /// Adds a column of a table, or a function. What is no plain word must be quoted, or could steer the terminal.
    pub(super) fn add(&mut self, table: Option<&str>, name: &str) {
        let is_plain = |name: &str| name.chars().all(|c| c.is_alphanumeric() || c == '_');
        if !is_plain(name) || !table.is_none_or(is_plain) {
            return;
        }
        match table {
            Some(table) => self.tables.entry(table.to_owned()).or_default().push(name.to_owned()),
            None => self.functions.push(name.to_owned()),
        }
    }

    fn all_tables(&self) -> Vec<&str> {
        self.tables.keys().map(String::as_str).collect()
    }

    fn columns(&self, table: &str) -> impl Iterator<Item = &str> {
        self.tables.get(table).into_iter().flatten().map(String::as_str)
    }
}

/// The tables of a statement, by their names and their aliases.
struct Named(BTreeMap<String, String>);

impl Named {
    fn find(names: &Names, tokens: &[&str]) -> Self {
        let mut named = BTreeMap::new();
        let (mut in_from, mut awaits_table) = (false, false);
        for (at, token) in tokens.iter().enumerate() {
            if is_keyword(token, PARTS) {
                in_from = is_keyword(token, &["FROM"]);
                awaits_table = is_keyword(token, &["FROM", "JOIN", "DESCRIBE"]);
                continue;
            }
            if *token == "," {
                awaits_table = in_from;
                continue;
            }
            let table = token.rsplit('.').next().unwrap_or_default().to_lowercase();
            if std::mem::take(&mut awaits_table) && names.tables.contains_key(&table) {
                let mut after = tokens.iter().skip(at + 1).skip_while(|token| is_keyword(token, &["AS"]));
                let alias = after.next().filter(|token| token.starts_with(is_word) && !is_keyword(token, KEYWORDS));
                named.extend(alias.map(|alias| (alias.to_lowercase(), table.clone())));
                named.insert(table.clone(), table);
            }
        }
        Self(named)
    }

    /// Of the tables of the statement; of all when it has none yet.
    fn columns<'a>(&self, names: &'a Names) -> Vec<&'a str> {
        if self.0.is_empty() {
            return names.tables.values().flatten().map(String::as_str).collect();
        }
        self.0.values().flat_map(|table| names.columns(table)).collect()
    }

    /// Of a table, by its alias or its name.
    fn columns_of<'a>(&self, names: &'a Names, qualifier: &str) -> Vec<&'a str> {
        let qualifier = qualifier.rsplit('.').next().unwrap_or_default().to_lowercase();
        names.columns(self.0.get(&qualifier).unwrap_or(&qualifier)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut names = Names::default();
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

    /// What the word before `|` may become.
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
    fn nothing_is_offered_within_strings_and_comments() {
        for text in ["SELECT 'sel|", "SELECT \"gro|", "SELECT 1 -- fr|", "SELECT /* g| */ 1"] {
            assert_eq!(at(text), "", "{text}");
        }
        assert_eq!(at("SELECT 'from' , l| FROM topics"), "lcm( lower( last left like limit");
    }

    #[test]
    fn commands_and_their_tables_too() {
        assert_eq!(at("\\|"), "? d q timing x");
        assert_eq!(at("\\t|"), "timing");
        assert_eq!(at("\\d t|"), "topics");
        assert_eq!(at("\\x o|"), "off on");
        assert_eq!(at("\\timing o|"), "");
    }
}
