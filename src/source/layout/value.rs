//! Parsers of stored values: text, JSON, or big-endian integers.

use super::{LayoutError, Mismatch, OffsetParts, Placeholder, Template, Topics, json::Document};

/// Maximum length of a value in bytes: the default maximum size of a ZooKeeper znode.
const MAX_BYTES: usize = 1 << 20;
/// Maximum number of offsets in one list. A longer list is malformed.
const MAX_ELEMENTS: usize = 100_000;

/// How a value encodes offsets.
#[derive(Clone, Debug)]
pub enum Value {
    /// A text, trimmed of white space; with a separator, a list of such texts.
    Text(Box<Template>, Option<String>),
    /// A JSON document.
    Json(Box<Document>),
    /// Eight bytes, big-endian, as written by HBase's `Bytes.toBytes(long)`.
    Int64,
    /// Four bytes, big-endian.
    Int32,
}

impl Value {
    /// Parses the setting `value`: `text` (the default, which means `{offset}`), `int64`, `int32`, a text template, or
    /// a JSON template. `list` is the separator of a list's elements.
    ///
    /// # Errors
    /// Returns why the setting is invalid.
    pub fn parse(value: &str, list: Option<&str>) -> Result<Self, LayoutError> {
        let value = match value {
            "text" => "{offset}",
            "int64" | "int32" if list.is_some() => return Err(LayoutError::ListOfNonText),
            "int64" => return Ok(Self::Int64),
            "int32" => return Ok(Self::Int32),
            other => other,
        };
        match (serde_json::from_str::<serde_json::Value>(value), list) {
            (Ok(serde_json::Value::Object(_) | serde_json::Value::Array(_)), Some(_)) => {
                Err(LayoutError::ListOfNonText)
            }
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

    /// Parses a value into the parts of its offsets: one for each element of a list.
    #[must_use]
    pub fn read(&self, value: &[u8], topics: Topics<'_>) -> Vec<Result<OffsetParts, Mismatch>> {
        if value.len() > MAX_BYTES {
            return vec![Err(Mismatch::NoMatch)];
        }
        match self {
            Self::Text(template, list) => {
                let Ok(text) = std::str::from_utf8(value) else { return vec![Err(Mismatch::NoMatch)] };
                let one = |text: &str| template.read(text.trim(), topics);
                match list {
                    None => vec![one(text)],
                    // An empty list has no offsets and is not malformed.
                    Some(_) if text.trim().is_empty() => vec![],
                    Some(separator) => {
                        let text = text.trim();
                        match text.split(separator.as_str()).nth(MAX_ELEMENTS) {
                            Some(_) => vec![Err(Mismatch::NoMatch)],
                            None => text.split(separator.as_str()).map(one).collect(),
                        }
                    }
                }
            }
            Self::Json(document) => document.read(value, topics),
            Self::Int64 => vec![integer(<[u8; 8]>::try_from(value).map(i64::from_be_bytes))],
            Self::Int32 => vec![integer(<[u8; 4]>::try_from(value).map(|bytes| i32::from_be_bytes(bytes).into()))],
        }
    }
}

fn integer<E>(offset: Result<i64, E>) -> Result<OffsetParts, Mismatch> {
    match offset {
        Ok(offset) if offset >= 0 => Ok(OffsetParts { offset: Some(offset), ..OffsetParts::default() }),
        _ => Err(Mismatch::NoMatch),
    }
}
