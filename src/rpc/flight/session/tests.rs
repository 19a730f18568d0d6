use super::*;

#[test]
fn only_current_values_can_be_set() {
    let value = |text: &str| OptionValue { string_value: Some(text.to_owned()) };
    let session_options = [("catalog", "offsetd"), ("schema", "other"), ("nothing", "x")];
    let session_options = session_options.map(|(name, text)| (name.to_owned(), value(text))).into();
    let body = SetSessionOptionsRequest { session_options }.encode_to_vec();
    let answer = run_action(&Action::new("SetSessionOptions", body)).unwrap().unwrap();
    let errors = SetSessionOptionsResult::decode(&*answer).unwrap().errors;
    assert_eq!((errors.len(), errors["schema"].value, errors["nothing"].value), (2, INVALID_VALUE, INVALID_NAME));
    assert!(run_action(&Action::new("SetSessionOptions", &b"\xff"[..])).unwrap().is_err());
    assert!(run_action(&Action::new("Other", vec![])).is_none());
}
