//! Places for TLS handshakes. One client address takes at most half of them, so that others find one.

use std::{net::IpAddr, sync::Arc};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) struct Handshakes {
    all: Arc<Semaphore>,
    half: usize,
    addresses: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

/// A place, which is given back when it is dropped.
pub(super) struct Place {
    _of_address: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Handshakes {
    pub(super) fn new(places: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(places)), half: (places / 2).max(1), addresses: Mutex::default() }
    }

    /// Waits for a place; `None` never comes, since places are not closed.
    pub(super) async fn place(&self, address: IpAddr) -> Option<Place> {
        let own = {
            let mut addresses = self.addresses.lock();
            // Those that nothing waits for or holds.
            if addresses.len() > self.half {
                addresses.retain(|_, places| Arc::strong_count(places) > 1);
            }
            Arc::clone(addresses.entry(address).or_insert_with(|| Arc::new(Semaphore::new(self.half))))
        };
        // First the own half: what waits for it stands in nobody's way.
        let of_address = own.acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Place { _of_address: of_address, _of_all: of_all })
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn one_address_takes_half_of_the_places_and_no_more() {
        let handshakes = Handshakes::new(4);
        let [busy, other]: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let place = |address| handshakes.place(address).now_or_never().flatten();
        let mut taken: Vec<_> = (0..2).map(|_| place(busy).unwrap()).collect();
        assert!(place(busy).is_none());
        let others: Vec<_> = (0..2).map(|_| place(other).unwrap()).collect();
        taken.pop();
        assert!(place(busy).is_some());
        drop((taken, others));
        for last in 3..100 {
            place([10, 0, 0, last].into()).unwrap();
        }
        assert!(handshakes.addresses.lock().len() <= 4, "addresses that are gone are forgotten");
    }
}
