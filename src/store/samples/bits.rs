//! Bits in a row, and codes of what is mostly small: Rice codes, or truncated binary ones where all of it is.

/// Ones before a code that holds a whole value.
const ESCAPE: u32 = 16;
/// Bits of the parameter of a code.
pub(super) const PARAMETER_BITS: u32 = 6;
/// Parameters from here on are those of truncated binary codes, of 1, 2, … values.
pub(super) const TRUNCATED: u32 = 48;

/// A negative number has the odd places, so that what is near 0 is small.
pub(super) fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Seven bits a byte, the low ones first (as in Protocol Buffers).
pub(super) fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

/// `None` where the bytes end within a number.
pub(super) fn read_varint(bytes: &mut std::slice::Iter<'_, u8>) -> Option<u64> {
    let (mut value, mut shift) = (0_u64, 0_u32);
    loop {
        let byte = *bytes.next()?;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
        shift += 7;
    }
}

/// Writes bits, the first into the lowest of a byte.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are free.
    free: u32,
}

impl BitWriter {
    /// The lowest `count` bits of a value.
    pub(super) fn bits(&mut self, mut value: u64, mut count: u32) {
        while count > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = count.min(self.free);
            let part = u8::try_from(value & ((1 << taken) - 1)).unwrap_or(0);
            if let Some(last) = self.bytes.last_mut() {
                *last |= part << (8 - self.free);
            }
            self.free -= taken;
            count -= taken;
            value = value.checked_shr(taken).unwrap_or(0);
        }
    }

    /// How many bits it takes, and those below the highest, which is 1. Below 2^63.
    pub(super) fn number(&mut self, value: u64) {
        let length = 64 - value.leading_zeros();
        self.bits(u64::from(length), PARAMETER_BITS);
        self.bits(value, length.saturating_sub(1));
    }

    /// A Rice code: so many times 2^parameter in ones, then the rest.
    pub(super) fn rice(&mut self, value: u64, parameter: u32) {
        let ones = value >> parameter;
        if ones >= u64::from(ESCAPE) {
            self.bits((1 << ESCAPE) - 1, ESCAPE);
            self.bits(value, 64);
        } else {
            let ones = u32::try_from(ones).unwrap_or(0);
            self.bits((1 << ones) - 1, ones + 1);
            self.bits(value, parameter);
        }
    }

    /// A code of whichever kind.
    pub(super) fn code(&mut self, value: u64, parameter: u32) {
        let Some((bits, short)) = truncated(parameter) else { return self.rice(value, parameter) };
        if value < short {
            self.bits(value, bits);
        } else {
            // The high bits first, which tell that there is one more.
            self.bits((value + short) >> 1, bits);
            self.bits((value + short) & 1, 1);
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// The bits of the shorter codes, and how many values have such, of a truncated binary code.
fn truncated(parameter: u32) -> Option<(u32, u64)> {
    let values = u64::from(parameter.checked_sub(TRUNCATED)? + 1);
    let bits = values.ilog2();
    Some((bits, (2 << bits) - values))
}

/// Bits that [`BitWriter::code`] takes.
pub(super) fn code_length(value: u64, parameter: u32) -> u64 {
    match truncated(parameter) {
        Some((bits, short)) => u64::from(bits) + u64::from(value >= short),
        None => rice_length(value, parameter),
    }
}

/// Bits that [`BitWriter::rice`] takes.
fn rice_length(value: u64, parameter: u32) -> u64 {
    let ones = value >> parameter;
    if ones >= u64::from(ESCAPE) { u64::from(ESCAPE) + 64 } else { ones + 1 + u64::from(parameter) }
}

/// Reads what [`BitWriter`] wrote; zeros beyond the end.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn bits(&mut self, count: u32) -> u64 {
        let (mut value, mut had) = (0_u64, 0_u32);
        while had < count {
            let (byte, offset) = (self.at / 8, u32::try_from(self.at % 8).unwrap_or(0));
            let taken = (count - had).min(8 - offset);
            let part = (self.bytes.get(byte).copied().unwrap_or(0) >> offset)
                & u8::try_from((1_u16 << taken) - 1).unwrap_or(u8::MAX);
            value |= u64::from(part) << had;
            had += taken;
            self.at += taken as usize;
        }
        value
    }

    pub(super) fn number(&mut self) -> u64 {
        let length = u32::try_from(self.bits(PARAMETER_BITS)).unwrap_or(0);
        match length.checked_sub(1) {
            None => 0,
            Some(rest) => 1 << rest | self.bits(rest),
        }
    }

    pub(super) fn rice(&mut self, parameter: u32) -> u64 {
        let mut ones = 0;
        while ones < ESCAPE && self.bits(1) == 1 {
            ones += 1;
        }
        if ones == ESCAPE { self.bits(64) } else { u64::from(ones) << parameter | self.bits(parameter) }
    }

    pub(super) fn code(&mut self, parameter: u32) -> u64 {
        let Some((bits, short)) = truncated(parameter) else { return self.rice(parameter) };
        let value = self.bits(bits);
        if value < short { value } else { (value << 1 | self.bits(1)) - short }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_read_as_it_was_written() {
        let values = [0, 1, 2, 5, 127, 128, 16_383, 1 << 40, u64::MAX >> 1, u64::MAX];
        let mut writer = BitWriter::default();
        for value in values {
            writer.bits(1, 1);
            writer.number(value >> 1);
            (0..40).for_each(|parameter| writer.rice(value, parameter));
        }
        let bytes = writer.finish();
        let mut reader = BitReader::new(&bytes);
        for value in values {
            assert_eq!((reader.bits(1), reader.number()), (1, value >> 1));
            (0..40).for_each(|parameter| assert_eq!(reader.rice(parameter), value));
        }
        assert_eq!(reader.bits(64), 0, "zeros follow");
        let mut bytes = vec![];
        values.iter().for_each(|value| write_varint(*value, &mut bytes));
        let mut bytes = bytes.iter();
        values.iter().for_each(|value| assert_eq!(read_varint(&mut bytes), Some(*value)));
        assert_eq!(read_varint(&mut bytes), None);
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    #[test]
    fn truncated_codes_are_read_as_written_and_as_long_as_foretold() {
        for values in 1..=16_u64 {
            let parameter = TRUNCATED + u32::try_from(values - 1).unwrap();
            let mut writer = BitWriter::default();
            (0..values).for_each(|value| writer.code(value, parameter));
            let bits: u64 = (0..values).map(|value| code_length(value, parameter)).sum();
            let bytes = writer.finish();
            assert_eq!(bytes.len() as u64, bits.div_ceil(8));
            let mut reader = BitReader::new(&bytes);
            (0..values).for_each(|value| assert_eq!(reader.code(parameter), value, "of {values}"));
        }
    }

    #[test]
    fn the_length_of_a_code_is_as_foretold() {
        for (value, parameter) in [(0, 0), (5, 1), (100, 3), (u64::MAX, 4), (15, 0), (16, 0)] {
            let mut writer = BitWriter::default();
            writer.rice(value, parameter);
            let bits = code_length(value, parameter);
            assert_eq!(writer.finish().len() as u64, bits.div_ceil(8), "{value} {parameter}");
        }
    }
}
