//! Completion at the prompt: proposes keywords, tables, columns, functions and commands.

use std::collections::{BTreeMap, BTreeSet};

use super::input::words;

/// The names of the tables, columns and functions of a server.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    /// The columns of each table and view.
    tables: BTreeMap<String, Vec<String>>,
    functions: Vec<String>,
}

const COMMANDS: &str = "? copy d e g gx i o pager q timing watch x";
/// The keywords that a statement can begin with.
const FIRST_KEYWORDS: &str = "DESCRIBE EXPLAIN SELECT SHOW WITH";
const KEYWORDS: &str = "ALL ANALYZE AND AS ASC BETWEEN BY CASE CAST CROSS DESC DESCRIBE DISTINCT ELSE END EXCEPT EXISTS \
                        EXPLAIN FALSE FILTER FIRST FROM FULL FUNCTIONS GROUP HAVING ILIKE IN INNER INTERSECT INTERVAL IS \
                        JOIN LAST LEFT LIKE LIMIT NOT NULL NULLS OFFSET ON OR ORDER OUTER OVER PARTITION RIGHT SELECT \
                        TABLES THEN TIMESTAMP TRUE UNION USING VALUES WHEN WHERE WITH";
/// The keywords that begin a clause of a statement.
const CLAUSES: &str = "SELECT FROM JOIN ON USING WHERE BY HAVING LIMIT OFFSET";
/// The keywords that are followed by the name of a table.
const BEFORE_TABLES: &str = "FROM JOIN DESCRIBE";

/// Returns the length in bytes of the word that ends at the cursor, and its completions. `before` and `after` are the
/// statement before and after the cursor.
pub(super) fn complete(names: &Catalog, before: &str, after: &str) -> (usize, Vec<String>) {
    if let Some(command) = before.trim_start().strip_prefix('\\') {
        return command_word(names, command);
    }
    let Some(mut written) = words(before) else { return (0, vec![]) };
    let rest = after.split(';').next().unwrap_or_default();
    let named = NamedTables::find(names, &words(&format!("{before} {rest}")).unwrap_or_else(|| written.clone()));
    let word = if before.ends_with(is_word) { written.pop().unwrap_or_default() } else { String::new() };
    if let Some((qualifier, part)) = word.rsplit_once('.') {
        let candidates = match qualifier {
            "public" | "offsetd.public" => names.all_tables(),
            _ => named.columns_of(names, qualifier),
        };
        return (part.len(), matching(part, candidates));
    }
    let candidates = match expected(&written, &word) {
        Expected::FirstKeyword => matching_keywords(&word, FIRST_KEYWORDS),
        Expected::Table => matching(&word, names.all_tables()),
        Expected::Column => matching(&word, named.columns(names)),
        Expected::Any => any_word(names, &named, &word),
    };
    (word.len(), candidates)
}

/// Returns the same as [`complete`] for a backslash command.
fn command_word(names: &Catalog, command: &str) -> (usize, Vec<String>) {
    let (candidates, word): (Vec<&str>, _) = match command.rsplit_once(char::is_whitespace) {
        None => (COMMANDS.split(' ').collect(), command),
        Some((name, table)) if name.trim() == "d" => (names.all_tables(), table),
        Some((name, table)) if name.trim() == "copy" => (names.all_tables(), table),
        Some((name, state)) if name.trim() == "x" => (vec!["auto", "off", "on"], state),
        Some((name, state)) if ["timing", "pager"].contains(&name.trim()) => (vec!["off", "on"], state),
        Some(_) => (vec![], ""),
    };
    (word.len(), matching(word, candidates))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.')
}

fn is_one_of(word: &str, keywords: &str) -> bool {
    keywords.split(' ').any(|keyword| keyword.eq_ignore_ascii_case(word))
}

/// The kind of word that is expected at the cursor.
enum Expected {
    /// The first word of a statement.
    FirstKeyword,
    Table,
    /// A column. Expected if no letter of the word has been typed: the list of all names would be too long.
    Column,
    /// A column, function or keyword.
    Any,
}

fn expected(before: &[String], word: &str) -> Expected {
    let part = before.iter().rev().find(|word| is_one_of(word, CLAUSES));
    match before.last() {
        None => Expected::FirstKeyword,
        Some(last) if is_one_of(last, "EXPLAIN ANALYZE") => Expected::FirstKeyword,
        Some(last) if is_one_of(last, BEFORE_TABLES) => Expected::Table,
        Some(last) if last == "," && part.is_some_and(|part| is_one_of(part, "FROM")) => Expected::Table,
        Some(_) if word.is_empty() => Expected::Column,
        Some(_) => Expected::Any,
    }
}

fn any_word(names: &Catalog, named: &NamedTables, word: &str) -> Vec<String> {
    let keywords = matching_keywords(word, KEYWORDS);
    // All names are in lower case, so an upper case letter means a keyword.
    if word.contains(|c: char| c.is_ascii_uppercase()) && !keywords.is_empty() {
        return keywords;
    }
    let known = named.columns(names).into_iter().chain(named.0.keys().map(String::as_str));
    let mut candidates = matching(word, known.collect());
    let functions = matching(word, names.functions.iter().map(String::as_str).collect());
    candidates.extend(functions.into_iter().map(|function| format!("{function}(")));
    // A column with the name of a keyword must not be listed twice.
    let keywords: Vec<String> = keywords.into_iter().filter(|keyword| !candidates.contains(keyword)).collect();
    candidates.extend(keywords);
    candidates
}

/// Returns the names that begin with the word, ignoring case.
fn matching(word: &str, names: Vec<&str>) -> Vec<String> {
    let begins = |name: &&str| name.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
    let candidates: BTreeSet<&str> = names.into_iter().filter(begins).collect();
    candidates.into_iter().map(str::to_owned).collect()
}

/// Returns the keywords that begin with the word, in lower case if the word has a lower case letter.
fn matching_keywords(word: &str, keywords: &str) -> Vec<String> {
    let mut candidates = matching(word, keywords.split(' ').collect());
    if word.contains(|c: char| c.is_ascii_lowercase()) {
        candidates.iter_mut().for_each(|keyword| keyword.make_ascii_lowercase());
    }
    candidates
}

impl Catalog {
    /// Adds a column of a table, or a function if `table` is `None`. A name that needs quotes or contains control
    /// characters is left out.
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

/// The tables that a statement names: maps each alias and each name, in lower case, to the table.
struct NamedTables(BTreeMap<String, String>);

impl NamedTables {
    fn find(names: &Catalog, words: &[String]) -> Self {
        let mut named = BTreeMap::new();
        let (mut in_from, mut awaits_table) = (false, false);
        for (at, word) in words.iter().enumerate() {
            if is_one_of(word, CLAUSES) || is_one_of(word, BEFORE_TABLES) {
                in_from = is_one_of(word, "FROM");
                awaits_table = is_one_of(word, BEFORE_TABLES);
                continue;
            }
            if word == "," {
                awaits_table = in_from;
                continue;
            }
            let table = word.rsplit('.').next().unwrap_or_default().to_lowercase();
            if std::mem::take(&mut awaits_table) && names.tables.contains_key(&table) {
                let alias = words.iter().skip(at + 1).find(|word| !is_one_of(word, "AS"));
                let alias = alias.filter(|word| word.starts_with(is_word) && !is_one_of(word, KEYWORDS));
                named.extend(alias.map(|alias| (alias.to_lowercase(), table.clone())));
                named.insert(table.clone(), table);
            }
        }
        Self(named)
    }

    /// Returns the columns of the tables of the statement, or of all tables if the statement names none yet.
    fn columns<'a>(&self, names: &'a Catalog) -> Vec<&'a str> {
        if self.0.is_empty() {
            return names.tables.values().flatten().map(String::as_str).collect();
        }
        self.0.values().flat_map(|table| names.columns(table)).collect()
    }

    /// Returns the columns of the table with this alias or name.
    fn columns_of<'a>(&self, names: &'a Catalog, qualifier: &str) -> Vec<&'a str> {
        let qualifier = qualifier.rsplit('.').next().unwrap_or_default().to_lowercase();
        names.columns(self.0.get(&qualifier).unwrap_or(&qualifier)).collect()
    }
}

#[cfg(test)]
mod tests;
