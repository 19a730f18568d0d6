//! Names as codes: a column of small numbers, and the names that they stand for, once each (Arrow's dictionaries).
//!
//! The store keeps each name once, so that where a text lies tells which it is: a scan need not copy it for each row,
//! nor a grouping look at it again.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, DictionaryArray, PrimitiveArray, StringBuilder},
    datatypes::{DataType, Int32Type},
};
use hashbrown::HashMap;

/// What a column of codes is made of.
pub(in super::super) type CodeType = Int32Type;

/// The Arrow type of a column of codes.
pub(in super::super) fn code_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// A column of codes in the making. All texts must live until it is done, or another might come to lie where one was.
pub(super) struct Codes {
    codes: Vec<i32>,
    names: StringBuilder,
    /// The codes of texts, by where they lie. The same text may lie in two places, and has two codes then.
    known: HashMap<Place, i32>,
}

/// Of a batch, at least as a rule.
const ROWS_OF_A_NAME: usize = 16;

/// Address and length.
type Place = (usize, usize);

impl Codes {
    pub(super) fn with_capacity(rows: usize) -> Self {
        Self {
            codes: Vec::with_capacity(rows),
            names: StringBuilder::new(),
            known: HashMap::with_capacity(rows / ROWS_OF_A_NAME),
        }
    }

    pub(super) fn append<'a>(&mut self, texts: impl Iterator<Item = &'a str>) {
        let (mut last, mut code) = (None, 0);
        for text in texts {
            let place = (text.as_ptr().addr(), text.len());
            if last != Some(place) {
                let next = i32::try_from(self.known.len()).unwrap_or(i32::MAX);
                code = *self.known.entry(place).or_insert_with(|| {
                    self.names.append_value(text);
                    next
                });
                last = Some(place);
            }
            self.codes.push(code);
        }
    }

    /// # Panics
    /// Never: each code has its name.
    pub(super) fn finish(mut self) -> ArrayRef {
        let (codes, names) = (PrimitiveArray::<CodeType>::from(self.codes), Arc::new(self.names.finish()));
        Arc::new(DictionaryArray::new(codes, names))
    }
}
