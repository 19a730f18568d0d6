//! `?` as `$1`, `$2`, …: the planner takes every `?` for the same parameter.

use std::borrow::Cow;

use datafusion::sql::sqlparser::{
    dialect::GenericDialect,
    tokenizer::{Token, Tokenizer},
};

use super::error::SqlError;

/// The statement with its `?` numbered from left to right; those in literals, comments and quoted
/// names are text. A statement that cannot be read stays as it is, for the planner to refuse.
///
/// # Errors
/// Both `?` and `$1`.
pub(super) fn number(sql: &str) -> Result<Cow<'_, str>, SqlError> {
    if !sql.contains('?') {
        return Ok(Cow::Borrowed(sql));
    }
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location() else {
        return Ok(Cow::Borrowed(sql));
    };
    let (mut places, mut named) = (vec![], false);
    for token in &tokens {
        match &token.token {
            Token::Placeholder(text) if text != "?" => named = true,
            // Also what the tokenizer takes for an operator of JSON, as in `?||'x'`.
            other if other.to_string().starts_with('?') => {
                places.push((token.span.start.line, token.span.start.column));
            }
            _ => {}
        }
    }
    if places.is_empty() {
        return Ok(Cow::Borrowed(sql));
    }
    if named {
        return Err(SqlError::Invalid("parameters are either ? or $1, $2, …; not both".to_owned()));
    }
    let mut numbered = String::with_capacity(sql.len() + 4 * places.len());
    let mut places = places.into_iter().zip(1_u64..).peekable();
    // As the tokenizer counts: lines and characters of a line, both from 1.
    let (mut line, mut column) = (1, 1);
    let mut follows = false;
    for character in sql.chars() {
        if std::mem::take(&mut follows) && (character.is_alphanumeric() || character == '_') {
            numbered.push(' ');
        }
        match places.next_if(|(place, _)| *place == (line, column)) {
            Some((_, number)) => {
                numbered.push_str(&format!("${number}"));
                follows = true;
            }
            None => numbered.push(character),
        }
        (line, column) = if character == '\n' { (line + 1, 1) } else { (line, column + 1) };
    }
    Ok(Cow::Owned(numbered))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_marks_are_numbered_from_left_to_right() {
        for (sql, expected) in [
            ("SELECT 1", "SELECT 1"),
            ("SELECT ?", "SELECT $1"),
            ("SELECT ?, ?,?", "SELECT $1, $2,$3"),
            ("SELECT ?\n\n FROM t\r\n WHERE x=?", "SELECT $1\n\n FROM t\r\n WHERE x=$2"),
            ("SELECT 'ä€😀' || ?", "SELECT 'ä€😀' || $1"),
            ("SELECT ?AS x", "SELECT $1 AS x"),
            ("SELECT ?||'x', ?-1, ?|1", "SELECT $1||'x', $2-1, $3|1"),
        ] {
            assert_eq!(number(sql).unwrap(), expected);
        }
    }

    #[test]
    fn question_marks_in_literals_comments_and_quoted_names_are_text() {
        let sql = "SELECT '?', 'it''s ?', \"a?\" -- ?\n, /* ? /* ? */ ? */ ? FROM \"?\" WHERE x = ? -- '?";
        let expected = "SELECT '?', 'it''s ?', \"a?\" -- ?\n, /* ? /* ? */ ? */ $1 FROM \"?\" WHERE x = $2 -- '?";
        assert_eq!(number(sql).unwrap(), expected);
    }

    #[test]
    fn both_kinds_of_parameters_are_refused() {
        assert!(matches!(number("SELECT ?, $1"), Err(SqlError::Invalid(_))));
        assert_eq!(number("SELECT '?', $1").unwrap(), "SELECT '?', $1");
    }

    #[test]
    fn what_cannot_be_read_stays_as_it_is() {
        assert_eq!(number("SELECT ? '").unwrap(), "SELECT ? '");
    }
}
