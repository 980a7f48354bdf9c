//! A service behind a limit.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::settings::{LimitLayer, Settings};

/// The answer of the service, or that to a denied request.
pub type LimitedFuture<A, E> = Pin<Box<dyn Future<Output = Result<A, E>> + Send>>;

/// A service behind a [`LimitLayer`]. It is ready as soon as the service is; who has to wait for a decision is
/// the request.
pub struct Limited<S, Q, A> {
    inner: S,
    settings: Arc<Settings<Q, A>>,
}

impl<S, Q, A> Layer<S> for LimitLayer<Q, A> {
    type Service = Limited<S, Q, A>;

    fn layer(&self, inner: S) -> Self::Service {
        Limited { inner, settings: Arc::new(self.0.clone()) }
    }
}

impl<S, Q, A> Service<Q> for Limited<S, Q, A>
where
    S: Service<Q, Response = A> + Clone + Send + 'static,
    S::Future: Send,
    Q: Send + 'static,
    A: Send + 'static,
{
    type Response = A;
    type Error = S::Error;
    type Future = LimitedFuture<A, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        // The one that was polled is ready; its clone need not be.
        let clone = self.inner.clone();
        let mut ready = mem::replace(&mut self.inner, clone);
        let asked = self.settings.asks(&request);
        let settings = Arc::clone(&self.settings);
        Box::pin(async move {
            if let Some(asked) = asked
                && let Some(answer) = settings.refuse(asked).await
            {
                return Ok(answer);
            }
            ready.call(request).await
        })
    }
}

impl<S: Clone, Q, A> Clone for Limited<S, Q, A> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), settings: Arc::clone(&self.settings) }
    }
}

impl<S: fmt::Debug, Q, A> fmt::Debug for Limited<S, Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limited").field("inner", &self.inner).finish_non_exhaustive()
    }
}
