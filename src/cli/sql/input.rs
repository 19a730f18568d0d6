//! What is typed at the prompt: statements up to `;` over several lines, and commands that start with `\`.

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
        ("timing", _) => Command::Timing,
        ("?" | "h" | "help", _) => Command::Help,
        _ => Command::Unknown(format!("\\{name}")),
    }
}

/// Up to the first `;` that is not in a string, a quoted name or a comment, and what comes after it.
fn first_statement(text: &str) -> Option<(&str, &str)> {
    #[derive(PartialEq)]
    enum In {
        Text,
        Quotes(char),
        LineComment,
        BlockComment,
    }
    let mut place = In::Text;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        match (&place, c, next) {
            (In::Text, ';', _) => return Some((text.get(..at)?, text.get(at + 1..)?)),
            (In::Text, '\'' | '"', _) => place = In::Quotes(c),
            (In::Text, '-', Some('-')) => place = In::LineComment,
            (In::Text, '/', Some('*')) => {
                place = In::BlockComment;
                chars.next();
            }
            // A doubled quote closes and opens again.
            (In::Quotes(quote), c, _) if *quote == c => place = In::Text,
            (In::LineComment, '\n', _) => place = In::Text,
            (In::BlockComment, '*', Some('/')) => {
                place = In::Text;
                chars.next();
            }
            _ => {}
        }
    }
    None
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
        assert_eq!(command("\\x y"), Command::Unknown("\\x".to_owned()));
        input.line("SELECT");
        assert!(input.line("\\q").is_empty(), "in a statement it is text");
    }
}
