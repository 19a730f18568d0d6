use std::{collections::BTreeMap, sync::mpsc};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::{Config, Flags, Layers};

#[test]
fn a_request_that_exceeds_the_overlay_queue_is_rejected_at_once() {
    let flags = Flags { bootstrap_servers: Some("127.0.0.1:1".to_owned()), ..Flags::default() };
    let layers = Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
    let config = Config::load(layers).unwrap().config.clusters.remove(0);
    let connector = Connector::new(&config, CancellationToken::new());
    let (sender, requests) = mpsc::sync_channel(1);
    let live = LiveClient::new(connector.connect().unwrap(), connector, Some((sender, 1)));
    let settle = || {
        let (done, reply) = oneshot::channel();
        live.settle(Settle { log_partition: 0, target: 9, key: None, done });
        reply
    };
    let (mut first, mut second) = (settle(), settle());
    assert!(first.try_recv().is_err(), "it waits in the queue");
    assert_eq!(second.try_recv().unwrap(), Err(AskError::Busy { waiting: 1 }));
    // After one request was taken out, the queue has room again.
    drop(requests.recv().unwrap());
    let mut third = settle();
    assert!(third.try_recv().is_err() && requests.try_recv().is_ok());
}
