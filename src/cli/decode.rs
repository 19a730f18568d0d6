//! `offsetd decode`: records of `__consumer_offsets` as JSON, one a line.

use std::io::{BufRead, Write};

use serde_json::json;

use super::Failure;
use crate::decode::{decode, kind};

pub(super) const EXAMPLES: &str = "\
Each line is HEXKEY<TAB>HEXVALUE; an empty value or '-' is a tombstone. A bad record becomes an object with `error`; \
a line that is not hex TAB hex ends the command with status 2.

Examples:
  printf '00010002673100017400000003\\t-\\n' | offsetd decode";

/// Decodes every line.
///
/// # Errors
/// [`Failure::Input`] with the number of the first line that is not hex TAB hex; those before it are answered.
pub(super) fn run(mut lines: impl BufRead, out: &mut impl Write, flush_lines: bool) -> Result<(), Failure> {
    let (mut line, mut number) = (Vec::new(), 0_u64);
    loop {
        line.clear();
        number += 1;
        let read = lines.read_until(b'\n', &mut line);
        if read.map_err(|error| Failure::Command(format!("cannot read line {number}: {error}")))? == 0 {
            break;
        }
        let Some((key, value)) = parse(&line) else {
            out.flush()?;
            return Err(Failure::Input(format!("line {number} is not HEXKEY<TAB>HEXVALUE")));
        };
        answer(out, key.as_deref(), value.as_deref())?;
        if flush_lines {
            out.flush()?;
        }
    }
    out.flush()?;
    Ok(())
}

fn answer(out: &mut impl Write, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), Failure> {
    let written = match decode(key, value) {
        Ok(record) => serde_json::to_writer(&mut *out, &record),
        Err(error) => serde_json::to_writer(
            &mut *out,
            &json!({
                "type": kind(key).ok(),
                "error": error.fault().to_string(),
                "field": error.field(),
                "at": error.at(),
            }),
        ),
    };
    written.map_err(std::io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(())
}

type Bytes = Option<Vec<u8>>;

/// Key and value; `None` for either when it is empty or `-`.
fn parse(line: &[u8]) -> Option<(Bytes, Bytes)> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    let (key, value) = line.split_at_checked(tab)?;
    Some((hex(key)?, hex(value.get(1..)?)?))
}

fn hex(text: &[u8]) -> Option<Bytes> {
    if text.is_empty() || text == b"-" {
        return Some(None);
    }
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect::<Option<Vec<u8>>>().map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const KEY: &str = "00010002673100017400000003";
    const VALUE: &str = "0004000000000000002a00000007036d640000018bcfe5680000";

    fn lines(input: &str) -> (Vec<Value>, Result<(), Failure>) {
        let mut out = Vec::new();
        let result = run(input.as_bytes(), &mut out, false);
        let text = String::from_utf8(out).unwrap();
        (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), result)
    }

    #[test]
    fn records_tombstones_and_unknown_types_decode_in_order() {
        let upper = KEY.to_uppercase();
        let (answers, result) = lines(&format!("{KEY}\t{VALUE}\r\n{upper}\t-\n{KEY}\t\n7fff\t00\n{KEY}\t{VALUE}"));
        result.unwrap();
        assert_eq!(answers.len(), 5);
        assert_eq!(answers[0]["key"], json!({"group": "g1", "topic": "t", "partition": 3}));
        assert_eq!((&answers[0]["version"], &answers[0]["value"]["offset"]), (&json!(4), &json!(42)));
        assert_eq!(answers[1]["value"], Value::Null);
        assert_eq!(answers[1], answers[2]);
        assert_eq!(answers[3], json!({"type": 32767, "unknown": true}));
        assert_eq!(answers[0], answers[4]);
    }

    #[test]
    fn bad_records_are_answers_and_not_failures() {
        let (answers, result) = lines(&format!("{KEY}\t0009\n{KEY}\t0004\n00\t-\n\t{VALUE}\n-\t-\n"));
        result.unwrap();
        assert_eq!(answers[0]["type"], 1);
        assert_eq!(answers[0]["error"], "unknown version 9");
        assert_eq!((&answers[0]["field"], &answers[0]["at"]), (&json!("value.version"), &json!(0)));
        assert_eq!((&answers[1]["field"], &answers[1]["at"]), (&json!("value.offset"), &json!(2)));
        assert_eq!(answers[2]["type"], Value::Null);
        assert_eq!(answers[3]["error"], "the key is missing");
        assert_eq!(answers[4]["type"], Value::Null);
    }

    #[test]
    fn a_line_that_is_no_hex_is_named_after_those_before_it_were_answered() {
        for bad in ["xyz\t00", "000\t00", "0000", "", "00 00\t00", "0000\t0g", "00\t00\t00"] {
            let (answers, result) = lines(&format!("{KEY}\t{VALUE}\n{bad}\n{KEY}\t-\n"));
            let failure = result.unwrap_err();
            assert_eq!((answers.len(), failure.code()), (1, 2), "{bad}");
            assert!(failure.to_string().contains("line 2 "), "{failure}");
        }
    }

    #[test]
    fn a_closed_pipe_ends_quietly() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let failure = run(format!("{KEY}\t{VALUE}\n").as_bytes(), &mut Closed, false).unwrap_err();
        assert_eq!(failure.code(), 0);
    }
}
