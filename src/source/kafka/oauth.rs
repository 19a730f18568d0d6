//! SASL/OAUTHBEARER tokens: obtained once per cluster, and given to all of its clients.
//!
//! A thread obtains a token when the first client is created and renews it before its expiry. It gives each token to
//! every client of the cluster. librdkafka's own token refresh events are not used: they need a poll of the client, and
//! many clients are polled only while they have requests. Also, the polling thread would wait for the token endpoint.

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
use crate::{clock::Clock, config, source::kafka::RequestError};
use error::TokenError;
use method::Method;
use token::Token;

/// Creates a connector for a cluster, with its configured login. Once `ending` is cancelled, the process ends.
pub(super) fn connector(config: &config::Cluster, ending: CancellationToken) -> Connector {
    let connector = Connector::new(config, ending.clone());
    if config.oauth.is_used() {
        connector.with_login(Arc::new(Tokens::new(config.clone(), &ending)))
    } else {
        connector
    }
}

/// The tokens of one cluster. Dropping it stops their renewal.
struct Tokens {
    config: config::Cluster,
    shared: Arc<SharedTokens>,
    stop: CancellationToken,
    /// Set once the thread is started.
    started: OnceLock<()>,
}

/// The current token, and the clients that use it.
#[derive(Default)]
struct SharedTokens(Mutex<TokenState>);

#[derive(Default)]
struct TokenState {
    token: Option<Token>,
    /// The reason why the token could not be renewed.
    failure: Option<String>,
    clients: Vec<WeakClient>,
}

impl Tokens {
    fn new(config: config::Cluster, ending: &CancellationToken) -> Self {
        Self { config, shared: Arc::default(), stop: ending.child_token(), started: OnceLock::new() }
    }

    fn start(&self) -> Result<(), RequestError> {
        if self.started.set(()).is_err() {
            return Ok(());
        }
        let (config, shared, stop) = (self.config.clone(), Arc::clone(&self.shared), self.stop.clone());
        let failed = |error: std::io::Error| RequestError::Client { reason: format!("cannot start a thread: {error}") };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let run = move || {
            let _exit_report = ExitReport { cluster: &config.name, shared: &shared, stop: &stop };
            runtime.block_on(stop.run_until_cancelled(renew(&config, &shared, &Clock::system())));
        };
        thread::Builder::new().name(format!("{}/tokens", self.config.name)).spawn(run).map_err(failed)?;
        Ok(())
    }
}

/// Reports an unexpected end of the thread, which is caused by a panic.
struct ExitReport<'a> {
    cluster: &'a str,
    shared: &'a SharedTokens,
    stop: &'a CancellationToken,
}

impl Drop for ExitReport<'_> {
    fn drop(&mut self) {
        if !self.stop.is_cancelled() {
            self.shared.publish(Err(TokenError::Exited), self.cluster);
        }
    }
}

impl Login for Tokens {
    fn attach(&self, client: &Client) -> Result<(), RequestError> {
        self.start()?;
        let mut state = self.shared.0.lock();
        state.clients.retain(WeakClient::is_alive);
        state.clients.push(client.downgrade());
        state.apply_to(client);
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

impl TokenState {
    /// Gives the current token and failure to a client.
    fn apply_to(&self, client: &Client) {
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

impl SharedTokens {
    /// Gives all clients a new token, or the reason why there is none.
    fn publish(&self, outcome: Result<Token, TokenError>, cluster: &str) {
        let mut state = self.0.lock();
        match outcome {
            Ok(token) => {
                let is_known = state.token.as_ref().is_some_and(|known| known.value == token.value);
                let expires_at = token.expires_at;
                // Clients that are created later use the new expiry.
                state.token = Some(token);
                if state.failure.take().is_none() && is_known {
                    return;
                }
                tracing::debug!(cluster, expires_at, "obtained an OAUTHBEARER token");
            }
            Err(error) => {
                let failure = error.to_string();
                if state.failure.as_ref() == Some(&failure) {
                    return;
                }
                tracing::warn!(cluster, "cannot obtain an OAUTHBEARER token: {failure}");
                state.failure = Some(failure);
            }
        }
        // Dropping the last handle of a client destroys it, which may take long. That must not happen under the lock.
        let clients: Vec<Client> = state.clients.iter().filter_map(WeakClient::upgrade).collect();
        clients.iter().for_each(|client| state.apply_to(client));
        drop(state);
        drop(clients);
    }
}

/// First pause after a failure. It doubles up to [`MAX_RETRY`].
const MIN_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(30);
/// Timeout of one attempt with all of its requests.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Renews the token until the task is cancelled.
async fn renew(config: &config::Cluster, shared: &SharedTokens, clock: &Clock) {
    let mut method = None;
    let mut retry = MIN_RETRY;
    loop {
        let outcome = tokio::time::timeout(ATTEMPT_TIMEOUT, obtain(&mut method, config, clock)).await;
        let outcome = outcome.unwrap_or(Err(TokenError::Timeout { limit: ATTEMPT_TIMEOUT }));
        let wait = match &outcome {
            Ok(token) => {
                retry = MIN_RETRY;
                token.renew_in(clock.now())
            }
            Err(_) => {
                let next = (retry * 2).min(MAX_RETRY);
                std::mem::replace(&mut retry, next)
            }
        };
        let longest = method.as_ref().map_or(wait, Method::max_wait);
        shared.publish(outcome, &config.name);
        tokio::time::sleep(wait.min(longest)).await;
    }
}

/// Obtains a token. The method is created again until that succeeds, because certificates or keys may be corrected
/// while the process runs.
async fn obtain(method: &mut Option<Method>, config: &config::Cluster, clock: &Clock) -> Result<Token, TokenError> {
    let method = match method {
        Some(method) => method,
        None => method.insert(Method::new(config)?),
    };
    method.token(clock).await
}

#[cfg(test)]
mod tests;
