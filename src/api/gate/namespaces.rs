//! Which namespaces are served here, and where the others are (residency).

use std::collections::BTreeMap;
use std::sync::Arc;

use snowtide_protocol::{Access, Action, Key};

use super::{NotServed, Refused};
use crate::api::bearer::{Forbidden, Grant};
use crate::config::Config;
use crate::config::map::ClusterMap;
use crate::identity::NamespaceId;
use crate::replica::Operation;

/// Every configured namespace, by name.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    served: BTreeMap<String, NamespaceId>,
    /// Those that only other regions hold.
    elsewhere: BTreeMap<String, Arc<[String]>>,
}

/// A namespace as a request names it: whether it is served here, and what the caller may do in it.
#[derive(Debug)]
pub struct Named {
    served: Result<NamespaceId, NotServed>,
    reads: Result<(), Forbidden>,
    writes: Result<(), Forbidden>,
}

impl Namespaces {
    /// As the nodes of this region see them.
    pub fn new(config: &Config, map: &ClusterMap, region: u8) -> Self {
        let served = config.served_namespaces(map, region);
        let others = config.namespace.iter().filter(|(name, _)| !served.contains_key(*name));
        let elsewhere = others.map(|(name, namespace)| (name.clone(), namespace.regions.clone().into())).collect();
        Self { served, elsewhere }
    }

    /// The name of a namespace that is served here.
    pub fn name(&self, id: NamespaceId) -> Option<&str> {
        self.served.iter().find(|(_, served)| **served == id).map(|(name, _)| name.as_str())
    }

    /// The namespace of this name, as this caller finds it.
    pub fn named(&self, grant: &Grant, name: &str) -> Named {
        let allowed = |access: Access| grant.require_in(access.into(), name);
        Named { served: self.find(name), reads: allowed(Access::Read), writes: allowed(Access::Write) }
    }

    /// The namespace of this name, or why it is not served here.
    pub fn find(&self, name: &str) -> Result<NamespaceId, NotServed> {
        self.served.get(name).copied().ok_or_else(|| match self.elsewhere.get(name) {
            Some(regions) => NotServed::Elsewhere(Arc::clone(regions)),
            None => NotServed::Unknown,
        })
    }
}

impl Named {
    /// Refuses a caller who may not do this here, before he learns whether there is such a namespace.
    pub fn allows(&self, access: Access) -> Result<(), Refused> {
        let allowed = match access {
            Access::Read => &self.reads,
            Access::Write => &self.writes,
        };
        allowed.as_ref().copied().map_err(Refused::from)
    }

    /// The namespace, for a caller who wants to do this.
    pub fn id(&self, access: Access) -> Result<NamespaceId, Refused> {
        self.allows(access)?;
        self.served.clone().map_err(Refused::from)
    }

    /// What the engine is asked about the counter of this key.
    pub fn operation(&self, key: &str, action: Action) -> Result<Operation, Refused> {
        self.allows(action.access())?;
        let key = Key::of_client(key)?;
        let namespace = self.served.clone()?;
        Ok(Operation { namespace, key, action })
    }
}

#[cfg(test)]
impl<const N: usize> From<[(String, NamespaceId); N]> for Namespaces {
    fn from(served: [(String, NamespaceId); N]) -> Self {
        Self { served: served.into(), elsewhere: BTreeMap::new() }
    }
}

#[cfg(test)]
impl Namespaces {
    /// With one more that only other regions hold.
    pub(crate) fn with_elsewhere(mut self, name: &str, regions: &[&str]) -> Self {
        self.elsewhere.insert(name.to_owned(), regions.iter().map(|&region| region.to_owned()).collect());
        self
    }
}

#[cfg(test)]
mod tests {
    use snowtide_protocol::Code;

    use super::*;
    use crate::config::Namespace;
    use crate::config::map::Region;

    #[test]
    fn a_node_knows_what_it_serves_and_who_serves_the_rest() {
        let region = |id: u8, name: &str| Region { name: name.into(), id, location: None, nodes: Vec::new() };
        let map = ClusterMap { regions: vec![region(0, "us"), region(1, "eu"), region(2, "ap")] };
        let mut config = Config::builtin();
        let regions = vec!["eu".to_owned(), "ap".to_owned()];
        config.namespace.insert("orders".into(), Namespace { regions, ..Namespace::default() });
        let (us, eu) = (Namespaces::new(&config, &map, 0), Namespaces::new(&config, &map, 1));
        assert_eq!(us.find("default"), Ok(NamespaceId::of("default")));
        assert_eq!(eu.find("orders"), Ok(NamespaceId::of("orders")));
        let elsewhere = Refused::from(us.find("orders").unwrap_err());
        assert_eq!((elsewhere.code, &*elsewhere.regions), (Code::WrongRegion, &["eu".to_owned(), "ap".to_owned()][..]));
        assert_eq!(elsewhere.to_string(), "this node's region does not hold the namespace: ask a node of eu or ap");
        let unknown = Refused::from(us.find("nowhere").unwrap_err());
        assert_eq!((unknown.code, &*unknown.regions), (Code::UnknownNamespace, &[][..]));
    }
}
