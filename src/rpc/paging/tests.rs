use super::*;

#[test]
fn a_token_belongs_to_its_request() {
    let request = GetConsumerRequest { search: "a".into(), ..Default::default() };
    let token = Tokens::new(&request).write("next");
    assert_eq!(Tokens::new(&request).read::<String>(&token).unwrap().as_deref(), Some("next"));
    let other = GetConsumerRequest { search: "b".into(), ..Default::default() };
    assert!(Tokens::new(&other).read::<String>(&token).is_err());
    assert!(Tokens::new(&request).read::<String>("garbage").is_err());
    assert_eq!(Tokens::new(&request).read::<String>("").unwrap(), None);
}

#[test]
fn page_sizes_are_bounded() {
    assert_eq!((size(0).unwrap(), size(7).unwrap(), size(1_000_000).unwrap()), (1000, 7, 10_000));
    assert!(size(-1).is_err());
}

#[test]
fn an_order_is_retained_for_a_minute() {
    let (orders, clock) = (ListingOrders::default(), Clock::manual(0));
    let id = orders.retain(
        &clock,
        Arc::new(RankedGroups { keys: vec![("c".into(), "g".into(), "kafka".into())], ..RankedGroups::default() }),
    );
    clock.advance(59_000);
    assert_eq!(orders.find(&clock, id).unwrap().keys.len(), 1);
    clock.advance(2_000);
    assert!(orders.find(&clock, id).is_err());
}

#[test]
fn computing_a_ranking_does_not_block_others() {
    let (rankings, clock) = (Rankings::default(), Clock::manual(0));
    let store = crate::store::Store::new(vec![], clock.clone(), *crate::history::tests::lab(1).store.settings());
    let cut = Cut::empty(&store);
    let get = |search: &str, make: &dyn Fn() -> Result<RankedGroups, ()>| {
        let request = GetConsumerRequest { search: search.into(), ..Default::default() };
        rankings.get(&clock, &cut, (request, None), make).map(|ranked| ranked.keys.len())
    };
    let none = || Ok(RankedGroups::default());
    let made = get("slow", &|| {
        assert_eq!(get("quick", &none), Ok(0), "a slow ranking does not block others");
        Err(())
    });
    assert_eq!(made, Err(()));
    // A failed ranking is computed again.
    assert_eq!(get("slow", &none), Ok(0));
    assert_eq!(get("slow", &|| panic!("the ranking is reused")), Ok(0));
}
