//! Array fields that are decoded lazily, element by element.

use std::fmt;

use serde::ser::{Serialize as _, SerializeSeq as _, Serializer};

use super::{
    super::error::{DecodeError, Fault},
    Context, Json, LengthWidth, Reader, Wire, write_length,
};

/// An array field. It is validated when the record is read, and decoded again by each [`Array::iter`]. This needs no
/// memory, and few callers need the elements.
#[derive(Clone, Copy)]
pub struct Array<'a, T> {
    elements: Elements<'a, T>,
}

#[derive(Clone, Copy)]
enum Elements<'a, T> {
    Wire { reader: Reader<'a>, count: usize, context: Context },
    Items(&'a [T]),
}

impl<'a, T: Wire<'a>> Array<'a, T> {
    /// Makes an array of the given elements, to be written.
    #[must_use]
    pub fn of(items: &'a [T]) -> Self {
        Self { elements: Elements::Items(items) }
    }

    /// Returns the number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.elements {
            Elements::Wire { count, .. } => count,
            Elements::Items(items) => items.len(),
        }
    }

    /// Returns whether the array is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Iterates over the elements in order.
    pub fn iter(&self) -> Iter<'a, T> {
        let position = match self.elements {
            Elements::Wire { reader, .. } => reader,
            Elements::Items(_) => Reader::new(&[]),
        };
        Iter { array: *self, position, next: 0 }
    }

    /// Collects the converted elements into a `Vec` of exact capacity. Millions of such lists are stored, and `collect`
    /// would reserve space for at least four elements in each.
    pub fn map<U>(&self, each: impl FnMut(T) -> U) -> Vec<U> {
        let mut list = Vec::with_capacity(self.len());
        list.extend(self.iter().map(each));
        list
    }

    /// Collects the elements into a `Vec` of exact capacity.
    #[must_use]
    pub fn to_vec(&self) -> Vec<T> {
        self.map(|element| element)
    }
}

/// An iterator over the elements of an [`Array`].
#[derive(Clone)]
pub struct Iter<'a, T> {
    array: Array<'a, T>,
    position: Reader<'a>,
    next: usize,
}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("next", &self.next).finish_non_exhaustive()
    }
}

impl<'a, T: Wire<'a>> Iterator for Iter<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let index = self.next;
        self.next += 1;
        match self.array.elements {
            // The array was validated when it was read, so decoding again cannot fail.
            Elements::Wire { count, context, .. } if index < count => T::read(&mut self.position, context).ok(),
            Elements::Wire { .. } => None,
            Elements::Items(items) => items.get(index).copied(),
        }
    }
}

impl<T> Default for Array<'_, T> {
    fn default() -> Self {
        Self { elements: Elements::Items(&[]) }
    }
}

impl<'a, T: Wire<'a> + fmt::Debug> fmt::Debug for Array<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, T: Wire<'a> + PartialEq> PartialEq for Array<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Option<Array<'a, T>> {
    fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, DecodeError> {
        let start = *reader;
        let Some(count) = reader.length(context, LengthWidth::I32)? else { return Ok(None) };
        // Every element takes at least one byte.
        if count > reader.remaining() {
            return Err(start.fail(Fault::EndOfBuffer { wanted: count, left: reader.remaining() }));
        }
        let first = *reader;
        for index in 0..count {
            T::read(reader, context).map_err(|error| error.at_index(index))?;
        }
        Ok(Some(Array { elements: Elements::Wire { reader: first, count, context } }))
    }
    fn write(&self, out: &mut Vec<u8>, context: Context) {
        match self {
            Some(array) => array.write(out, context),
            None => write_length(None, out, context, LengthWidth::I32),
        }
    }
    fn json<S: Serializer>(&self, context: Context, serializer: S) -> Result<S::Ok, S::Error> {
        self.map(|array| Json(array, context)).serialize(serializer)
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Array<'a, T> {
    fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, DecodeError> {
        let start = *reader;
        Option::<Array<'a, T>>::read(reader, context)?.ok_or_else(|| start.fail(Fault::Null))
    }
    fn write(&self, out: &mut Vec<u8>, context: Context) {
        write_length(Some(self.len()), out, context, LengthWidth::I32);
        for item in self.iter() {
            item.write(out, context);
        }
    }
    fn json<S: Serializer>(&self, context: Context, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        for item in self.iter() {
            list.serialize_element(&Json(item, context))?;
        }
        list.end()
    }
}
