//! The QUIC door, through the client crate: many requests in flight on one connection.

use snowtide_client::{Batch, Config, Connection, Error, InvalidArgument, LimitBatch, Policy, Site};
use snowtide_protocol::Code;

use super::{Asking, Dial, Failure, Fate, Outcome};
use crate::ids::Run;
use crate::keys::{Action, Names, Operation};

/// One connection.
pub struct Quic {
    client: Connection,
    names: Names,
    asking: Asking,
}

impl Quic {
    /// Connects, verifies the node and learns who it is.
    pub async fn open(address: &str, dial: &Dial) -> anyhow::Result<(Self, Site)> {
        let mut config = Config::new(address).request_timeout(dial.timeout).idle_timeout(dial.silence);
        if let Some(ca) = &dial.ca {
            config = config.ca_pem_file(ca)?;
        }
        if let Some(token) = &dial.token {
            config = config.token(token);
        }
        let client = Connection::open(config).await?;
        let welcome = client.welcome();
        let site = Site { region: welcome.region.clone(), node: welcome.node };
        Ok((Self { client, names: dial.names.clone(), asking: dial.asking.clone() }, site))
    }

    /// One outcome per operation.
    pub async fn batch(&self, operations: &[Operation]) -> Result<Vec<Outcome>, Failure> {
        let batch = self.encode(operations).map_err(|error| self.failure(&error.into()))?;
        let results = self.client.batch(&batch).await.map_err(|error| self.failure(&error))?;
        Ok(results.into_iter().map(|result| result.map_err(refusal)).collect())
    }

    /// As many IDs as were asked for.
    pub async fn ids(&self, count: u32) -> Result<Vec<Run>, Failure> {
        let runs = self.client.id_runs(count).await.map_err(|error| self.failure(&error))?;
        Ok(runs.into_iter().map(|run| Run { first: run.first, count: run.count, target: 0 }).collect())
    }

    /// For each key in order whether it was admitted.
    pub async fn decisions(&self, keys: &[u32]) -> Result<Vec<Result<bool, Failure>>, Failure> {
        let batch = self.checks(keys).map_err(|error| self.failure(&error.into()))?;
        let decided = self.client.limits(&batch).await.map_err(|error| self.failure(&error))?;
        Ok(decided.into_iter().map(|each| each.map(|decision| decision.admitted).map_err(refusal)).collect())
    }

    fn checks(&self, keys: &[u32]) -> Result<LimitBatch, InvalidArgument> {
        let Asking { policy, numbers, cost } = &self.asking;
        let policy = policy.as_ref().map_or_else(|| Policy::from(*numbers), Policy::from);
        let (mut batch, mut name) = (LimitBatch::new(), String::new());
        for key in keys {
            self.names.key_into(*key, &mut name);
            batch.check(policy, &name, u64::from(*cost))?;
        }
        Ok(batch)
    }

    fn encode(&self, operations: &[Operation]) -> Result<Batch, InvalidArgument> {
        let mut batch = Batch::new();
        let mut name = String::new();
        for Operation { key, action } in operations {
            self.names.key_into(*key, &mut name);
            match action {
                Action::Increment(by) => batch.increment(&self.names.namespace, &name, u64::from(*by))?,
                Action::Read => batch.get(&self.names.namespace, &name)?,
            };
        }
        Ok(batch)
    }

    fn failure(&self, error: &Error) -> Failure {
        Failure { lost: self.client.is_closed(), ..classify(error) }
    }
}

/// What the client's error says about the state of the counters.
fn classify(error: &Error) -> Failure {
    let code = match error {
        Error::Refused { code, .. } => return refusal(*code),
        Error::InvalidArgument(_) => "invalid_argument",
        Error::Busy { .. } => "busy",
        // A read has changed nothing, but nobody asks that of a read.
        Error::Timeout { .. } => return Failure::TIMED_OUT,
        Error::Disconnected { .. } | Error::Ambiguous { .. } => "disconnected",
        Error::Protocol(_) => return Failure::BAD_ANSWER,
        _ => "client_error",
    };
    let known = matches!(error, Error::InvalidArgument(_) | Error::Busy { .. } | Error::Disconnected { .. });
    if known { Failure::undone(code) } else { Failure::unknown(code) }
}

fn refusal(code: Code) -> Failure {
    let fate = if matches!(code, Code::Timeout | Code::Internal) { Fate::Unknown } else { Fate::Refused };
    Failure { code: code.as_str().into(), fate, lost: false }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_may_have_happened_is_unknown() {
        let after = Duration::from_secs(1);
        let reason = || "gone".to_owned();
        let fate = |error: Error| classify(&error).fate;
        assert_eq!(fate(Error::Timeout { after, may_have_written: true }), Fate::Unknown);
        assert_eq!(fate(Error::Ambiguous { reason: reason() }), Fate::Unknown);
        assert_eq!(fate(Error::Protocol(reason())), Fate::Unknown);
        assert_eq!(fate(Error::Disconnected { reason: reason() }), Fate::Undone);
        assert_eq!(fate(Error::Busy { after }), Fate::Undone);
        assert_eq!(refusal(Code::Internal).fate, Fate::Unknown);
        assert_eq!(refusal(Code::Timeout).fate, Fate::Unknown);
        assert_eq!(refusal(Code::Throttled), Failure::refused("throttled"));
    }
}
