//! Tokens of SASL/OAUTHBEARER: obtained once for each cluster, and given to all of its clients.
//!
//! A thread obtains a token when the first client is made, and a new one ahead of its expiry, and gives each to every client
//! of the cluster. librdkafka's own request for a token is not used: it comes with the events of a client, and many clients
//! are polled only when there is something to ask; the thread that polls would wait for the token endpoint, too.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use rdkafka::consumer::Consumer as _;
use tokio_util::sync::CancellationToken;

mod error;
mod token;
mod http;
mod assertion;
mod endpoint;
mod file;
mod sigv4;
mod profile;
mod credentials;
mod msk;
mod method;

use super::{
    client::{Client, Connector, Login, WeakClient},
    ffi::{Bearer, set_token, set_token_failure},
};
use crate::{clock::Clock, config, source::kafka::AskError};
use error::TokenError;
use method::Method;
use token::Token;

/// Makes clients of a cluster, which log in as its configuration says. Once `ending` is cancelled, the process ends.
pub(super) fn connector(config: &config::Cluster, ending: CancellationToken) -> Connector {
    let connector = Connector::new(config, ending.clone());
    if config.oauth.is_used() {
        connector.with_login(Arc::new(Tokens::new(config.clone(), &ending)))
    } else {
        connector
    }
}

/// The tokens of one cluster. Dropped, no more are obtained.
struct Tokens {
    config: config::Cluster,
    shared: Arc<Shared>,
    stop: CancellationToken,
    /// Whether the thread runs.
    started: OnceLock<()>,
}

/// What the thread has obtained, and for whom.
#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// Why there is no newer token.
    failure: Option<String>,
    clients: Vec<WeakClient>,
}

impl Tokens {
    fn new(config: config::Cluster, ending: &CancellationToken) -> Self {
        Self { config, shared: Arc::default(), stop: ending.child_token(), started: OnceLock::new() }
    }

    fn start(&self) -> Result<(), AskError> {
        if self.started.set(()).is_err() {
            return Ok(());
        }
        let (config, shared, stop) = (self.config.clone(), Arc::clone(&self.shared), self.stop.clone());
        let failed = |error: std::io::Error| AskError::Client { reason: format!("cannot start a thread: {error}") };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let run = move || {
            let _end = End { cluster: &config.name, shared: &shared, stop: &stop };
            runtime.block_on(stop.run_until_cancelled(renew(&config, &shared, &Clock::system())));
        };
        thread::Builder::new().name(format!("{}/tokens", self.config.name)).spawn(run).map_err(failed)?;
        Ok(())
    }
}

/// Reports the end of the thread that nothing told it to, which is a panic.
struct End<'a> {
    cluster: &'a str,
    shared: &'a Shared,
    stop: &'a CancellationToken,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        if !self.stop.is_cancelled() {
            self.shared.publish(Err(TokenError::Exited), self.cluster);
        }
    }
}

impl Login for Tokens {
    fn attach(&self, client: &Client) -> Result<(), AskError> {
        self.start()?;
        let mut state = self.shared.0.lock();
        state.clients.retain(WeakClient::is_alive);
        state.clients.push(client.downgrade());
        state.give(client);
        Ok(())
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("cluster", &self.config.name).finish_non_exhaustive()
    }
}

impl State {
    /// Gives a client what is known.
    fn give(&self, client: &Client) {
        client.context().set_login_failure(self.failure.clone());
        if let Some(token) = &self.token {
            let bearer = Bearer {
                token: &token.value,
                principal: &token.principal,
                expires_at: token.expires_at,
                extensions: &token.extensions,
            };
            if let Err(error) = set_token(client, bearer) {
                set_token_failure(client, &error.to_string());
            }
        }
        if let Some(failure) = &self.failure {
            set_token_failure(client, failure);
        }
    }
}

impl Shared {
    /// Gives all clients a new token, or the reason why there is none.
    fn publish(&self, outcome: Result<Token, TokenError>, cluster: &str) {
        let mut state = self.0.lock();
        match outcome {
            Ok(token) => {
                let is_known = state.token.as_ref().is_some_and(|known| known.value == token.value);
                let expires_at = token.expires_at;
                // Clients that are made later get the new time.
                state.token = Some(token);
                if state.failure.take().is_none() && is_known {
                    return;
                }
                tracing::debug!(cluster, expires_at, "new token of OAUTHBEARER");
            }
            Err(error) => {
                let failure = error.to_string();
                if state.failure.as_ref() == Some(&failure) {
                    return;
                }
                tracing::warn!(cluster, "cannot obtain a token of OAUTHBEARER: {failure}");
                state.failure = Some(failure);
            }
        }
        // The last handle of a client destroys it, which may take a while: without the lock.
        let clients: Vec<Client> = state.clients.iter().filter_map(WeakClient::upgrade).collect();
        clients.iter().for_each(|client| state.give(client));
        drop(state);
        drop(clients);
    }
}

/// First time between two attempts after a failure; it doubles up to [`LONGEST_RETRY`].
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// Bound of one attempt, whatever it asks.
const ATTEMPT: Duration = Duration::from_secs(30);

/// Obtains tokens for ever.
async fn renew(config: &config::Cluster, shared: &Shared, clock: &Clock) {
    let mut method = None;
    let mut retry = RETRY;
    loop {
        let outcome = tokio::time::timeout(ATTEMPT, obtain(&mut method, config, clock)).await;
        let outcome = outcome.unwrap_or(Err(TokenError::TooLong { limit: ATTEMPT }));
        let wait = match &outcome {
            Ok(token) => {
                retry = RETRY;
                token.renew_in(clock.now())
            }
            Err(_) => {
                let next = (retry * 2).min(LONGEST_RETRY);
                std::mem::replace(&mut retry, next)
            }
        };
        let longest = method.as_ref().map_or(wait, Method::longest_wait);
        shared.publish(outcome, &config.name);
        tokio::time::sleep(wait.min(longest)).await;
    }
}

/// Obtains a token. What is wrong with certificates or keys may be mended while the process runs, so the method is made anew
/// until it can be made.
async fn obtain(method: &mut Option<Method>, config: &config::Cluster, clock: &Clock) -> Result<Token, TokenError> {
    let method = match method {
        Some(method) => method,
        None => method.insert(Method::new(config)?),
    };
    method.token(clock).await
}

#[cfg(test)]
mod tests;
