use super::*;
use crate::model::Name;

fn send(requests: &LatestRequests) -> Result<oneshot::Receiver<Reached>, SourceError> {
    requests.send((0, Revision(9)), &Scope::All)
}

#[test]
fn a_request_beyond_the_capacity_is_refused_immediately() {
    let requests = LatestRequests::default();
    assert!(matches!(send(&requests), Err(SourceError::Unreachable { .. })), "no thread takes requests yet");
    let inbox = requests.open();
    let mut waiting: Vec<_> = (0..CAPACITY).map(|_| send(&requests).unwrap()).collect();
    assert!(waiting.iter_mut().all(|receiver| receiver.try_recv().is_err()), "requests up to the capacity wait");
    assert!(matches!(send(&requests), Err(SourceError::Busy { .. })));
    // Taking one request makes room for another.
    drop(inbox.requests.recv().unwrap());
    let mut next = send(&requests).unwrap();
    assert!(next.try_recv().is_err() && inbox.requests.try_recv().is_ok());
}

#[test]
fn a_reader_waits_for_later_responses_about_all_its_keys() {
    let mut waiters = Waiters::default();
    let keys: Vec<Name> = vec!["a".into(), "b".into()];
    let add = |waiters: &mut Waiters<Name>, count: usize| {
        let (reply, receiver) = oneshot::channel();
        waiters.add(keys[..count].iter().cloned().collect(), 5, reply, Revision(1));
        receiver
    };
    assert_eq!(add(&mut waiters, 0).try_recv().unwrap(), Ok(Revision(1)));
    let (mut both, mut one) = (add(&mut waiters, 2), add(&mut waiters, 1));
    waiters.resolve(4, &keys, &Ok(Revision(2)));
    assert!(
        both.try_recv().is_err() && one.try_recv().is_err(),
        "a request sent before the reader came does not count"
    );
    waiters.resolve(5, &keys[..1], &Ok(Revision(3)));
    assert!(both.try_recv().is_err());
    assert_eq!(one.try_recv().unwrap(), Ok(Revision(3)));
    waiters.resolve(6, &keys[1..], &Ok(Revision(4)));
    assert_eq!(both.try_recv().unwrap(), Ok(Revision(4)));

    let mut failed = add(&mut waiters, 2);
    let error = Err(SourceError::Unreachable { reason: "no".to_owned() });
    waiters.resolve(7, &["c".into()], &error);
    assert!(failed.try_recv().is_err(), "the request was about another key");
    waiters.resolve(8, &keys[..1], &error);
    assert_eq!(failed.try_recv().unwrap(), error);
    drop(add(&mut waiters, 2));
    waiters.remove_closed();
    assert!(waiters.is_empty());
}
