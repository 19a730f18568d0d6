//! Adds hints to the errors of a statement: a caret below the position in its text, and the table that was probably
//! meant.

use std::sync::LazyLock;

use regex::Regex;

use crate::cli::text::width;

/// Number of characters of a long line that are shown before the position of the error.
const BEFORE: usize = 40;
/// Number of characters of a long line that are shown in all.
const SHOWN: usize = 76;

/// Matches a position in a statement in an error of the server.
static POSITION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i),? at line:? (\d+),? column:? (\d+)").ok());

/// Matches an error of the server about a table that does not exist.
static NO_TABLE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"table '(?:offsetd\.)?(?:public\.)?([^']+)' not found").ok());

/// Returns the error with the line of the statement that it refers to, and a caret below the position. Without a
/// position, the error is returned unchanged.
pub(super) fn with_caret(statement: &str, error: &str) -> String {
    let excerpt = || {
        let place = POSITION.as_ref()?.captures(error)?;
        let number = |at: usize| place.get(at)?.as_str().parse::<usize>().ok()?.checked_sub(1);
        let (line, column) = (number(1)?, number(2)?);
        let text = statement.lines().nth(line)?;
        let whole = place.get(0)?.range();
        let message = format!("{}{}", error.get(..whole.start)?, error.get(whole.end..)?);
        let start = column.saturating_sub(BEFORE);
        // A tab has several columns, so it would move the caret.
        let shown: String = text.chars().skip(start).take(SHOWN).map(|c| if c == '\t' { ' ' } else { c }).collect();
        let before: String = shown.chars().take(column - start).collect();
        let label = format!("LINE {}: {}", line + 1, if start > 0 { "…" } else { "" });
        let blanks = " ".repeat(width(&label) + width(&before));
        let more = if text.chars().count() > start + SHOWN { "…" } else { "" };
        Some(format!("{message}\n{label}{shown}{more}\n{blanks}^"))
    };
    excerpt().unwrap_or_else(|| error.to_owned())
}

/// Returns the name of the missing table, if the error is about one.
pub(super) fn missing_table(error: &str) -> Option<&str> {
    Some(NO_TABLE.as_ref()?.captures(error)?.get(1)?.as_str())
}

/// Returns the error about a missing table in the words of the prompt, with the existing table of the most similar
/// name.
pub(super) fn with_suggestion(error: &str, tables: &[String]) -> String {
    let whole = NO_TABLE.as_ref().and_then(|pattern| pattern.find(error));
    let (Some(missing), Some(all)) = (missing_table(error), whole) else { return error.to_owned() };
    let meant = tables.iter().map(|table| (distance(missing, table), table)).min();
    let hint = match meant {
        Some((distance, table)) if distance <= 2.max(missing.chars().count() / 3) => format!("; did you mean {table}?"),
        _ => "; \\d lists tables and views".to_owned(),
    };
    let (before, after) = (error.get(..all.start()).unwrap_or_default(), error.get(all.end()..).unwrap_or_default());
    format!("{before}no table or view {missing}{after}{hint}")
}

/// Returns the edit distance of two words, ignoring case. Adding, removing or replacing a letter and swapping two
/// adjacent letters each count as 1 (optimal string alignment distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let mut before: Vec<usize> = vec![];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let get = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
            let mut least = (get(&last, j) + usize::from(from != to)).min(get(&last, j + 1) + 1).min(get(&row, j) + 1);
            let is_swapped = i > 0 && j > 0 && a.get(i - 1) == Some(to) && b.get(j - 1) == Some(from);
            if is_swapped {
                least = least.min(get(&before, j - 1) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
