//! Values: text, JSON, or integers as bytes.

use super::{LayoutError, Mismatch, Parts, Placeholder, Template, Topics, json::Document};

/// Longest value that is looked at, in bytes: the largest znode of ZooKeeper's default.
const LONGEST: usize = 1 << 20;
/// Offsets in one list. More are cut off, as malformed.
const ELEMENTS: usize = 100_000;

/// How a value holds an offset.
#[derive(Clone, Debug)]
pub enum Value {
    /// A text, white space around it not counted. With a separator, each element of a list.
    Text(Box<Template>, Option<String>),
    /// A document of JSON.
    Json(Box<Document>),
    /// Eight bytes, the highest first, as `Bytes.toBytes(long)` of HBase.
    Int64,
    /// Four bytes, the highest first.
    Int32,
}

impl Value {
    /// Reads the setting `value`: `text` (the default, `{offset}`), `int64`, `int32`, a template of text, or one of JSON.
    /// `list` is the text between the elements of a list.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(value: &str, list: Option<&str>) -> Result<Self, LayoutError> {
        let value = match value {
            "text" => "{offset}",
            "int64" | "int32" if list.is_some() => return Err(LayoutError::ListOfOther),
            "int64" => return Ok(Self::Int64),
            "int32" => return Ok(Self::Int32),
            other => other,
        };
        match (serde_json::from_str::<serde_json::Value>(value), list) {
            (Ok(serde_json::Value::Object(_) | serde_json::Value::Array(_)), Some(_)) => Err(LayoutError::ListOfOther),
            (Ok(example @ (serde_json::Value::Object(_) | serde_json::Value::Array(_))), None) => {
                Ok(Self::Json(Box::new(Document::new(&example)?)))
            }
            (_, Some("")) => Err(LayoutError::NoSeparator),
            (_, list) => Ok(Self::Text(Box::new(Template::parse(value)?), list.map(str::to_owned))),
        }
    }

    pub(super) fn placeholders(&self) -> Vec<Placeholder> {
        match self {
            Self::Text(template, _) => template.placeholders().collect(),
            Self::Json(document) => document.placeholders(),
            Self::Int64 | Self::Int32 => vec![Placeholder::Offset],
        }
    }

    /// Takes the parts of offsets from a value: one for each element of a list.
    #[must_use]
    pub fn read(&self, value: &[u8], topics: Topics<'_>) -> Vec<Result<Parts, Mismatch>> {
        if value.len() > LONGEST {
            return vec![Err(Mismatch::NoMatch)];
        }
        match self {
            Self::Text(template, list) => {
                let Ok(text) = std::str::from_utf8(value) else { return vec![Err(Mismatch::NoMatch)] };
                let one = |text: &str| template.read(text.trim(), topics);
                match list {
                    None => vec![one(text)],
                    // An empty list holds no offset, and is not malformed.
                    Some(_) if text.trim().is_empty() => vec![],
                    Some(separator) => text.trim().split(separator.as_str()).take(ELEMENTS).map(one).collect(),
                }
            }
            Self::Json(document) => document.read(value, topics),
            Self::Int64 => vec![integer(<[u8; 8]>::try_from(value).map(i64::from_be_bytes))],
            Self::Int32 => vec![integer(<[u8; 4]>::try_from(value).map(|bytes| i32::from_be_bytes(bytes).into()))],
        }
    }
}

fn integer<E>(offset: Result<i64, E>) -> Result<Parts, Mismatch> {
    match offset {
        Ok(offset) if offset >= 0 => Ok(Parts { offset: Some(offset), ..Parts::default() }),
        _ => Err(Mismatch::NoMatch),
    }
}
