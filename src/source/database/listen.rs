//! Notifications of PostgreSQL (LISTEN), by which the query runs at once. A lost notification delays a change by at
//! most an interval.

use std::time::Duration;

use futures::FutureExt as _;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::time;

use super::error::ReadError;

/// Timeout of connecting and subscribing.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of notifications that one run of the query answers.
const MAX_NOTIFICATIONS: usize = 10_000;

/// The connection of a listener is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost;

/// Subscribes to a channel.
///
/// # Errors
/// Returns why that is not possible; the query then runs only once per interval.
pub(super) async fn start(options: &PgConnectOptions, channel: &str) -> Result<PgListener, ReadError> {
    // The library's listener takes its connection from a pool. This pool never has another one.
    let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
    let pool = pool.connect_lazy_with(options.clone());
    let listen = async {
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(channel).await?;
        Ok::<_, sqlx::Error>(listener)
    };
    Ok(time::timeout(TIMEOUT, listen).await.map_err(|_| ReadError::Timeout(TIMEOUT))??)
}

/// Waits at most `timeout` for notifications. Returns whether there were any.
pub(super) async fn wait(listener: &mut PgListener, timeout: Duration) -> Result<bool, Lost> {
    match time::timeout(timeout, listener.try_recv()).await {
        Err(_) => return Ok(false),
        Ok(Ok(Some(_))) => {}
        Ok(Ok(None) | Err(_)) => return Err(Lost),
    }
    for _ in 0..MAX_NOTIFICATIONS {
        match listener.try_recv().now_or_never() {
            None => break,
            Some(Ok(Some(_))) => {}
            Some(Ok(None) | Err(_)) => return Err(Lost),
        }
    }
    Ok(true)
}
