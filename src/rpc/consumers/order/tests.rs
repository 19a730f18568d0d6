use super::*;

#[test]
fn an_order_names_a_column_and_a_direction() {
    assert!(GroupOrder::new("").unwrap().is_default());
    assert!(GroupOrder::new("lag desc").unwrap().descending);
    assert!(!GroupOrder::new("lag ASC").unwrap().descending);
    assert!(GroupOrder::new("lag; drop").is_err());
    assert!(GroupOrder::new("lag desc desc").is_err());
    assert!(GroupOrder::new("nonsense").is_err());
}

#[test]
fn unknown_comes_last_in_both_directions() {
    for descending in [false, true] {
        let order = GroupOrder { descending, ..GroupOrder::new("lag").unwrap() };
        assert_eq!(order.compare(None, Some(&OrderValue::Number(0))), Ordering::Greater);
        assert_eq!(order.compare(Some(&OrderValue::Number(0)), None), Ordering::Less);
    }
}
