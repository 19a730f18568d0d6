use super::*;

#[test]
fn an_order_names_a_column_and_a_direction() {
    assert!(Order::new("").unwrap().is_default());
    assert!(Order::new("lag desc").unwrap().descending);
    assert!(!Order::new("lag ASC").unwrap().descending);
    assert!(Order::new("lag; drop").is_err());
    assert!(Order::new("lag desc desc").is_err());
    assert!(Order::new("nonsense").is_err());
}

#[test]
fn unknown_comes_last_in_both_directions() {
    for descending in [false, true] {
        let order = Order { descending, ..Order::new("lag").unwrap() };
        assert_eq!(order.compare(None, Some(&Value::Number(0))), Ordering::Greater);
        assert_eq!(order.compare(Some(&Value::Number(0)), None), Ordering::Less);
    }
}
