use super::*;

const ID: &str = "billing-eu_app-1.example-1700000000000-0a1b2c3d";

fn intern(name: &str) -> Name {
    name.into()
}

fn members(registrations: Registrations) -> Vec<(String, String, String, Vec<String>, usize)> {
    let membership = registrations.membership("billing-eu", Revision(0), intern);
    let members = membership.iter().flat_map(|membership| membership.members.iter());
    let describe = |member: &crate::store::membership::Member| {
        let topics = member.subscribed_topics.iter().flatten().map(ToString::to_string).collect();
        let owned = member.assigned.iter().flatten().map(|assigned| assigned.partitions.len()).sum();
        (member.member_id.to_string(), member.client_host.to_string(), member.client_id.to_string(), topics, owned)
    };
    members.map(describe).collect()
}

#[test]
fn host_and_thread_are_taken_from_the_id_of_a_thread() {
    let read = |thread: &'static str| host_and_thread("billing-eu", thread);
    assert_eq!(read("billing-eu_app-1.example-1700000000000-0a1b2c3d-3"), Some(("app-1.example", "3")));
    for other in [ID, "other_app-1-1700000000000-0a1b2c3d-3", "billing-eu_configured-3", "billing-eu_", ""] {
        assert_eq!(read(other), None, "{other}");
    }
}

#[test]
fn threads_without_partitions_are_members_too() {
    let mut group = Registrations::default();
    group.add_consumer(
        ID,
        br#"{"version":1,"subscription":{"orders":2,"clicks":1},"pattern":"static","timestamp":"17"}"#,
    );
    group.add_owner("/consumers/billing-eu/owners/orders/1", format!("{ID}-0").as_bytes());
    group.add_owner("/consumers/billing-eu/owners/clicks/0", format!("{ID}-0").as_bytes());
    let host = "app-1.example".to_owned();
    assert_eq!(
        members(group),
        [
            (format!("{ID}-0"), host.clone(), "0".to_owned(), vec!["clicks".to_owned(), "orders".to_owned()], 2),
            (format!("{ID}-1"), host, "1".to_owned(), vec!["orders".to_owned()], 0),
        ]
    );
}

#[test]
fn bad_registrations_lose_only_themselves() {
    let mut group = Registrations::default();
    group.add_consumer(ID, b"\xff");
    group.add_consumer("billing-eu_huge", br#"{"subscription":{"orders":18446744073709551615}}"#);
    group.add_owner("/consumers/billing-eu/owners/orders/x", b"t");
    group.add_owner("/consumers/billing-eu/owners/orders/-1", b"t");
    group.add_owner("/consumers/billing-eu/owners/orders/0", b"");
    group.add_fault(ReadFault::NoNode);
    assert!(group.fault.is_none());
    let members = members(group);
    assert_eq!(members.len(), 1 + usize::try_from(MAX_THREADS).unwrap());
    assert!(members.contains(&(ID.to_owned(), String::new(), String::new(), vec![], 0)));
    assert!(Registrations::default().membership("g", Revision(0), intern).is_none());
}
