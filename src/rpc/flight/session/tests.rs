use super::*;

#[test]
fn only_what_is_so_already_can_be_set() {
    let value = |text: &str| OptionValue { string_value: Some(text.to_owned()) };
    let session_options = [("catalog", "offsetd"), ("schema", "other"), ("nothing", "x")];
    let session_options = session_options.map(|(name, text)| (name.to_owned(), value(text))).into();
    let body = SetSessionOptionsRequest { session_options }.encode_to_vec();
    let answer = act(&Action::new("SetSessionOptions", body)).unwrap().unwrap();
    let errors = SetSessionOptionsResult::decode(&*answer).unwrap().errors;
    assert_eq!((errors.len(), errors["schema"].value, errors["nothing"].value), (2, INVALID_VALUE, INVALID_NAME));
    assert!(act(&Action::new("SetSessionOptions", &b"\xff"[..])).unwrap().is_err());
    assert!(act(&Action::new("Other", vec![])).is_none());
}
