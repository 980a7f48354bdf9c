//! The token that a client carries from answer to request, so that it reads what it has seen and written, wherever.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use snowtide_protocol::Token;

use crate::terms::{Answered, Terms};

/// What all answers so far have shown.
///
/// It grows no longer than a node takes: a request with a longer token is refused, and so tells no further one.
#[derive(Debug)]
pub(super) struct Carried {
    token: Mutex<Token>,
    /// How long a node may wait until it holds the token.
    wait: Duration,
}

impl Carried {
    pub(super) fn new(wait: Duration) -> Self {
        Self { token: Mutex::default(), wait }
    }

    /// Another one that names nothing yet.
    pub(super) fn anew(&self) -> Self {
        Self::new(self.wait)
    }

    /// The terms with what is carried. Whoever only writes is not made to wait for it: what was written before does not
    /// depend on it, and is carried on.
    pub(super) fn load(&self, terms: Option<&Terms>, reads: bool) -> Terms {
        let terms = terms.cloned().unwrap_or_default().with_token();
        if !reads {
            return terms;
        }
        let terms = terms.after(&self.token());
        if terms.wait.is_some() { terms } else { terms.wait(self.wait) }
    }

    /// Takes in what an answer has shown.
    pub(super) fn unload(&self, answered: &Answered) {
        match &answered.token {
            Some(token) => self.token().join(token),
            None => {
                tracing::warn!("an answer came without its token, which is too long: later reads may not include it");
            }
        }
    }

    pub(super) fn token(&self) -> MutexGuard<'_, Token> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
