//! The tokens of a statement: how many there may be, and how the parser understands what users write.
//!
//! The parser and the planner recurse over long chains of operators, and the optimiser takes more than linear time.

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

/// The column of most tables that is a keyword.
const CLUSTER: &str = "cluster";

pub(crate) fn limit(number: usize, max: usize, what: &str, setting: &'static str) -> Result<(), SqlError> {
    if number <= max {
        return Ok(());
    }
    Err(SqlError::Limit { what: format!("the statement has more than {max} {what}"), setting })
}

/// The tokens of a statement, in the parser's spelling.
///
/// # Errors
/// There are too many, or too many operators, set operations or joins; or a part of the text is no token.
pub(crate) fn tokens(sql: &str, settings: &config::Sql) -> Result<Vec<TokenWithSpan>, SqlError> {
    let bytes = settings.max_statement_bytes;
    if sql.len() > bytes {
        let what = format!("the statement has {} bytes, {bytes} are allowed", sql.len());
        return Err(SqlError::Limit { what, setting: "sql.max_statement_bytes" });
    }
    let invalid = |error: TokenizerError| SqlError::planning(&DataFusionError::from(ParserError::from(error)));
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().map_err(invalid)?;
    check(&tokens, settings)?;
    spelt(tokens).map_err(invalid)?
}

/// Counts tokens, operators, set operations and joins.
fn check(tokens: &[TokenWithSpan], settings: &config::Sql) -> Result<(), SqlError> {
    let tokens = tokens.iter().map(|token| &token.token).filter(|token| !matches!(token, Token::Whitespace(_)));
    limit(tokens.clone().count(), settings.max_tokens, "words and signs", "sql.max_tokens")?;
    let (mut operators, mut sets, mut joins, mut groupings) = (0, 0, 0, 0);
    let mut before = &Token::EOF;
    for token in tokens {
        match kind(token, before) {
            Kind::Operator => operators += 1,
            Kind::Set => sets += 1,
            Kind::Join => joins += 1,
            Kind::Grouping => groupings += 1,
            Kind::Other => {}
        }
        before = token;
    }
    limit(operators, settings.max_operators, "operators", "sql.max_operators")?;
    limit(sets, settings.max_set_operations, "set operations", "sql.max_set_operations")?;
    limit(joins, settings.max_joins, "joins", "sql.max_joins")?;
    if groupings > 1 {
        return Err(SqlError::Invalid("one CUBE, ROLLUP or GROUPING SETS at a time: they multiply".to_owned()));
    }
    Ok(())
}

enum Kind {
    Operator,
    Set,
    Join,
    Grouping,
    Other,
}

/// What makes a tree deeper or wider. A minus before a number of a list is none.
fn kind(token: &Token, before: &Token) -> Kind {
    let operand = match before {
        Token::Word(word) => word.keyword == Keyword::NoKeyword,
        before => matches!(before, Token::Number(..) | Token::SingleQuotedString(_) | Token::RParen | Token::RBracket),
    };
    match token {
        Token::Word(word) if word.quote_style.is_none() => match word.keyword {
            Keyword::AND | Keyword::OR | Keyword::XOR | Keyword::NOT | Keyword::LIKE | Keyword::ILIKE => Kind::Operator,
            Keyword::SIMILAR | Keyword::RLIKE | Keyword::REGEXP | Keyword::IS | Keyword::BETWEEN => Kind::Operator,
            Keyword::IN | Keyword::WHEN | Keyword::COLLATE | Keyword::AT | Keyword::OVER | Keyword::DIV => {
                Kind::Operator
            }
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::MINUS => Kind::Set,
            Keyword::JOIN | Keyword::APPLY => Kind::Join,
            Keyword::CUBE | Keyword::ROLLUP | Keyword::SETS => Kind::Grouping,
            _ => Kind::Other,
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
        | Token::EOF => Kind::Other,
        Token::Minus | Token::Plus if !operand => Kind::Other,
        _ => Kind::Operator,
    }
}

/// The tokens as the parser understands them: `?` as `$1`, `$2`, …, since the planner takes every `?` for the same
/// parameter; and `cluster` after a comma as a name, since the parser takes it for the beginning of CLUSTER BY after a
/// trailing comma. The inner error is that of both `?` and `$1`.
fn spelt(tokens: Vec<TokenWithSpan>) -> Result<Result<Vec<TokenWithSpan>, SqlError>, TokenizerError> {
    let mut spelt = Vec::with_capacity(tokens.len());
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
        // Also what the tokenizer takes for an operator of JSON, as in `?||'x'`.
        if let Some(rest) = token.to_string().strip_prefix('?') {
            number += 1;
            spelt.push(TokenWithSpan { token: Token::Placeholder(format!("${number}")), span });
            let rest = Tokenizer::new(&GenericDialect {}, rest).tokenize()?;
            spelt.extend(rest.into_iter().map(|token| TokenWithSpan { token, span }));
        } else {
            spelt.push(TokenWithSpan { token, span });
        }
    }
    let both = || SqlError::Invalid("parameters are either ? or $1, $2, …; not both".to_owned());
    Ok(if named && number > 0 { Err(both()) } else { Ok(spelt) })
}

#[cfg(test)]
mod tests;
