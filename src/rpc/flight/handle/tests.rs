use std::sync::Arc;

use arrow::array::{Int32Array, StringViewArray};

use super::*;

#[tokio::test]
async fn a_handle_carries_its_statement_and_parameters() {
    let number: ArrayRef = Arc::new(Int32Array::from(vec![7]));
    let text: ArrayRef = Arc::new(StringViewArray::from(vec!["x"]));
    let row = RecordBatch::try_from_iter([("a", number), ("b", text)]).unwrap();
    let handle = Handle::new("SELECT $1, $2".to_owned()).bound(Some(&row)).unwrap();
    let statement = Handle::read(&handle.bytes()).unwrap().statement(None).await.unwrap();
    let values = [ScalarValue::Int32(Some(7)), ScalarValue::Utf8(Some("x".to_owned()))];
    assert_eq!((&*statement.sql, &statement.parameters[..]), ("SELECT $1, $2", &values[..]));
    let again = handle.bound(None).unwrap().statement(None).await.unwrap();
    assert!(again.parameters.is_empty());
}

#[test]
fn a_damaged_or_forged_handle_is_rejected() {
    let number: ArrayRef = Arc::new(Int32Array::from(vec![7]));
    let row = RecordBatch::try_from_iter([("a", number)]).unwrap();
    let bytes = Handle::new("SELECT $1".to_owned()).bound(Some(&row)).unwrap().bytes();
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = bytes.to_vec();
            damaged[at] = value;
            if damaged != bytes {
                assert!(Handle::read(&damaged).is_err(), "byte {at}, {value}");
            }
        }
    }
    assert!(Handle::read(b"").is_err() && Handle::read(b"SELECT 1").is_err());
}

#[test]
fn parameters_have_a_limit() {
    let text: ArrayRef = Arc::new(StringViewArray::from(vec!["x".repeat(300 << 10)]));
    let row = RecordBatch::try_from_iter([("a", text)]).unwrap();
    let bound = Handle::new("SELECT $1".to_owned()).bound(Some(&row));
    assert!(matches!(bound, Err(Error::Exhausted(_))));
}
