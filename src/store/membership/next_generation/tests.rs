use super::*;
use crate::{
    decode::decode,
    store::membership::{classic, decoded, log::Members},
};

fn name(text: &str) -> Name {
    Name::from(text)
}

/// Applies a record, given as hexadecimal key and value.
fn apply(members: &mut Members, revision: i64, key: &str, value: Option<&str>) {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes = |hex: &str| -> Vec<u8> { hex.as_bytes().chunks(2).map(digits).collect() };
    let (key, value) = (bytes(key), value.map(bytes));
    let record = decode(Some(&key), value.as_deref()).unwrap();
    let (group, kind, content) = decoded::group_record(&record, &name).unwrap();
    assert_eq!(group, "g1");
    members.apply(kind, content, Revision(revision));
}

const UUID: Uuid = Uuid(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes());
const EPOCH_5: &str = "00000000000500";
const MEMBER: &str = "0000000372310263032f6802027401000493e008756e69666f726d00";
const TARGET_0_1: &str = "00000200112233445566778899aabbccddeeff0300000000000000010000";
const OWNS_0_REVOKES_1: &str = concat!(
    "00000000000500000004010200112233445566778899aabbccddeeff0200000000000200112233445566778899aabbccddeeff",
    "02000000010000"
);
const OWNS_0_1: &str =
    "00000000000500000004000200112233445566778899aabbccddeeff0300000000000000010100090300000004000000050100";

fn state(members: &Members) -> &'static str {
    members.current().unwrap().state.as_str()
}

fn topic(partitions: &[i32]) -> Vec<Assigned> {
    vec![Assigned { topic: TopicRef::Id(UUID), partitions: partitions.into() }]
}

#[test]
fn a_consumer_group_has_the_states_that_its_broker_derives() {
    let mut members = Members::default();
    apply(&mut members, 1, "000300026731", Some(EPOCH_5));
    assert_eq!(state(&members), "Empty");
    apply(&mut members, 2, "00050002673100026d31", Some(MEMBER));
    assert_eq!(state(&members), "Assigning");
    apply(&mut members, 3, "00070002673100026d31", Some(TARGET_0_1));
    apply(&mut members, 4, "000600026731", Some(EPOCH_5));
    // Without a record of its assignment, the member has just joined.
    assert_eq!((state(&members), members.current().unwrap().members[0].epoch), ("Reconciling", Some(0)));
    apply(&mut members, 5, "00080002673100026d31", Some(OWNS_0_REVOKES_1));
    assert_eq!(state(&members), "Reconciling");
    let membership = members.current().unwrap();
    let member = &membership.members[0];
    assert_eq!((member.epoch, member.extras().state), (Some(5), Some("UnrevokedPartitions")));
    assert_eq!(member.assigned.as_deref(), Some(&*topic(&[0])));
    assert_eq!(
        (&*member.extras().revoking, member.extras().target.as_deref()),
        (&*topic(&[1]), Some(&*topic(&[0, 1])))
    );
    let owner = |partition| membership.owner(&name("t"), Some(UUID), partition).map(|member| &*member.member_id);
    assert_eq!((owner(0), owner(1), owner(2)), (Some("m1"), Some("m1"), None), "owned until revoked");
    apply(&mut members, 6, "00080002673100026d31", Some(OWNS_0_1));
    assert_eq!(state(&members), "Stable");
    let membership = members.current().unwrap();
    assert_eq!((membership.kind, membership.epoch, membership.revision), (GroupKind::Consumer, Some(5), Revision(1)));
    assert_eq!(
        (membership.protocol_type.as_deref(), membership.protocol.as_deref()),
        (Some("consumer"), Some("uniform"))
    );
    let member = &membership.members[0];
    assert_eq!((&*member.client_id, &*member.client_host, member.extras().rack_id.as_deref()), ("c", "/h", Some("r1")));
    assert_eq!((member.rebalance_timeout_ms, member.session_timeout_ms), (Some(300_000), None));
    assert_eq!(member.subscribed_topics.as_deref(), Some(&[name("t")][..]));
    assert_eq!(member.extras().subscribed_topic_regex, None);
}

#[test]
fn a_tombstone_removes_its_record_and_that_of_the_group_removes_all() {
    let mut members = Members::default();
    for key in ["00080002673100026d31", "00070002673100026d31", "00050002673100026d31", "000600026731", "000300026731"]
    {
        apply(&mut members, 0, key, None);
        assert!(members.is_empty(), "a tombstone without an earlier record: {key}");
    }
    apply(&mut members, 1, "000300026731", Some(EPOCH_5));
    apply(&mut members, 2, "00050002673100026d31", Some(MEMBER));
    apply(&mut members, 3, "00080002673100026d31", Some(OWNS_0_1));
    apply(&mut members, 4, "00080002673100026d31", None);
    assert_eq!(members.current().unwrap().members[0].assigned.as_deref(), Some(&[][..]));
    apply(&mut members, 5, "00050002673100026d31", None);
    assert_eq!((state(&members), members.current().unwrap().members.len()), ("Empty", 0));
    apply(&mut members, 6, "000400026731", Some("00000200112233445566778899aabbccddeeff027400000002010000"));
    assert_eq!(members.current().unwrap().topic_name(UUID).map(|name| &**name), Some("t"));
    apply(&mut members, 7, "000400026731", None);
    assert_eq!(state(&members), "Empty", "a record about topics says nothing about a deletion");
    apply(&mut members, 8, "00050002673100026d31", Some(MEMBER));
    apply(&mut members, 9, "000300026731", None);
    assert!(members.is_empty());
}

#[test]
fn a_regular_expression_subscribes_to_the_topics_that_match() {
    let mut members = Members::default();
    // The member subscribes to no topics by name, and to the regular expression "t.*".
    apply(&mut members, 1, "00050002673100026d31", Some("0000000372310263032f680104742e2a000493e008756e69666f726d00"));
    assert_eq!(members.current().unwrap().members[0].subscribed_topics.as_deref(), Some(&[][..]));
    apply(&mut members, 2, "0010000267310003742e2a", Some("000002027400000000000000090000018bcfe5680000"));
    let member = &members.current().unwrap().members[0];
    assert_eq!(member.subscribed_topics.as_deref(), Some(&[name("t")][..]));
    assert_eq!(member.extras().subscribed_topic_regex.as_deref(), Some("t.*"));
}

#[test]
fn the_newest_group_record_determines_the_protocol() {
    let classic = |revision| {
        let value = crate::decode::schema::GroupMetadataValue { protocol_type: "consumer", ..Default::default() };
        Some(Arc::new(classic::membership(&value, Revision(revision), &name)))
    };
    let kind = |members: &Members| members.current().map(|current| current.kind);
    let mut members = Members::default();
    members.set_classic(classic(1));
    assert_eq!(kind(&members), Some(GroupKind::Classic));
    apply(&mut members, 3, "000300026731", Some(EPOCH_5));
    assert_eq!(kind(&members), Some(GroupKind::Consumer));
    // The tombstone of the old protocol does not affect the new one.
    members.set_classic(None);
    assert_eq!(kind(&members), Some(GroupKind::Consumer));
    // The group returns to the classic protocol, with records out of order as in a damaged log.
    members.set_classic(classic(5));
    assert_eq!(kind(&members), Some(GroupKind::Classic));
    apply(&mut members, 4, "000300026731", None);
    assert_eq!(kind(&members), Some(GroupKind::Classic));
}

#[test]
fn a_share_group_with_members_is_stable_and_has_topic_names() {
    let mut members = Members::default();
    // Kafka 4.0 wrote no hash.
    apply(&mut members, 1, "000b00026731", Some(EPOCH_5));
    assert_eq!((state(&members), members.current().unwrap().kind), ("Empty", GroupKind::Share));
    apply(&mut members, 2, "000b00026731", Some("000000000005000000000000000100"));
    apply(&mut members, 3, "000a0002673100026d31", Some("0000000263032f6802027400"));
    apply(
        &mut members,
        4,
        "000e0002673100026d31",
        Some("00000000000500000004000200112233445566778899aabbccddeeff02000000000000"),
    );
    apply(&mut members, 5, "000f00026731", Some("0000010200112233445566778899aabbccddeeff02740200000000000100"));
    let membership = members.current().unwrap();
    assert_eq!((membership.state, membership.members[0].extras().state), (GroupState::Stable, Some("Stable")));
    assert_eq!(membership.members[0].assigned.as_deref(), Some(&*topic(&[0])));
    // Metadata may not contain the id.
    assert_eq!(membership.owner(&name("t"), None, 0).map(|member| &*member.member_id), Some("m1"));
    apply(&mut members, 6, "000b00026731", None);
    assert!(members.is_empty());
}

#[test]
fn tasks_of_a_streams_group_are_partitions_of_its_source_topics() {
    let mut members = Members::default();
    // The topology may come first, and its tombstone may come after that of the group.
    let topology = "000000000002020230020274010203636c00000000ffff02026b027600000101020200000101000000";
    apply(&mut members, 1, "001700026731", Some(topology));
    assert!(members.current().is_none() && !members.is_empty());
    apply(&mut members, 2, "001100026731", Some("000000000005000000000000000100"));
    apply(&mut members, 3, "00130002673100026d31", Some("000000000263032f68000493e0000000020270ff0100"));
    apply(&mut members, 4, "00150002673100026d31", Some("0000020230020000000000010100"));
    assert_eq!(state(&members), "Assigning");
    apply(&mut members, 5, "001400026731", Some(EPOCH_5));
    assert_eq!(state(&members), "Reconciling");
    let owns = "0000000000050000000401020230030000000000000001010009030000000500000005010101010100";
    apply(&mut members, 6, "00160002673100026d31", Some(owns));
    let membership = members.current().unwrap();
    assert_eq!((membership.state, membership.members[0].extras().state), (GroupState::Stable, Some("Stable")));
    let of_t = |partitions: &[i32]| Assigned { topic: TopicRef::Name(name("t")), partitions: partitions.into() };
    assert_eq!(membership.members[0].assigned.as_deref().map(|all| &all[0]), Some(&of_t(&[0, 1])));
    assert_eq!(membership.members[0].extras().target.as_deref().map(|all| &all[0]), Some(&of_t(&[0])));
    assert_eq!(membership.owner(&name("t"), Some(UUID), 1).map(|member| &*member.member_id), Some("m1"));
    // Since Kafka 4.2, the record contains the epoch of the validated topology.
    apply(&mut members, 7, "001100026731", Some("000000000005000000000000000102000400000002010602026b027600"));
    assert_eq!(state(&members), "Stable");
    apply(&mut members, 8, "001100026731", Some("000000000005000000000000000101000400000003"));
    assert_eq!(state(&members), "NotReady");
}
