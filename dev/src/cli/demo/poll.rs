//! Asking again and again, with a bound.

use std::time::Duration;

use tokio::time::timeout;

const PAUSE: Duration = Duration::from_millis(10);

/// What `ask` finds; `None` if it has found nothing by the end of that time.
pub(super) async fn poll<T>(
    within: Duration,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Option<T>> {
    let polling = async {
        loop {
            if let Some(found) = ask().await? {
                return Ok(Some(found));
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    timeout(within, polling).await.unwrap_or(Ok(None))
}
