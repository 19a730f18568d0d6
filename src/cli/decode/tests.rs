use serde_json::{Value, json};

use super::*;

const KEY: &str = "00010002673100017400000003";
const VALUE: &str = "0004000000000000002a00000007036d640000018bcfe5680000";

fn decoded(input: &str) -> (Vec<Value>, Result<(), Failure>) {
    let mut out = Vec::new();
    let result = decode_lines(input.as_bytes(), &mut out, false);
    let text = String::from_utf8(out).unwrap();
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), result)
}

#[test]
fn records_tombstones_and_unknown_types_decode_in_order() {
    let upper = KEY.to_uppercase();
    let (answers, result) = decoded(&format!("{KEY}\t{VALUE}\r\n{upper}\t-\n{KEY}\t\n7fff\t00\n{KEY}\t{VALUE}"));
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
fn bad_records_are_reported_as_objects() {
    let (answers, result) = decoded(&format!("{KEY}\t0009\n{KEY}\t0004\n00\t-\n\t{VALUE}\n-\t-\n"));
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
fn a_malformed_line_ends_the_command_after_the_lines_before_it() {
    for bad in ["xyz\t00", "000\t00", "0000", "", "00 00\t00", "0000\t0g", "00\t00\t00"] {
        let (answers, result) = decoded(&format!("{KEY}\t{VALUE}\n{bad}\n{KEY}\t-\n"));
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
    let failure = decode_lines(format!("{KEY}\t{VALUE}\n").as_bytes(), &mut Closed, false).unwrap_err();
    assert_eq!(failure.code(), 0);
}
