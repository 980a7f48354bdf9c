//! Which module a path leads to, as far as modules and imports say.
//!
//! Where imports bring a name on, the path goes on where they lead. A module may be asked for something that it only passes
//! on (`pub use`); whether that counts as using the module or what stands behind it is for the caller to choose ([`Stop`]).

use std::collections::BTreeMap;

use crate::source::{Crate, Import};

/// The modules of one crate and the names in them.
pub struct Names<'a> {
    own: String,
    modules: BTreeMap<&'a [String], Vec<&'a Import>>,
}

/// What a path leads to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// Something of the same crate: the module, and the name in it unless the path is the module's own.
    Here(Vec<String>, Option<String>),
    /// Something of another crate, by its full path.
    Abroad(Vec<String>),
}

/// How far imports are followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// To the module that defines the name.
    Never,
    /// To the first module that is not around the one that names the path. What such a module passes on is its own affair;
    /// but a parent's imports only save its children some words.
    Outside,
}

/// No import is passed on as often as this; it ends circles of imports.
const IMPORTS_MAX: usize = 16;

impl<'a> Names<'a> {
    /// The names of `parsed`.
    pub fn of(parsed: &'a Crate) -> Self {
        let mut modules: BTreeMap<&[String], Vec<&Import>> = BTreeMap::new();
        for scope in parsed.product().flat_map(|(source, _)| &source.scopes) {
            modules.entry(&scope.module).or_default().extend(&scope.imports);
        }
        // What only holds other modules may have no file of its own that was given.
        for end in modules.keys().flat_map(|module| (0..module.len()).map(|end| &module[..end])).collect::<Vec<_>>() {
            modules.entry(end).or_default();
        }
        Self { own: parsed.identifier(), modules }
    }

    /// What `path` leads to where it stands in the module `from`; `None` if it leads nowhere (`Self::x`, macros' own words).
    pub fn resolve(&self, from: &[String], path: &[String], stop: Stop) -> Option<Target> {
        Search { names: self, from, stop }.path(from, path, None, IMPORTS_MAX)
    }

    fn has(&self, module: &[String]) -> bool {
        self.modules.contains_key(module)
    }

    fn imports(&self, module: &[String]) -> impl Iterator<Item = &'a Import> {
        self.modules.get(module).into_iter().flatten().copied()
    }

    fn import(&self, module: &[String], name: &str) -> Option<&'a Import> {
        self.imports(module).find(|import| import.name.as_deref() == Some(name))
    }
}

struct Search<'s, 'a> {
    names: &'s Names<'a>,
    from: &'s [String],
    stop: Stop,
}

impl Search<'_, '_> {
    /// Follows `path` from where it is written. An import named `except` does not explain its own path.
    fn path(&self, at: &[String], path: &[String], except: Option<&str>, left: usize) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let left = left.checked_sub(1)?;
        match first.as_str() {
            "crate" => self.walk(Vec::new(), rest, left),
            "Self" => None,
            "self" if rest.first().is_some_and(|next| next == "super") => self.path(at, rest, None, left),
            "self" => self.walk(at.to_vec(), rest, left),
            "super" => {
                let (_, parent) = at.split_last()?;
                match rest.first() {
                    Some(next) if next == "super" => self.path(parent, rest, None, left),
                    _ => self.walk(parent.to_vec(), rest, left),
                }
            }
            _ if self.names.has(&[at, &path[..1]].concat()) => self.walk(at.to_vec(), path, left),
            name if except != Some(name) && self.names.import(at, name).is_some() => {
                self.imported(at, name, rest, left)
            }
            name if *name == self.names.own => self.walk(Vec::new(), rest, left),
            _ => Some(self.spread(at, path, left).unwrap_or_else(|| Target::Abroad(path.to_vec()))),
        }
    }

    /// Follows `rest` from the module `at` downwards.
    fn walk(&self, mut at: Vec<String>, rest: &[String], left: usize) -> Option<Target> {
        let mut rest = rest;
        while let Some((name, behind)) = rest.split_first() {
            let child = [at.as_slice(), std::slice::from_ref(name)].concat();
            if self.names.has(&child) {
                (at, rest) = (child, behind);
                continue;
            }
            if self.stop == Stop::Never || self.from.starts_with(&at) {
                if self.names.import(&at, name).is_some() {
                    return self.imported(&at, name, behind, left);
                }
                if let Some(target) = self.spread(&at, rest, left) {
                    return Some(target);
                }
            }
            return Some(Target::Here(at, Some(name.clone())));
        }
        Some(Target::Here(at, None))
    }

    fn imported(&self, at: &[String], name: &str, behind: &[String], left: usize) -> Option<Target> {
        let import = self.names.import(at, name)?;
        self.path(at, &[import.path.as_slice(), behind].concat(), Some(name), left)
    }

    /// Looks for `path` among the names that `at` imports by a `*`; only modules and imports there can be told.
    fn spread(&self, at: &[String], path: &[String], left: usize) -> Option<Target> {
        let name = path.first()?;
        let left = left.checked_sub(1)?;
        self.names.imports(at).filter(|import| import.name.is_none()).find_map(|import| {
            let Target::Here(module, None) = self.path(at, &import.path, None, left)? else { return None };
            let child = [module.as_slice(), std::slice::from_ref(name)].concat();
            let is_there = self.names.has(&child) || self.names.import(&module, name).is_some();
            is_there.then(|| self.walk(module, path, left)).flatten()
        })
    }
}
