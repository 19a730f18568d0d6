use super::{super::super::ffi::ListedGroup, *};

#[test]
fn no_topic_is_a_fresh_cluster_only_where_all_brokers_list_no_group() {
    let group = |number: usize| ListedGroup { id: format!("g{number}"), state: "Stable".to_owned() };
    let judge = |groups, errors: &[RDKafkaErrorCode]| {
        judge(&ListedGroups { groups: (0..groups).map(group).collect(), errors: errors.to_vec() })
    };
    assert_eq!(judge(0, &[]), Found::Fresh);
    assert_eq!(judge(0, &[RDKafkaErrorCode::UnsupportedFeature]), Found::Fresh, "an old broker lacks the request");
    for error in [RDKafkaErrorCode::BrokerTransportFailure, RDKafkaErrorCode::CoordinatorLoadInProgress] {
        assert_eq!(judge(0, &[error]), Found::Nothing, "{error:?}");
        assert_eq!(judge(2, &[error]), Found::Groups, "{error:?}");
    }
    let refused = RDKafkaErrorCode::ClusterAuthorizationFailed;
    assert_eq!(judge(0, &[RDKafkaErrorCode::OperationTimedOut, refused]), Found::Refused(refused));
}
