//! Checks an Arrow IPC message against the bytes received, before it is decoded.
//!
//! The decoder trusts a message. It allocates the declared length of a compressed buffer, and panics if a buffer ends
//! outside of the body. After this check, the memory of the decoder is bounded by the bytes received.

use arrow::ipc::{self, MessageHeader, root_as_message};
use arrow_flight::FlightData;

use super::{
    InvalidParameters,
    layout::{Column, Plain, columns},
};

/// Maximum number of values of a list that take no bytes of their own.
const MAX_NULLS: i64 = 1024;

/// The check of the messages of one DoPut, in their order.
#[derive(Debug, Default)]
pub(super) struct Check {
    columns: Option<Vec<Column>>,
}

impl Check {
    /// Checks the next message.
    pub(super) fn message(&mut self, data: &FlightData) -> Result<(), InvalidParameters> {
        let (header, body) = (&data.data_header[..], &data.data_body[..]);
        let message = root_as_message(header).map_err(|_| InvalidParameters::Header)?;
        if usize::try_from(message.bodyLength()).is_ok_and(|claimed| claimed <= body.len()) {
            self.header(&message, header, body)
        } else {
            Err(InvalidParameters::Buffer)
        }
    }

    fn header(&mut self, message: &ipc::Message<'_>, header: &[u8], body: &[u8]) -> Result<(), InvalidParameters> {
        match message.header_type() {
            MessageHeader::NONE => Ok(()),
            MessageHeader::Schema => {
                let schema = message.header_as_schema().ok_or(InvalidParameters::Header)?;
                let columns = columns(schema, header)?;
                if self.columns.replace(columns).is_some() { Err(InvalidParameters::SecondSchema) } else { Ok(()) }
            }
            MessageHeader::DictionaryBatch => {
                let columns = self.columns.as_ref().ok_or(InvalidParameters::NoSchema)?;
                let batch = message.header_as_dictionary_batch().ok_or(InvalidParameters::Header)?;
                let values = columns.iter().find_map(|column| match column {
                    Column::Dictionary { id, values, .. } if *id == batch.id() => Some(Column::Plain(*values)),
                    _ => None,
                });
                let values = values.ok_or(InvalidParameters::Shape)?;
                check_batch(&[values], batch.data().ok_or(InvalidParameters::Header)?, body)
            }
            MessageHeader::RecordBatch => {
                let columns = self.columns.as_ref().ok_or(InvalidParameters::NoSchema)?;
                let batch = message.header_as_record_batch().ok_or(InvalidParameters::Header)?;
                if batch.length() > 1 {
                    return Err(InvalidParameters::Rows);
                }
                check_batch(columns, batch, body)
            }
            _ => Err(InvalidParameters::Header),
        }
    }
}

/// Checks a batch of columns.
fn check_batch(columns: &[Column], batch: ipc::RecordBatch<'_>, body: &[u8]) -> Result<(), InvalidParameters> {
    if batch.compression().is_some() {
        return Err(InvalidParameters::Compressed);
    }
    let (nodes, buffers) =
        (batch.nodes().ok_or(InvalidParameters::Shape)?, batch.buffers().ok_or(InvalidParameters::Shape)?);
    let (mut nodes, mut buffers) = (nodes.iter(), Buffers { left: buffers.iter(), bytes: body.len(), body });
    let mut variadic = batch.variadicBufferCounts().into_iter().flatten();
    // A value takes at least one bit. `body` has at most `MAX_BYTES`.
    let most = i64::try_from(body.len().saturating_mul(8)).unwrap_or(i64::MAX);
    for column in columns {
        let rows = check_node(nodes.next(), |length| length == batch.length())?;
        match *column {
            Column::Plain(plain) => buffers.plain(plain, rows, &mut variadic)?,
            Column::Dictionary { index, .. } => buffers.values(1, index, rows)?,
            Column::List { offset, values } => {
                buffers.values(1, offset, rows)?;
                let most = if values == Plain::Null { MAX_NULLS } else { most };
                buffers.plain(values, check_node(nodes.next(), |length| length <= most)?, &mut variadic)?;
            }
        }
    }
    if nodes.next().is_some() || variadic.next().is_some() || buffers.left.next().is_some() {
        return Err(InvalidParameters::Shape);
    }
    if (0..=most.max(1)).contains(&batch.length()) { Ok(()) } else { Err(InvalidParameters::Length) }
}

/// Checks a field node, which describes the values of a column.
fn check_node(
    node: Option<&ipc::FieldNode>,
    accepts: impl Fn(i64) -> bool,
) -> Result<&ipc::FieldNode, InvalidParameters> {
    let node = node.ok_or(InvalidParameters::Shape)?;
    let (length, nulls) = (node.length(), node.null_count());
    if length >= 0 && accepts(length) && (0..=length).contains(&nulls) {
        Ok(node)
    } else {
        Err(InvalidParameters::Length)
    }
}

/// The buffers of a batch that have not been checked yet.
struct Buffers<'a, T> {
    left: T,
    /// Total bytes that the remaining buffers may have. Buffers that share bytes would be copied separately.
    bytes: usize,
    body: &'a [u8],
}

impl<'b, T: Iterator<Item = &'b ipc::Buffer>> Buffers<'_, T> {
    /// Checks the buffers of a column of plain values.
    fn plain(
        &mut self,
        plain: Plain,
        node: &ipc::FieldNode,
        variadic: &mut impl Iterator<Item = i64>,
    ) -> Result<(), InvalidParameters> {
        match plain {
            Plain::Null => Ok(()),
            Plain::Fixed => self.values(1, 1, node),
            Plain::Offsets(offset) => self.values(2, offset, node),
            Plain::Views => {
                let data = variadic.next().and_then(|count| count.checked_add(1)).ok_or(InvalidParameters::Shape)?;
                self.values(data, size_of::<u128>(), node)
            }
        }
    }

    /// Checks a validity bitmap and `others` further buffers. The elements of the first of these have `width` bytes.
    /// The decoder panics if validity bits are missing or an element is incomplete.
    fn values(&mut self, others: i64, width: usize, node: &ipc::FieldNode) -> Result<(), InvalidParameters> {
        let bits = i64::try_from(self.next()?.saturating_mul(8)).unwrap_or(i64::MAX);
        let is_whole = others > 0 && self.next()?.is_multiple_of(width);
        if !is_whole || node.null_count() > 0 && bits < node.length() {
            return Err(InvalidParameters::Length);
        }
        // Ends when there are no more buffers, whatever number the message declares.
        (1..others).try_for_each(|_| self.next().map(drop))
    }

    /// Returns the length of the next buffer, which lies within the body.
    fn next(&mut self) -> Result<usize, InvalidParameters> {
        let buffer = self.left.next().ok_or(InvalidParameters::Shape)?;
        let (from, length) = (usize::try_from(buffer.offset()).ok(), usize::try_from(buffer.length()).ok());
        let end = from.zip(length).and_then(|(from, length)| from.checked_add(length));
        let length = end.filter(|end| *end <= self.body.len()).and(length).ok_or(InvalidParameters::Buffer)?;
        self.bytes = self.bytes.checked_sub(length).ok_or(InvalidParameters::Buffer)?;
        Ok(length)
    }
}
