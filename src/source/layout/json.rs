//! JSON templates: an example document with placeholders.
//!
//! A placeholder in place of a value takes that value; a number equals its digits in quotes. An object with a
//! placeholder as its only key matches every key of an object, and an array of one element matches every element of an
//! array. Other strings, numbers and booleans must be equal. Parts of the document that the template does not name are
//! ignored.

use serde_json::Value as Json;

use super::{LayoutError, Mismatch, OffsetParts, Placeholder, Template, Topics};

/// Maximum number of offsets in one document. A document with more is malformed.
const MAX_OFFSETS: usize = 100_000;

/// A JSON template.
#[derive(Clone, Debug)]
pub struct Document(Node);

#[derive(Clone, Debug)]
enum Node {
    /// A string or number that is parsed by a template.
    Text(Box<Template>),
    /// A value that must be equal.
    Equal(Json),
    /// Keys of an object, each of which must exist.
    Keys(Vec<(String, Node)>),
    /// Every key and value of an object.
    EachKey(Box<Template>, Box<Node>),
    /// Every element of an array.
    Each(Box<Node>),
}

impl Document {
    /// Creates a template from an example.
    pub(super) fn new(example: &Json) -> Result<Self, LayoutError> {
        let node = Node::new(example)?;
        let mut placeholders = vec![];
        node.placeholders(&mut placeholders);
        if placeholders.is_empty() {
            return Err(LayoutError::NoPlaceholder);
        }
        Ok(Self(node))
    }

    pub(super) fn placeholders(&self) -> Vec<Placeholder> {
        let mut placeholders = vec![];
        self.0.placeholders(&mut placeholders);
        placeholders
    }

    /// Parses a document into the parts of its offsets.
    pub(super) fn read(&self, document: &[u8], topics: Topics<'_>) -> Vec<Result<OffsetParts, Mismatch>> {
        let Ok(document) = serde_json::from_slice::<Json>(document) else { return vec![Err(Mismatch::NoMatch)] };
        let mut found = vec![];
        self.0.read(&document, &OffsetParts::default(), topics, &mut found);
        if found.len() > MAX_OFFSETS { vec![Err(Mismatch::NoMatch)] } else { found }
    }
}

impl Node {
    fn new(example: &Json) -> Result<Self, LayoutError> {
        Ok(match example {
            Json::String(text) => {
                let template = Template::parse(text)?;
                if template.placeholders().next().is_none() && !text.contains("{*}") {
                    return Ok(Self::Equal(example.clone()));
                }
                Self::Text(Box::new(template))
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => Self::Equal(example.clone()),
            Json::Array(elements) => match elements.as_slice() {
                [element] => Self::Each(Box::new(Self::new(element)?)),
                _ => return Err(LayoutError::SeveralLists),
            },
            Json::Object(keys) => {
                if let (1, Some((key, value))) = (keys.len(), keys.iter().next()) {
                    let template = Template::parse(key)?;
                    if template.placeholders().next().is_some() || key == "{*}" {
                        return Ok(Self::EachKey(Box::new(template), Box::new(Self::new(value)?)));
                    }
                }
                let node = |(key, value): (&String, &Json)| Ok((key.clone(), Self::new(value)?));
                let keys = keys.iter().map(node).collect::<Result<Vec<_>, LayoutError>>()?;
                if keys.iter().filter(|(_, node)| node.has_list()).count() > 1 {
                    return Err(LayoutError::SeveralLists);
                }
                Self::Keys(keys)
            }
        })
    }

    fn has_list(&self) -> bool {
        match self {
            Self::Text(_) | Self::Equal(_) => false,
            Self::Keys(keys) => keys.iter().any(|(_, node)| node.has_list()),
            Self::EachKey(..) | Self::Each(_) => true,
        }
    }

    fn placeholders(&self, into: &mut Vec<Placeholder>) {
        match self {
            Self::Text(template) => into.extend(template.placeholders()),
            Self::Equal(_) => {}
            Self::Keys(keys) => keys.iter().for_each(|(_, node)| node.placeholders(into)),
            Self::EachKey(key, node) => {
                into.extend(key.placeholders());
                node.placeholders(into);
            }
            Self::Each(node) => node.placeholders(into),
        }
    }

    fn read(
        &self,
        value: &Json,
        before: &OffsetParts,
        topics: Topics<'_>,
        found: &mut Vec<Result<OffsetParts, Mismatch>>,
    ) {
        if found.len() > MAX_OFFSETS {
            return;
        }
        match self {
            Self::Text(_) | Self::Equal(_) => {
                let mut parts = before.clone();
                found.push(self.apply(value, &mut parts, topics).map(|()| parts));
            }
            Self::Keys(keys) => match value {
                Json::Object(values) => read_keys(keys, values, before, topics, found),
                _ => found.push(Err(Mismatch::NoMatch)),
            },
            Self::EachKey(template, node) => match value {
                Json::Object(values) => {
                    for (key, value) in values {
                        match template.read(key, topics) {
                            Ok(mut parts) => {
                                parts.add(before);
                                node.read(value, &parts, topics, found);
                            }
                            Err(mismatch) => found.push(Err(mismatch)),
                        }
                    }
                }
                _ => found.push(Err(Mismatch::NoMatch)),
            },
            Self::Each(node) => match value {
                Json::Array(values) => values.iter().for_each(|value| node.read(value, before, topics, found)),
                _ => found.push(Err(Mismatch::NoMatch)),
            },
        }
    }

    /// Adds the parts that a node without a list gives.
    fn apply(&self, value: &Json, parts: &mut OffsetParts, topics: Topics<'_>) -> Result<(), Mismatch> {
        match self {
            Self::Text(template) => {
                let given = match value {
                    Json::String(text) => template.read(text, topics)?,
                    Json::Number(number) => template.read(&number.to_string(), topics)?,
                    Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => return Err(Mismatch::NoMatch),
                };
                parts.add(&given);
                Ok(())
            }
            Self::Equal(expected) if expected == value => Ok(()),
            Self::Keys(keys) => keys
                .iter()
                .try_for_each(|(key, node)| node.apply(value.get(key).ok_or(Mismatch::NoMatch)?, parts, topics)),
            Self::Equal(_) | Self::EachKey(..) | Self::Each(_) => Err(Mismatch::NoMatch),
        }
    }
}

/// Reads the keys without a list first, since their parts apply to each element of the list.
fn read_keys(
    keys: &[(String, Node)],
    values: &serde_json::Map<String, Json>,
    before: &OffsetParts,
    topics: Topics<'_>,
    found: &mut Vec<Result<OffsetParts, Mismatch>>,
) {
    let mut parts = before.clone();
    let mut list = None;
    for (key, node) in keys {
        let Some(value) = values.get(key) else { return found.push(Err(Mismatch::NoMatch)) };
        if node.has_list() {
            list = Some((node, value));
        } else if let Err(mismatch) = node.apply(value, &mut parts, topics) {
            return found.push(Err(mismatch));
        }
    }
    match list {
        Some((node, value)) => node.read(value, &parts, topics, found),
        None => found.push(Ok(parts)),
    }
}
