//! Parses `offsetd.toml` into a flat list of values, each with its key, its text and its line number.
//!
//! The full error of the parser quotes the line, which may contain a password. So only its message and the line number
//! are used.

use std::collections::{BTreeMap, BTreeSet};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::error::Key;

/// A value in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TomlValue {
    Text(String),
    Integer(String),
    Float(String),
    Bool(bool),
    /// A section without keys.
    EmptyTable,
    /// An array of strings.
    Texts(Vec<String>),
    /// A value of a type that no setting has, by the name of the type.
    Other(&'static str),
}

impl TomlValue {
    /// Returns the name of the type, for errors.
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
    /// The values with their line numbers. The resolver removes the values that it reads; the remaining keys are
    /// unknown.
    pub(super) values: BTreeMap<Key, (TomlValue, usize)>,
    /// The syntax errors with their line numbers.
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

    /// Returns the names in a top-level table, as far as they have not been read.
    pub(super) fn children(&self, section: &str) -> BTreeSet<String> {
        let below = self.values.keys().filter(|key| key.0.first().is_some_and(|name| name == section));
        below.filter_map(|key| key.0.get(1).cloned()).collect()
    }

    fn flatten(&mut self, text: &str, parent: &Key, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = parent.child(name.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) if !inner.is_empty() => self.flatten(text, &key, inner),
                _ => {
                    self.values.insert(key, (leaf(value), line_of(text, name.span().start)));
                }
            }
        }
    }
}

fn leaf(value: &Spanned<DeValue<'_>>) -> TomlValue {
    match value.get_ref() {
        DeValue::String(text) => TomlValue::Text(text.to_string()),
        DeValue::Integer(integer) if integer.radix() == 10 => TomlValue::Integer(integer.as_str().to_owned()),
        DeValue::Integer(_) => TomlValue::Other("an integer that is not decimal"),
        DeValue::Float(float) => TomlValue::Float(float.as_str().to_owned()),
        DeValue::Boolean(value) => TomlValue::Bool(*value),
        DeValue::Table(_) => TomlValue::EmptyTable,
        DeValue::Array(array) => {
            let texts = array.iter().map(|value| value.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map_or(TomlValue::Other("an array"), TomlValue::Texts)
        }
        DeValue::Datetime(_) => TomlValue::Other("a time"),
    }
}

/// Returns the line number, from 1, of a position in bytes.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}
