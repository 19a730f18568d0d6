//! What is typed at the prompt: statements up to `;` over several lines, and commands that start with `\`.

use crate::cli::text::Expanded;

/// What a line leads to.
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
    /// `\x`, and what is asked for
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
    /// A statement has begun.
    pub(super) fn is_open(&self) -> bool {
        !self.text.is_empty()
    }

    /// The lines so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Forgets what has begun.
    pub(super) fn clear(&mut self) {
        self.text.clear();
    }

    /// Takes a line, and gives what it completes.
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

/// Up to the first `;` that is not in a string, a quoted name or a comment, and what comes after it.
fn first_statement(text: &str) -> Option<(&str, &str)> {
    let (at, ..) = Places::new(text).find(|(_, c, is_code)| *c == ';' && *is_code)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// The statement that the text ends in, with blanks for strings, quoted names and comments; `None` within one.
pub(super) fn last_statement(text: &str) -> Option<String> {
    // What would stand next tells where the text ends.
    let text = format!("{text}x");
    let mut statement = String::with_capacity(text.len());
    let mut ends_in_code = false;
    for (_, c, is_code) in Places::new(&text) {
        ends_in_code = is_code;
        match (c, is_code) {
            (';', true) => statement.clear(),
            (c, true) => statement.push(c),
            (_, false) => statement.push(' '),
        }
    }
    statement.pop();
    ends_in_code.then_some(statement)
}

/// The characters of a text with their positions, and whether each is outside of strings, quoted names and comments.
struct Places<'a> {
    chars: std::iter::Peekable<std::str::CharIndices<'a>>,
    within: Within,
}

#[derive(Clone, Copy, PartialEq)]
enum Within {
    Code,
    Quotes(char),
    LineComment,
    BlockComment,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        Self { chars: text.char_indices().peekable(), within: Within::Code }
    }
}

impl Iterator for Places<'_> {
    type Item = (usize, char, bool);

    fn next(&mut self) -> Option<Self::Item> {
        let (at, c) = self.chars.next()?;
        let next = self.chars.peek().map(|(_, next)| *next);
        let before = self.within;
        match (before, c, next) {
            (Within::Code, '\'' | '"', _) => self.within = Within::Quotes(c),
            (Within::Code, '-', Some('-')) => self.within = Within::LineComment,
            (Within::Code, '/', Some('*')) => {
                self.within = Within::BlockComment;
                self.chars.next();
            }
            // A doubled quote closes and opens again.
            (Within::Quotes(quote), c, _) if quote == c => self.within = Within::Code,
            (Within::LineComment, '\n', _) => self.within = Within::Code,
            (Within::BlockComment, '*', Some('/')) => {
                self.within = Within::Code;
                self.chars.next();
            }
            _ => {}
        }
        Some((at, c, before == Within::Code && self.within == Within::Code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(statement: &str) -> Step {
        Step::Run(statement.to_owned())
    }

    #[test]
    fn a_statement_ends_at_a_semicolon_on_any_line() {
        let mut input = Input::default();
        assert!(input.line("SELECT 1,").is_empty() && input.is_open());
        assert_eq!(input.line("  2;  "), [run("SELECT 1,\n  2")]);
        assert!(!input.is_open());
        assert_eq!(input.line("SELECT 1; SELECT 2; SELECT"), [run("SELECT 1"), run("SELECT 2")]);
        assert!(input.is_open());
        input.clear();
        assert!(input.line("  ").is_empty() && !input.is_open());
        assert!(input.line(";;").is_empty() && !input.is_open());
    }

    #[test]
    fn semicolons_in_strings_names_and_comments_end_nothing() {
        for text in
            ["SELECT 'a;''b;'", "SELECT \"a;\"", "SELECT 1 -- it's; \n", "SELECT /* it's; */ 1", "SELECT 'grüp;消'"]
        {
            let mut input = Input::default();
            assert!(input.line(text).is_empty(), "{text}");
            assert_eq!(input.line(";"), [run(text.trim())], "{text}");
        }
    }

    #[test]
    fn commands_start_with_a_backslash_outside_of_statements() {
        let mut input = Input::default();
        let mut command = |text: &str| match input.line(text).pop() {
            Some(Step::Command(command)) => command,
            other => panic!("{other:?}"),
        };
        assert_eq!(command("\\q"), Command::Quit);
        assert_eq!(command(" \\d "), Command::Tables);
        assert_eq!(command("\\d lag;"), Command::Columns("lag".to_owned()));
        assert_eq!(command("\\timing"), Command::Timing);
        assert_eq!(command("\\?"), Command::Help);
        assert_eq!(command("\\x"), Command::Expanded(None));
        assert_eq!(command("\\x auto;"), Command::Expanded(Some(Expanded::Auto)));
        assert_eq!(command("\\x y"), Command::Unknown("\\x".to_owned()));
        input.line("SELECT");
        assert!(input.line("\\q").is_empty(), "in a statement it is text");
    }

    #[test]
    fn the_last_statement_is_known_but_for_what_is_quoted() {
        let last = |text: &str| Some(last_statement(text)?.split_whitespace().collect::<Vec<_>>().join(" "));
        for (text, statement) in [
            ("SELECT 1; SELECT lag", "SELECT lag"),
            ("SELECT 'a;b', x", "SELECT , x"),
            ("SELECT 1 -- it's\n+ 2", "SELECT 1 + 2"),
            ("SELECT /* ; */ 1 -", "SELECT 1 -"),
            ("", ""),
        ] {
            assert_eq!(last(text).as_deref(), Some(statement), "{text}");
        }
        for within in ["SELECT 'a", "SELECT 1 -- a", "SELECT /* a", "SELECT \"a", "SELECT 'it''s"] {
            assert_eq!(last(within), None, "{within}");
        }
    }
}
