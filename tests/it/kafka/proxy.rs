//! A network between offsetd and a broker that a test can break: connections stop, are closed, or lead to another
//! broker.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::broker::free_port;

/// Forwards connections from its own port to a target that can be changed. It ends with the test.
pub(crate) struct Proxy {
    port: u16,
    network: Arc<Network>,
}

#[derive(Default)]
struct Network {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    target: Option<SocketAddr>,
    is_still: bool,
    is_closed: bool,
    connections: Vec<TcpStream>,
}

impl Proxy {
    /// Creates a proxy that drops connections until [`Proxy::set_target`] is called.
    pub(crate) fn new() -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let network = Arc::<Network>::default();
        let accepting = Arc::clone(&network);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if !accepting.connect(client) {
                    return;
                }
            }
        });
        Self { port, network }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sets the target `host:port` of new connections; open connections keep theirs.
    pub(crate) fn set_target(&self, address: &str) {
        self.network.state.lock().unwrap().target = Some(address.parse().unwrap());
    }

    /// Stops all traffic: connections are accepted and stay open, but no byte is forwarded until [`Proxy::resume`].
    pub(crate) fn pause(&self) {
        self.network.state.lock().unwrap().is_still = true;
    }

    pub(crate) fn resume(&self) {
        self.network.state.lock().unwrap().is_still = false;
        self.network.changed.notify_all();
    }

    /// Closes all open connections.
    pub(crate) fn cut(&self) {
        for connection in self.network.state.lock().unwrap().connections.drain(..) {
            // Fails if the other side has already closed it.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.network.state.lock().unwrap().is_closed = true;
        self.resume();
        self.cut();
        // Wakes the accepting thread.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Network {
    /// Connects a client to the target; returns whether the proxy is still open.
    fn connect(self: &Arc<Self>, client: TcpStream) -> bool {
        let mut state = self.state.lock().unwrap();
        if state.is_closed {
            return false;
        }
        // If the broker is down, the client's connection is dropped here.
        let broker = state.target.map(|address| TcpStream::connect_timeout(&address, Duration::from_secs(1)));
        if let Some(Ok(broker)) = broker {
            for (from, to) in [(&client, &broker), (&broker, &client)] {
                let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                let network = Arc::clone(self);
                thread::spawn(move || network.forward(from, to));
            }
            state.connections.extend([client, broker]);
        }
        true
    }

    fn forward(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let state = self.state.lock().unwrap();
            drop(self.changed.wait_while(state, |state| state.is_still).unwrap());
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        // Fails if the other side has already closed it.
        let _ = to.shutdown(Shutdown::Both);
    }
}
