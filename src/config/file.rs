//! `offsetd.toml` as a flat list of values: the path of the key, the value as text, and its line.
//!
//! The parser's own messages quote the wrong line, which may hold a password: only the message and the line number are kept.

use std::collections::{BTreeMap, BTreeSet};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::error::Key;

/// A value of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leaf {
    Text(String),
    Integer(String),
    Float(String),
    Bool(bool),
    /// A section without keys.
    EmptyTable,
    /// An array of strings.
    Texts(Vec<String>),
    /// Another array or a time; no setting is one.
    Other(&'static str),
}

impl Leaf {
    /// Returns the name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a boolean",
            Self::EmptyTable => "a table",
            Self::Texts(_) => "an array",
            Self::Other(name) => name,
        }
    }
}

/// A parsed file.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// Values with their lines. The resolver takes out what it reads; what remains is unknown.
    pub(super) leaves: BTreeMap<Key, (Leaf, usize)>,
    /// Syntax errors with their lines.
    pub(super) errors: Vec<(String, Option<usize>)>,
}

impl Document {
    pub(super) fn parse(text: &str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut document = Self::default();
        for error in errors {
            let line = error.span().map(|span| line_of(text, span.start));
            document.errors.push((error.message().replace('\n', ", "), line));
        }
        document.flatten(text, &Key::default(), table.get_ref());
        document
    }

    /// The names below a top-level table that was not read yet.
    pub(super) fn children(&self, section: &str) -> BTreeSet<String> {
        let below = self.leaves.keys().filter(|key| key.0.first().is_some_and(|name| name == section));
        below.filter_map(|key| key.0.get(1).cloned()).collect()
    }

    fn flatten(&mut self, text: &str, parent: &Key, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = parent.child(name.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) if !inner.is_empty() => self.flatten(text, &key, inner),
                _ => {
                    self.leaves.insert(key, (leaf(value), line_of(text, name.span().start)));
                }
            }
        }
    }
}

fn leaf(value: &Spanned<DeValue<'_>>) -> Leaf {
    match value.get_ref() {
        DeValue::String(text) => Leaf::Text(text.to_string()),
        DeValue::Integer(integer) if integer.radix() == 10 => Leaf::Integer(integer.as_str().to_owned()),
        DeValue::Integer(_) => Leaf::Other("an integer that is not decimal"),
        DeValue::Float(float) => Leaf::Float(float.as_str().to_owned()),
        DeValue::Boolean(value) => Leaf::Bool(*value),
        DeValue::Table(_) => Leaf::EmptyTable,
        DeValue::Array(array) => {
            let texts = array.iter().map(|value| value.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map_or(Leaf::Other("an array"), Leaf::Texts)
        }
        DeValue::Datetime(_) => Leaf::Other("a time"),
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}
