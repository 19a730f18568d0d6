use super::*;
use crate::model::Name;

fn wanted(requests: &Requests) -> Result<oneshot::Receiver<Reached>, SourceError> {
    requests.send((0, Revision(9)), &Scope::All)
}

#[test]
fn a_request_beyond_the_room_is_refused_at_once() {
    let requests = Requests::default();
    assert!(matches!(wanted(&requests), Err(SourceError::Unreachable { .. })), "no thread takes requests yet");
    let inbox = requests.open();
    let mut waiting: Vec<_> = (0..ROOM).map(|_| wanted(&requests).unwrap()).collect();
    assert!(waiting.iter_mut().all(|told| told.try_recv().is_err()), "requests up to the capacity wait");
    assert!(matches!(wanted(&requests), Err(SourceError::Busy { .. })));
    // Taking one request makes room for another.
    drop(inbox.requests.recv().unwrap());
    let mut next = wanted(&requests).unwrap();
    assert!(next.try_recv().is_err() && inbox.requests.try_recv().is_ok());
}

#[test]
fn a_reader_is_told_once_all_its_keys_were_answered_after_it_asked() {
    let mut waiters = Waiters::default();
    let keys: Vec<Name> = vec!["a".into(), "b".into()];
    let add = |waiters: &mut Waiters<Name>, count: usize| {
        let (done, told) = oneshot::channel();
        waiters.add(keys[..count].iter().cloned().collect(), 5, done, Revision(1));
        told
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
    waiters.forget_gone();
    assert!(waiters.is_empty());
}
