//! Statements as the parser understands them, where it does not understand what users write: `?` as `$1`, `$2`, …, since
//! the planner takes every `?` for the same parameter; and `cluster` after a comma as a name, since the parser takes it for
//! the beginning of CLUSTER BY after a trailing comma.

use std::borrow::Cow;

use datafusion::sql::sqlparser::{
    dialect::GenericDialect,
    tokenizer::{Location, Token, Tokenizer},
};

use super::super::error::SqlError;

/// The column of most tables that is a keyword.
const CLUSTER: &str = "cluster";

/// What stands in place of some characters.
struct Edit {
    at: Location,
    characters: usize,
    text: String,
}

/// The statement in the parser's spelling. What stands in literals, comments and quotes is text. A statement that cannot
/// be read stays as it is, for the planner to refuse.
///
/// # Errors
/// Both `?` and `$1`.
pub(crate) fn plain(sql: &str) -> Result<Cow<'_, str>, SqlError> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location() else {
        return Ok(Cow::Borrowed(sql));
    };
    let (mut edits, mut number, mut named, mut after_comma) = (vec![], 0_u64, false, false);
    for token in &tokens {
        let at = token.span.start;
        match &token.token {
            Token::Placeholder(text) if text != "?" => named = true,
            Token::Word(word)
                if after_comma && word.quote_style.is_none() && word.value.eq_ignore_ascii_case(CLUSTER) =>
            {
                edits.push(Edit { at, characters: CLUSTER.len(), text: format!("\"{CLUSTER}\"") });
            }
            // Also what the tokenizer takes for an operator of JSON, as in `?||'x'`.
            other if other.to_string().starts_with('?') => {
                number += 1;
                edits.push(Edit { at, characters: 1, text: format!("${number}") });
            }
            _ => {}
        }
        if !matches!(token.token, Token::Whitespace(_)) {
            after_comma = token.token == Token::Comma;
        }
    }
    if named && number > 0 {
        return Err(SqlError::Invalid("parameters are either ? or $1, $2, …; not both".to_owned()));
    }
    Ok(if edits.is_empty() { Cow::Borrowed(sql) } else { Cow::Owned(edited(sql, edits)) })
}

/// The text with its edits, which come in order.
fn edited(sql: &str, edits: Vec<Edit>) -> String {
    let mut text = String::with_capacity(sql.len() + 4 * edits.len());
    let mut edits = edits.into_iter().peekable();
    // As the tokenizer counts: lines and characters of a line, both from 1.
    let (mut line, mut column) = (1, 1);
    let (mut follows, mut skip) = (false, 0);
    for character in sql.chars() {
        if skip > 0 {
            skip -= 1;
        } else {
            if std::mem::take(&mut follows) && (character.is_alphanumeric() || character == '_') {
                text.push(' ');
            }
            match edits.next_if(|edit| (edit.at.line, edit.at.column) == (line, column)) {
                Some(edit) => {
                    text.push_str(&edit.text);
                    follows = true;
                    skip = edit.characters - 1;
                }
                None => text.push(character),
            }
        }
        (line, column) = if character == '\n' { (line + 1, 1) } else { (line, column + 1) };
    }
    text
}

#[cfg(test)]
mod tests;
