//! Splits the lines of the prompt and of scripts into statements, which end with `;`, and backslash commands.

use super::command::{Command, RunMode, parse};
use crate::sql::{
    GenericDialect,
    tokenizer::{Token, Tokenizer, Whitespace},
};

/// An action that a line of input triggers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Run a statement.
    Run(String, RunMode),
    /// Run a command.
    Command(Command),
}

/// The lines of a statement that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct Input {
    text: String,
    /// The last complete statement.
    last: Option<String>,
}

impl Input {
    /// Returns whether a statement has begun.
    pub(super) fn is_open(&self) -> bool {
        !self.text.is_empty()
    }

    /// Returns the lines of the statement so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Drops the lines of the statement so far.
    pub(super) fn clear(&mut self) {
        self.text.clear();
    }

    /// Adds a line and returns the steps that it completes.
    pub(super) fn line(&mut self, line: &str) -> Vec<Step> {
        if !self.is_open() {
            match line.trim().trim_end_matches(';').trim_end().to_ascii_lowercase().as_str() {
                "exit" | "quit" => return vec![Step::Command(Command::Quit)],
                "help" => return vec![Step::Command(Command::Help)],
                _ => {}
            }
        }
        if self.is_open() {
            self.text.push('\n');
        }
        self.text.push_str(line);
        let mut steps = Vec::new();
        // Only a line with one of these characters can complete a step, so other lines need not be tokenized.
        while line.contains([';', '\\'])
            && let Some((end, rest)) = find_end(&self.text)
        {
            let statement = self.text.get(..end.at).unwrap_or_default().trim().to_owned();
            if end.is_command {
                steps.push(self.command(statement, &rest));
            } else {
                self.text = rest;
                if !statement.is_empty() {
                    steps.push(self.run(statement, RunMode::Show));
                }
            }
        }
        if self.text.trim().is_empty() {
            self.text.clear();
        }
        steps
    }

    /// Returns the last statement of a script, if it has no `;`.
    pub(super) fn rest(&mut self) -> Option<Step> {
        let statement = std::mem::take(&mut self.text).trim().to_owned();
        (!statement.is_empty()).then(|| self.run(statement, RunMode::Show))
    }

    fn run(&mut self, statement: String, how: RunMode) -> Step {
        self.last = Some(statement.clone());
        Step::Run(statement, how)
    }

    /// Returns the step of a command. `begun` is the statement before it on the same or earlier lines; it may be empty.
    fn command(&mut self, begun: String, command: &str) -> Step {
        let command = parse(command);
        let statement = if begun.is_empty() { self.last.clone() } else { Some(begun.clone()) };
        let how = match command {
            Command::Run(how) => how,
            Command::Edit(_) => {
                self.text.clear();
                return Step::Command(Command::Edit(statement.unwrap_or_default()));
            }
            other => {
                // The statement continues on the next line.
                self.text = begun;
                return Step::Command(other);
            }
        };
        self.text.clear();
        match statement {
            Some(statement) => self.run(statement, how),
            None => Step::Command(Command::Invalid("no statement has been given yet".to_owned())),
        }
    }
}

/// The end of a statement.
struct StatementEnd {
    /// Position in bytes.
    at: usize,
    /// Whether the character at the position is a `\`, not a `;`.
    is_command: bool,
}

/// Returns the first `;` or `\` that is not in a string, a quoted name or a comment, and the text after it.
fn find_end(text: &str) -> Option<(StatementEnd, String)> {
    let mut tokens = vec![];
    // An open string or comment is an error of the tokenizer; the tokens before it are still returned.
    let _ = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location_into_buf(&mut tokens);
    let end = tokens.iter().find(|token| matches!(token.token, Token::SemiColon | Token::Backslash))?;
    let (line, column) = (usize::try_from(end.span.start.line).ok()?, usize::try_from(end.span.start.column).ok()?);
    let above: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let (at, _) = text.get(above..)?.char_indices().nth(column.checked_sub(1)?)?;
    let at = above + at;
    Some((StatementEnd { at, is_command: end.token == Token::Backslash }, text.get(at + 1..)?.to_owned()))
}

/// The words and signs of the statement that the text ends in; qualified names are one word. `None` if it ends in a
/// string, a quoted name or a comment.
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
