use super::*;

#[test]
fn another_cluster_id_stops_all_clients_permanently() {
    let stop = CancellationToken::new();
    let identity = Identity::new(stop.clone());
    assert!(identity.matches_first(None), "no metadata yet");
    for _ in 0..2 {
        assert!(identity.matches_first(Some("a".to_owned())));
    }
    assert!(identity.matches_first(None), "a broker that reports no cluster id");
    assert_eq!((identity.change(), stop.is_cancelled()), (None, false));
    assert!(!identity.matches_first(Some("b".to_owned())));
    assert!(!identity.matches_first(Some("a".to_owned())), "the change is permanent");
    assert_eq!((identity.change(), stop.is_cancelled()), (Some(("a", "b")), true));
}
