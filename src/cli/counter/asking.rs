//! The general call of the commands on counters: reach a node, ask it on terms, print what it answers.

use clap::Args;
use serde_json::Value;
use snowtide_client::{Connection, Error, Terms};
use snowtide_protocol::wire::Welcome;
use snowtide_protocol::{Code, Token};

use crate::cli::exit::{self, Ended, Exit};
use crate::cli::reach::{self, Reach};
use crate::cli::terms::Tokens;
use crate::cli::{Global, print, print_json};

/// Where counters are, and on which terms they are asked for.
#[derive(Debug, Args)]
pub(super) struct Asking {
    #[command(flatten)]
    tokens: Tokens,

    #[command(flatten)]
    pub(super) place: Place,
}

/// Where counters are.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The namespace that the counters live in.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(super) namespace: String,

    #[command(flatten)]
    pub(super) reach: Reach,
}

impl Asking {
    /// The terms that the flags say.
    pub(super) fn terms(&self) -> Terms {
        self.tokens.terms()
    }

    /// Has a node asked. Returns who has answered, and what.
    pub(super) async fn ask<T>(
        &self,
        global: &Global,
        ask: impl AsyncFnOnce(&Connection) -> Result<T, Error>,
    ) -> anyhow::Result<(Welcome, T)> {
        let client = self.place.connect(global).await?;
        let node = client.welcome().clone();
        let answer = ask(&client).await.map_err(|error| self.place.failure(global, &node, error))?;
        client.close().await;
        Ok((node, answer))
    }

    /// Prints an answer: in JSON, or as lines, the token last if it was asked for.
    pub(super) fn tell(
        &self,
        global: &Global,
        json: impl FnOnce() -> Value,
        lines: &[String],
        token: Option<&Token>,
    ) -> anyhow::Result<()> {
        if global.json {
            return print_json(&json());
        }
        lines.iter().try_for_each(|line| print(line))?;
        self.tokens.show(token)
    }
}

impl Place {
    /// Connects to the node that was meant, or to any that holds the namespace.
    pub(super) async fn connect(&self, global: &Global) -> anyhow::Result<Connection> {
        self.reach.connect_for(global, Some(&self.namespace)).await
    }

    /// A request has failed: at which node, and where the namespace is, if that node says that it is not there.
    pub(super) fn failure(&self, global: &Global, node: &Welcome, error: Error) -> anyhow::Error {
        let error = match error {
            Error::Refused { code: Code::WrongRegion, .. } => {
                anyhow::Error::new(error).context(reach::elsewhere(global, &self.namespace))
            }
            error => error.into(),
        };
        error.context(name(node))
    }

    /// One operation of a batch was refused, and what to do about it.
    pub(super) fn refusal(&self, global: &Global, key: &str, code: Code) -> Ended {
        let advice = match code {
            Code::WrongRegion => reach::elsewhere(global, &self.namespace),
            code => exit::advice_on_code(code).to_owned(),
        };
        Ended::new(Exit::of_code(code), format!("{}/{key}: refused ({code}): {advice}", self.namespace))
    }
}

/// What a node is called in errors.
pub(super) fn name(node: &Welcome) -> String {
    format!("node {}/{}", node.region, node.node)
}
