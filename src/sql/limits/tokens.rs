//! The tokens of a statement: limits on their number, and rewrites of syntax that the parser does not support.
//!
//! The parser and the planner recurse over long chains of operators, and the optimizer takes more than linear time.

use datafusion::{
    common::DataFusionError,
    sql::sqlparser::{
        dialect::GenericDialect,
        keywords::Keyword,
        parser::ParserError,
        tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError},
    },
};

use super::super::error::SqlError;
use crate::config;

/// Name of a column of most tables. It is a keyword.
const CLUSTER: &str = "cluster";

/// Fails if the statement has more than `max` of something.
pub(crate) fn check_limit(number: usize, max: usize, what: &str, setting: &'static str) -> Result<(), SqlError> {
    if number <= max {
        return Ok(());
    }
    Err(SqlError::Limit { what: format!("the statement has more than {max} {what}"), setting })
}

/// Returns the tokens of a statement, rewritten for the parser.
///
/// # Errors
///
/// There are too many tokens, operators, set operations or joins, or the text contains an invalid token.
pub(crate) fn tokens(sql: &str, settings: &config::Sql) -> Result<Vec<TokenWithSpan>, SqlError> {
    let bytes = settings.max_statement_bytes;
    if sql.len() > bytes {
        let what = format!("the statement has {} bytes; {bytes} are allowed", sql.len());
        return Err(SqlError::Limit { what, setting: "sql.max_statement_bytes" });
    }
    let invalid = |error: TokenizerError| SqlError::from_planning(&DataFusionError::from(ParserError::from(error)));
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().map_err(invalid)?;
    check(&tokens, settings)?;
    rewrite(tokens).map_err(invalid)?
}

/// Checks the numbers of tokens, operators, set operations and joins.
fn check(tokens: &[TokenWithSpan], settings: &config::Sql) -> Result<(), SqlError> {
    let tokens = tokens.iter().map(|token| &token.token).filter(|token| !matches!(token, Token::Whitespace(_)));
    check_limit(tokens.clone().count(), settings.max_tokens, "tokens", "sql.max_tokens")?;
    let (mut operators, mut sets, mut joins, mut groupings) = (0, 0, 0, 0);
    let mut previous = &Token::EOF;
    for token in tokens {
        match kind(token, previous) {
            TokenKind::Operator => operators += 1,
            TokenKind::Set => sets += 1,
            TokenKind::Join => joins += 1,
            TokenKind::Grouping => groupings += 1,
            TokenKind::Other => {}
        }
        previous = token;
    }
    check_limit(operators, settings.max_operators, "operators", "sql.max_operators")?;
    check_limit(sets, settings.max_set_operations, "set operations", "sql.max_set_operations")?;
    check_limit(joins, settings.max_joins, "joins", "sql.max_joins")?;
    if groupings > 1 {
        return Err(SqlError::Invalid("only one CUBE, ROLLUP or GROUPING SETS is allowed".to_owned()));
    }
    Ok(())
}

/// The tokens that are limited.
enum TokenKind {
    Operator,
    Set,
    Join,
    Grouping,
    Other,
}

/// Returns the kind of a token: operators, set operations and joins make a plan deeper or wider. The sign of a number
/// is not an operator.
fn kind(token: &Token, previous: &Token) -> TokenKind {
    let operand = match previous {
        Token::Word(word) => word.keyword == Keyword::NoKeyword,
        previous => {
            matches!(previous, Token::Number(..) | Token::SingleQuotedString(_) | Token::RParen | Token::RBracket)
        }
    };
    match token {
        Token::Word(word) if word.quote_style.is_none() => match word.keyword {
            Keyword::AND | Keyword::OR | Keyword::XOR | Keyword::NOT | Keyword::LIKE | Keyword::ILIKE => {
                TokenKind::Operator
            }
            Keyword::SIMILAR | Keyword::RLIKE | Keyword::REGEXP | Keyword::IS | Keyword::BETWEEN => TokenKind::Operator,
            Keyword::IN | Keyword::WHEN | Keyword::COLLATE | Keyword::AT | Keyword::OVER | Keyword::DIV => {
                TokenKind::Operator
            }
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::MINUS => TokenKind::Set,
            Keyword::JOIN | Keyword::APPLY => TokenKind::Join,
            Keyword::CUBE | Keyword::ROLLUP | Keyword::SETS => TokenKind::Grouping,
            _ => TokenKind::Other,
        },
        Token::Word(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::Placeholder(_)
        | Token::Comma
        | Token::Period
        | Token::LParen
        | Token::RParen
        | Token::RBracket
        | Token::SemiColon
        | Token::EOF => TokenKind::Other,
        Token::Minus | Token::Plus if !operand => TokenKind::Other,
        _ => TokenKind::Operator,
    }
}

/// Rewrites tokens for the parser. `?` becomes `$1`, `$2`, …, since the planner takes every `?` for the same parameter.
/// `cluster` after a comma is quoted, since the parser takes it for CLUSTER BY after a trailing comma. The inner error
/// is that both `?` and `$1` occur.
fn rewrite(tokens: Vec<TokenWithSpan>) -> Result<Result<Vec<TokenWithSpan>, SqlError>, TokenizerError> {
    let mut rewritten = Vec::with_capacity(tokens.len());
    let (mut number, mut named, mut after_comma) = (0_u64, false, false);
    for TokenWithSpan { mut token, span } in tokens {
        match &mut token {
            Token::Placeholder(text) if text != "?" => named = true,
            Token::Word(word)
                if after_comma && word.quote_style.is_none() && word.value.eq_ignore_ascii_case(CLUSTER) =>
            {
                (word.value, word.quote_style, word.keyword) = (CLUSTER.to_owned(), Some('"'), Keyword::NoKeyword);
            }
            _ => {}
        }
        if !matches!(token, Token::Whitespace(_)) {
            after_comma = token == Token::Comma;
        }
        // Includes tokens that the tokenizer takes for a JSON operator, for instance `?|` in `?||'x'`.
        if let Some(rest) = token.to_string().strip_prefix('?') {
            number += 1;
            rewritten.push(TokenWithSpan { token: Token::Placeholder(format!("${number}")), span });
            let rest = Tokenizer::new(&GenericDialect {}, rest).tokenize()?;
            rewritten.extend(rest.into_iter().map(|token| TokenWithSpan { token, span }));
        } else {
            rewritten.push(TokenWithSpan { token, span });
        }
    }
    let both = || SqlError::Invalid("parameters are written either as ? or as $1, $2, …, not both".to_owned());
    Ok(if named && number > 0 { Err(both()) } else { Ok(rewritten) })
}

#[cfg(test)]
mod tests;
