//! Notifications of PostgreSQL (LISTEN), by which the query runs at once. A lost notification delays a change by at
//! most an interval.

use std::time::Duration;

use futures::FutureExt as _;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time;

use super::connection::Connector;

/// Timeout of connecting and subscribing.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of notifications that one run of the query answers.
const MAX_NOTIFICATIONS: usize = 10_000;

/// The connection of a listener is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost;

/// Subscribes to a channel. Returns `None` if that is not possible; the query then runs only once per interval.
pub(super) async fn start(connector: &Connector<'_>, channel: &str) -> Option<PgListener> {
    // The library's listener takes its connection from a pool. This pool never has another one.
    let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
    let pool = pool.connect_lazy_with(connector.postgres()?.clone());
    let listen = async {
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(channel).await?;
        Ok::<_, sqlx::Error>(listener)
    };
    match time::timeout(TIMEOUT, listen).await {
        Ok(Ok(listener)) => return Some(listener),
        // The query fails for the same reason, or the channel is a hint that this server does not give.
        Ok(Err(error)) => tracing::debug!(%error, channel, "cannot listen; polling only"),
        Err(_) => tracing::debug!(channel, "no answer to LISTEN; polling only"),
    }
    None
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
