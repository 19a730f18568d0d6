//! The input of the prompt: statements up to `;` over several lines, and commands that start with `\`.

use crate::{
    cli::text::Expanded,
    sql::{
        GenericDialect,
        tokenizer::{Token, Tokenizer, Whitespace},
    },
};

/// An action that a line of input leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Run a statement.
    Run(String),
    /// Run a command.
    Command(Command),
}

/// The commands of the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// `\q`
    Quit,
    /// `\d`
    Tables,
    /// `\d TABLE`
    Columns(String),
    /// `\x`, and the state that it names.
    Expanded(Option<Expanded>),
    /// `\timing`
    Timing,
    /// `\?`
    Help,
    /// Anything else.
    Unknown(String),
}

/// Lines that do not make a whole statement yet.
#[derive(Debug, Default)]
pub(super) struct Input {
    text: String,
}

impl Input {
    /// Whether a statement has begun.
    pub(super) fn is_open(&self) -> bool {
        !self.text.is_empty()
    }

    /// The lines so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Forgets the lines so far.
    pub(super) fn clear(&mut self) {
        self.text.clear();
    }

    /// Takes a line and returns the steps that it completes.
    pub(super) fn line(&mut self, line: &str) -> Vec<Step> {
        if !self.is_open()
            && let Some(command) = line.trim().strip_prefix('\\')
        {
            return vec![Step::Command(parse(command))];
        }
        if self.is_open() {
            self.text.push('\n');
        }
        self.text.push_str(line);
        let mut steps = Vec::new();
        while let Some((statement, rest)) = first_statement(&self.text) {
            if !statement.trim().is_empty() {
                steps.push(Step::Run(statement.trim().to_owned()));
            }
            self.text = rest.to_owned();
        }
        if self.text.trim().is_empty() {
            self.text.clear();
        }
        steps
    }
}

fn parse(command: &str) -> Command {
    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    match (name, rest.trim().trim_end_matches(';').trim_end()) {
        ("q" | "quit", _) => Command::Quit,
        ("d" | "dt", "") => Command::Tables,
        ("d", table) => Command::Columns(table.to_owned()),
        ("x", "") => Command::Expanded(None),
        ("x", "on") => Command::Expanded(Some(Expanded::On)),
        ("x", "off") => Command::Expanded(Some(Expanded::Off)),
        ("x", "auto") => Command::Expanded(Some(Expanded::Auto)),
        ("timing", _) => Command::Timing,
        ("?" | "h" | "help", _) => Command::Help,
        _ => Command::Unknown(format!("\\{name}")),
    }
}

/// Splits at the first `;` that is not in a string, a quoted name or a comment.
fn first_statement(text: &str) -> Option<(&str, &str)> {
    let mut tokens = vec![];
    // A string or comment that is still open ends the tokens with an error.
    let _ = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location_into_buf(&mut tokens);
    let end = tokens.iter().find(|token| token.token == Token::SemiColon)?.span.start;
    let (line, column) = (usize::try_from(end.line).ok()?, usize::try_from(end.column).ok()?);
    let above: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let (at, _) = text.get(above..)?.char_indices().nth(column.checked_sub(1)?)?;
    Some((text.get(..above + at)?, text.get(above + at + 1..)?))
}

/// The words and signs of the statement that the text ends in; qualified names are one word. `None` if it ends in a string,
/// a quoted name or a comment.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize().ok()?;
    if let Some(Token::Whitespace(Whitespace::SingleLineComment { comment, .. })) = tokens.last()
        && !comment.ends_with('\n')
    {
        return None;
    }
    let (mut words, mut is_open): (Vec<String>, bool) = (vec![], false);
    for token in &tokens {
        let is_word = matches!(token, Token::Word(_) | Token::Number(..) | Token::Period);
        match (token, words.last_mut()) {
            (Token::SemiColon, _) => words.clear(),
            (Token::Whitespace(_), _) => {}
            (_, Some(last)) if is_open && is_word => last.push_str(&token.to_string()),
            _ => words.push(token.to_string()),
        }
        is_open = is_word;
    }
    Some(words)
}

#[cfg(test)]
mod tests;
