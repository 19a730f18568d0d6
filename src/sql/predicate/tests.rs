use super::*;

#[test]
fn prefixes_that_no_name_has_together_leave_none() {
    let mut names = NameSet::default();
    names.restrict_prefix("ab");
    names.restrict_prefix("a");
    assert!(names.includes("abc") && !names.includes("ac"));
    names.restrict_prefix("b");
    assert!(!names.includes("abc") && !names.includes("b"));
}

#[test]
fn conditions_on_the_time_leave_a_range() {
    let condition =
        |left, operator, right| -> Arc<dyn PhysicalExpr> { Arc::new(BinaryExpr::new(left, operator, right)) };
    let column = || -> Arc<dyn PhysicalExpr> { Arc::new(Column::new(SAMPLED_AT, 0)) };
    let at = |millis: i64| -> Arc<dyn PhysicalExpr> {
        Arc::new(Literal::new(ScalarValue::TimestampNanosecond(Some(millis * 1_000_000), None)))
    };
    let both =
        condition(condition(column(), Operator::Gt, at(5)), Operator::And, condition(at(9), Operator::GtEq, column()));
    let range = |condition| ScanPredicate::new(&[condition], BTreeSet::new()).times();
    assert_eq!(range(both), 5..=9);
    assert_eq!(range(condition(column(), Operator::Eq, at(7))), 7..=7);
    assert_eq!(range(condition(column(), Operator::NotEq, at(7))), Millis::MIN..=Millis::MAX);
}
