//! All policies as one node decides by them, each with how it stands with the others.

use std::sync::Arc;

use super::fingerprint::Fingerprint;
use super::rule::{PolicyId, Rule};
use super::standing::View;

/// All rules of a node, each with how it stands with the others; what shards look at.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules(pub(super) Vec<(Arc<Rule>, View)>);

impl Rules {
    pub(super) fn get(&self, id: PolicyId) -> Option<(&Rule, &View)> {
        self.0.get(usize::from(id.0)).map(|(rule, view)| (&**rule, view))
    }

    pub(super) fn find(&self, fingerprint: Fingerprint) -> Option<PolicyId> {
        let at = self.0.iter().position(|(rule, _)| rule.fingerprint == fingerprint)?;
        u16::try_from(at).ok().map(PolicyId)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PolicyId, &(Arc<Rule>, View))> {
        (0..).map(PolicyId).zip(&self.0)
    }
}
