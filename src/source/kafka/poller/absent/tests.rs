use super::{super::super::ffi::ListedGroup, *};

#[test]
fn a_missing_topic_means_a_fresh_cluster_only_if_no_broker_lists_groups() {
    let group = |number: usize| ListedGroup { id: format!("g{number}"), state: "Stable".to_owned() };
    let conclude = |groups, errors: &[RDKafkaErrorCode]| {
        conclude(&ListedGroups { groups: (0..groups).map(group).collect(), errors: errors.to_vec() })
    };
    assert_eq!(conclude(0, &[]), Conclusion::NoGroups);
    assert_eq!(
        conclude(0, &[RDKafkaErrorCode::UnsupportedFeature]),
        Conclusion::NoGroups,
        "an old broker lacks the request"
    );
    for error in [RDKafkaErrorCode::BrokerTransportFailure, RDKafkaErrorCode::CoordinatorLoadInProgress] {
        assert_eq!(conclude(0, &[error]), Conclusion::Unknown, "{error:?}");
        assert_eq!(conclude(2, &[error]), Conclusion::Groups, "{error:?}");
    }
    let refused = RDKafkaErrorCode::ClusterAuthorizationFailed;
    assert_eq!(conclude(0, &[RDKafkaErrorCode::OperationTimedOut, refused]), Conclusion::Denied(refused));
}
