//! Text templates, and the search for all readings of an ambiguous text.

use regex::{Captures, Regex};

use super::{LayoutError, Mismatch, OffsetParts, Placeholder, Topics};

/// Maximum number of readings of one text. A text with more is ambiguous.
const MAX_READINGS: usize = 64;
/// Maximum number of steps of the search for readings.
const MAX_STEPS: usize = 4096;
/// Maximum length in bytes of a text that is searched for readings. A longer text with several readings is ambiguous.
const MAX_SEARCHED_BYTES: usize = 4096;

/// A text with placeholders, such as `offset:{topic}:{group}`.
#[derive(Clone, Debug)]
pub struct Template {
    segments: Vec<Segment>,
    /// Matches as little as possible for each placeholder, from the left.
    shortest: Regex,
    /// Matches as much as possible. If both regular expressions agree, the text has only one reading.
    longest: Regex,
    is_path: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Placeholder(Placeholder),
}

impl Template {
    /// Parses a template. `{{` and `}}` stand for literal braces.
    ///
    /// # Errors
    /// Returns the syntax error.
    pub fn parse(template: &str) -> Result<Self, LayoutError> {
        Self::new(template, false)
    }

    /// Parses the template of a path: unlike with [`Template::parse`], `{group}` and `{*}` do not match a `/`.
    ///
    /// # Errors
    /// Returns the syntax error.
    pub fn parse_path(template: &str) -> Result<Self, LayoutError> {
        Self::new(template, true)
    }

    fn new(template: &str, is_path: bool) -> Result<Self, LayoutError> {
        let segments = segments(template)?;
        for pair in segments.windows(2) {
            if let [Segment::Placeholder(left), Segment::Placeholder(right)] = pair {
                return Err(LayoutError::Adjacent(*left, *right));
            }
        }
        let compile = |lazy: &str| {
            let pattern: String = segments.iter().map(|segment| segment.pattern(is_path, lazy)).collect();
            Regex::new(&format!("^{pattern}$")).map_err(|_| LayoutError::UnbalancedBrace(template.to_owned()))
        };
        Ok(Self { shortest: compile("?")?, longest: compile("")?, segments, is_path })
    }

    /// Returns the placeholders, without `{*}`.
    pub fn placeholders(&self) -> impl Iterator<Item = Placeholder> + '_ {
        self.fields().filter(|placeholder| *placeholder != Placeholder::Ignored)
    }

    fn fields(&self) -> impl Iterator<Item = Placeholder> + '_ {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Placeholder(placeholder) => Some(*placeholder),
        })
    }

    /// Returns whether no two texts of this template can name the same rows. That is so if it consists of group, topic
    /// and partition only.
    #[must_use]
    pub fn identifies_rows(&self) -> bool {
        self.fields().all(|placeholder| match placeholder {
            Placeholder::Group | Placeholder::Topic | Placeholder::Partition => true,
            Placeholder::Offset
            | Placeholder::Batch
            | Placeholder::AtMillis
            | Placeholder::AtSeconds
            | Placeholder::At
            | Placeholder::Metadata
            | Placeholder::Ignored => false,
        })
    }

    /// Returns the text before the first placeholder. Every matching text starts with it.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match self.segments.first() {
            Some(Segment::Literal(text)) => text,
            Some(Segment::Placeholder(_)) | None => "",
        }
    }

    /// Returns the text of a template without placeholders, also without `{*}`.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        self.fields().next().is_none().then(|| self.prefix())
    }

    /// Returns a glob pattern that matches at least every text that the template matches, for stores that filter by
    /// one. Each placeholder becomes `*`, and characters with a meaning in glob patterns are escaped with `\\`.
    #[must_use]
    pub fn glob(&self) -> String {
        let mut glob = String::new();
        for segment in &self.segments {
            match segment {
                Segment::Placeholder(_) => glob.push('*'),
                Segment::Literal(text) => text.chars().for_each(|character| {
                    if matches!(character, '*' | '?' | '[' | ']' | '^' | '\\') {
                        glob.push('\\');
                    }
                    glob.push(character);
                }),
            }
        }
        glob
    }

    /// Parses a text into parts of an offset.
    ///
    /// # Errors
    /// Returns whether the text does not match, or matches in several ways.
    pub fn read(&self, text: &str, topics: Topics<'_>) -> Result<OffsetParts, Mismatch> {
        let shortest = self.shortest.captures(text).ok_or(Mismatch::NoMatch)?;
        if self.fields().take(2).count() < 2 {
            return self.parts(&shortest).ok_or(Mismatch::NoMatch);
        }
        let longest = self.longest.captures(text).ok_or(Mismatch::NoMatch)?;
        if end_positions(&shortest).eq(end_positions(&longest)) {
            return self.parts(&shortest).ok_or(Mismatch::NoMatch);
        }
        choose(self.readings(text)?, topics)
    }

    fn parts(&self, captures: &Captures<'_>) -> Option<OffsetParts> {
        let mut parts = OffsetParts::default();
        for (placeholder, capture) in self.fields().zip(captures.iter().skip(1)) {
            parts.set(placeholder, capture?.as_str())?;
        }
        Some(parts)
    }

    /// Returns the parts of every way in which the text matches.
    fn readings(&self, text: &str) -> Result<Vec<OffsetParts>, Mismatch> {
        if text.len() > MAX_SEARCHED_BYTES {
            return Err(Mismatch::Ambiguous);
        }
        let mut search = Search { is_path: self.is_path, found: vec![], steps: 0 };
        search.search(&self.segments, text, &OffsetParts::default())?;
        Ok(search.found)
    }
}

impl Segment {
    /// Returns the piece as part of a regular expression. `lazy` is `?` or empty.
    fn pattern(&self, is_path: bool, lazy: &str) -> String {
        let placeholder = match self {
            Self::Literal(text) => return regex::escape(text),
            Self::Placeholder(placeholder) => placeholder,
        };
        let any = if is_path { r"[^\r\n/]" } else { r"[^\r\n]" };
        match placeholder {
            Placeholder::Group => format!("({any}+{lazy})"),
            Placeholder::Metadata | Placeholder::Ignored => format!("({any}*{lazy})"),
            Placeholder::Topic => format!("([A-Za-z0-9._-]+{lazy})"),
            Placeholder::At => format!("([0-9TZtz:.+-]+{lazy})"),
            Placeholder::Partition
            | Placeholder::Offset
            | Placeholder::Batch
            | Placeholder::AtMillis
            | Placeholder::AtSeconds => format!("([0-9]+{lazy})"),
        }
    }
}

/// Returns the end positions of the captured placeholders.
fn end_positions<'a>(captures: &'a Captures<'_>) -> impl Iterator<Item = Option<usize>> + 'a {
    captures.iter().map(|capture| capture.map(|capture| capture.end()))
}

/// A search for all readings of a text, by backtracking.
struct Search {
    is_path: bool,
    found: Vec<OffsetParts>,
    steps: usize,
}

impl Search {
    fn search(&mut self, segments: &[Segment], text: &str, before: &OffsetParts) -> Result<(), Mismatch> {
        self.steps += 1;
        if self.steps > MAX_STEPS || self.found.len() > MAX_READINGS {
            return Err(Mismatch::Ambiguous);
        }
        match segments {
            [] if text.is_empty() => self.add(before),
            [] => {}
            [Segment::Literal(literal), rest @ ..] => {
                if let Some(text) = text.strip_prefix(literal.as_str()) {
                    self.search(rest, text, before)?;
                }
            }
            [Segment::Placeholder(placeholder), rest @ ..] => {
                for end in possible_ends(rest, text) {
                    let Some((mine, after)) = text.split_at_checked(end) else { continue };
                    let mut parts = before.clone();
                    let has_separator = mine.contains(['\n', '\r']) || (self.is_path && mine.contains('/'));
                    if !has_separator && parts.set(*placeholder, mine).is_some() {
                        self.search(rest, after, &parts)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, parts: &OffsetParts) {
        if !self.found.contains(parts) {
            self.found.push(parts.clone());
        }
    }
}

/// Returns the positions where a placeholder can end: before the literal that follows it, or at the end of the text.
fn possible_ends(rest: &[Segment], text: &str) -> Vec<usize> {
    match rest {
        [Segment::Literal(literal), ..] => (0..text.len())
            .filter(|at| text.get(*at..).is_some_and(|text| text.starts_with(literal.as_str())))
            .collect(),
        _ => vec![text.len()],
    }
}

/// Returns the reading that names a topic of the cluster. If none does, returns the one with the longest topic.
fn choose(readings: Vec<OffsetParts>, topics: Topics<'_>) -> Result<OffsetParts, Mismatch> {
    let Some(exists) = topics else {
        return <[OffsetParts; 1]>::try_from(readings).map(|[one]| one).map_err(|_| Mismatch::Ambiguous);
    };
    let length = |parts: &OffsetParts| parts.topic.as_ref().map_or(0, String::len);
    let longest = readings.iter().map(length).max().unwrap_or(0);
    let (mut chosen, others): (Vec<OffsetParts>, Vec<OffsetParts>) =
        readings.into_iter().partition(|parts| parts.topic.as_deref().is_some_and(exists));
    if chosen.is_empty() {
        chosen = others.into_iter().filter(|parts| length(parts) == longest).collect();
    }
    match chosen.len() {
        0 => Err(Mismatch::NoMatch),
        1 => chosen.pop().ok_or(Mismatch::NoMatch),
        _ => Err(Mismatch::Ambiguous),
    }
}

/// Splits a template into literals and placeholders.
fn segments(template: &str) -> Result<Vec<Segment>, LayoutError> {
    let unbalanced = || LayoutError::UnbalancedBrace(template.to_owned());
    let (mut segments, mut literal, mut rest) = (vec![], String::new(), template);
    while let Some(first) = rest.chars().next() {
        if let Some((brace, after)) = ["{{", "}}"].iter().find_map(|brace| Some((first, rest.strip_prefix(brace)?))) {
            literal.push(brace);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (name, after) = after.split_once('}').ok_or_else(unbalanced)?;
            let unknown = || LayoutError::UnknownPlaceholder(name.to_owned());
            let placeholder = Placeholder::of(name).ok_or_else(unknown)?;
            if !literal.is_empty() {
                segments.push(Segment::Literal(std::mem::take(&mut literal)));
            }
            segments.push(Segment::Placeholder(placeholder));
            rest = after;
        } else if first == '}' {
            return Err(unbalanced());
        } else {
            literal.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    if !literal.is_empty() {
        segments.push(Segment::Literal(literal));
    }
    Ok(segments)
}
