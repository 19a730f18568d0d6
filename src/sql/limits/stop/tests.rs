use std::time::Duration;

use super::*;

fn stop(timeout: Duration) -> Stop {
    Stop::new(Cancel::within(timeout))
}

#[tokio::test]
async fn the_first_reason_is_the_one_that_is_told() {
    let stop = stop(Duration::from_secs(3600));
    assert!(stop.check().is_ok() && stop.reason().is_none());
    stop.clone().end(SqlError::ShuttingDown);
    stop.end(SqlError::Invalid("later".to_owned()));
    assert!(matches!(stop.ended().await, SqlError::ShuttingDown));
    let error = SqlError::from_datafusion(&stop.check().unwrap_err());
    assert!(matches!(error, SqlError::ShuttingDown));
}

#[tokio::test]
async fn without_a_reason_it_ends_with_its_deadline() {
    let stop = stop(Duration::ZERO);
    assert!(matches!(stop.ended().await, SqlError::Deadline(_)));
    let error = SqlError::from_datafusion(&stop.check().unwrap_err());
    assert!(matches!(error, SqlError::Deadline(_)));
}
