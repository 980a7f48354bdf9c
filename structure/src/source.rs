//! One source, parsed, and the facts that are kept of it. They hold no tokens, so they can be shared between threads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proc_macro2::{LineColumn, TokenStream};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{
    Block, File, ImplItem, ImplItemFn, ItemFn, ItemImpl, ItemMod, ItemStruct, ItemTrait, Signature, TraitItemFn,
};
use syn::{ItemUse, Type, UseTree};

use crate::tests_within::{self, Stretch};
use crate::{place, tokens};

/// A crate of a workspace with its texts.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name in its manifest.
    pub name: String,
    /// Its sources.
    pub texts: Vec<Text>,
}

/// One file.
#[derive(Clone, Debug)]
pub struct Text {
    /// Its path in the checkout.
    pub path: String,
    /// Its path below the folder of its crate.
    pub within: String,
    /// What it holds.
    pub text: String,
}

/// A crate whose sources were parsed.
#[derive(Clone, Debug)]
pub struct Crate {
    /// Its name in its manifest.
    pub name: String,
    /// Its sources, shared so that a changed copy of the crate costs little.
    pub sources: Vec<Arc<Source>>,
}

/// The facts of one file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path in the checkout.
    pub path: String,
    /// The module that it is, from the root of its crate; `None` outside of `src`.
    pub module: Option<Vec<String>>,
    /// A top-level module, or a program beside the crate such as `tests/it`.
    pub part: String,
    /// Whether the whole file is a test or a benchmark.
    pub is_test: bool,
    /// Lines of code, without blank lines and comments.
    pub lines: Lines,
    /// What it defines.
    pub items: Items,
    /// What is in scope and what is named there: first the file itself, then each module that is written out in it.
    pub scopes: Vec<Scope>,
    /// The identifiers outside of tests, and the line of each.
    pub words: Vec<(String, usize)>,
    /// Modules in files of their own that this one declares, tests aside, from the root of the crate.
    pub declared: Vec<Vec<String>>,
    /// Its path below the folder of its crate.
    within: String,
    /// Modules in files of their own that this one declares for tests only.
    test_modules: Vec<Vec<String>>,
}

/// What a file defines.
#[derive(Clone, Debug, Default)]
pub struct Items {
    /// Every function with a body.
    pub functions: Vec<Function>,
    /// Structs.
    pub structs: Vec<Struct>,
    /// The implementations with at least one function.
    pub impls: Vec<Impl>,
}

/// How many lines of code a file has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lines {
    /// Outside of tests.
    pub product: usize,
    /// In tests.
    pub test: usize,
}

/// A function with a body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Function {
    /// Its name, behind that of the type or trait that it belongs to.
    pub name: String,
    /// The line of its signature.
    pub line: usize,
    /// Its lines of code from its signature to its closing brace.
    pub lines: usize,
    /// Whether it is a test, or serves tests only.
    pub is_test: bool,
}

/// A struct outside of tests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Struct {
    /// Its name.
    pub name: String,
    /// Its line.
    pub line: usize,
    /// The module that defines it.
    pub module: Vec<String>,
    /// How many fields it has itself.
    pub fields: usize,
}

/// An implementation outside of tests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Impl {
    /// The module that it stands in.
    pub module: Vec<String>,
    /// The type's path as it is written there.
    pub of: Vec<String>,
    /// How many functions it has outside of tests.
    pub methods: usize,
}

/// What a module imports and names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Scope {
    /// The module, from the root of the crate.
    pub module: Vec<String>,
    /// Names that imports bring into scope.
    pub imports: Vec<Import>,
    /// Paths that are named here outside of tests, and the line of each.
    pub used: Vec<(Vec<String>, usize)>,
    stretch: Option<Stretch>,
}

/// A name that an import brings into scope.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Import {
    /// The name; `None` for all names of a module.
    pub name: Option<String>,
    /// What it stands for, as it is written.
    pub path: Vec<String>,
}

/// Parses every source of `package`. A file that another declares under `#[cfg(test)]` is a test with all below it.
///
/// # Errors
///
/// Says which file is not Rust.
pub fn read(package: &Package) -> anyhow::Result<Crate> {
    let sources = package.texts.iter().map(|text| Source::read(text).map(Arc::new)).collect::<anyhow::Result<_>>()?;
    let mut parsed = Crate { name: package.name.clone(), sources };
    mark_tests(&mut parsed.sources);
    Ok(parsed)
}

fn mark_tests(sources: &mut [Arc<Source>]) {
    let tests: BTreeSet<Vec<String>> = sources.iter().flat_map(|source| source.test_modules.clone()).collect();
    for source in sources.iter_mut().filter(|source| !source.is_test) {
        let module = source.module.as_deref().unwrap_or_default();
        if (1..=module.len()).any(|end| module.get(..end).is_some_and(|above| tests.contains(above))) {
            Arc::make_mut(source).become_test();
        }
    }
}

impl Crate {
    /// The name by which code names this crate.
    pub fn identifier(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The sources below `src` that are no tests, each with its module.
    pub fn product(&self) -> impl Iterator<Item = (&Source, &[String])> {
        let product = self.sources.iter().filter(|source| !source.is_test);
        product.filter_map(|source| Some((source.as_ref(), source.module.as_deref()?)))
    }

    /// The same crate with other texts in some of its files, by their paths.
    ///
    /// # Errors
    ///
    /// Says what is not Rust.
    pub fn with(&self, texts: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let mut changed = self.clone();
        for source in &mut changed.sources {
            if let Some(text) = texts.get(&source.path) {
                let (path, within) = (source.path.clone(), source.within.clone());
                *source = Arc::new(Source::read(&Text { path, within, text: text.clone() })?);
            }
        }
        mark_tests(&mut changed.sources);
        Ok(changed)
    }
}

impl Source {
    fn read(text: &Text) -> anyhow::Result<Self> {
        let not_rust = |error: &dyn std::fmt::Display| anyhow::anyhow!("{} is not Rust: {error}", text.path);
        let stream: TokenStream = text.text.parse().map_err(|error| not_rust(&error))?;
        let file: File = syn::parse2(stream.clone()).map_err(|error| not_rust(&error))?;
        let place = place::of(&text.within);
        let mut reader = Reader {
            tests: tests_within::stretches(&file),
            lines: tokens::lines(&text.text, &stream),
            owners: Vec::new(),
            scopes: vec![Scope { module: place.module.clone().unwrap_or_default(), ..Scope::default() }],
            inside: vec![0],
            found: Facts::default(),
        };
        reader.visit_file(&file);
        let mut source = reader.finish(text, &stream);
        (source.module, source.part) = (place.module, place.part);
        if place.is_test {
            source.become_test();
        }
        Ok(source)
    }

    fn become_test(&mut self) {
        self.is_test = true;
        self.lines = Lines { product: 0, test: self.lines.product + self.lines.test };
        self.items.functions.iter_mut().for_each(|function| function.is_test = true);
        self.items.structs.clear();
        self.items.impls.clear();
        self.words.clear();
        self.scopes.clear();
        self.declared.clear();
    }
}

#[derive(Default)]
struct Facts {
    items: Items,
    declared: Vec<Vec<String>>,
    test_modules: Vec<Vec<String>>,
}

/// Walks through a file's tree.
struct Reader {
    tests: Vec<Stretch>,
    lines: BTreeSet<usize>,
    /// The types and traits around the place it is at.
    owners: Vec<String>,
    scopes: Vec<Scope>,
    /// Numbers of the scopes around the place it is at, the innermost last.
    inside: Vec<usize>,
    found: Facts,
}

impl Reader {
    fn is_test(&self, at: LineColumn) -> bool {
        self.tests.iter().any(|test| test.contains(&at))
    }

    fn scope(&mut self) -> Option<&mut Scope> {
        let number = self.inside.last().copied()?;
        self.scopes.get_mut(number)
    }

    fn module(&mut self) -> Vec<String> {
        self.scope().map(|scope| scope.module.clone()).unwrap_or_default()
    }

    fn function(&mut self, signature: &Signature, block: &Block) {
        let start = signature.span().start();
        let lines = self.lines.range(start.line..=block.span().end().line).count();
        let owner = self.owners.last().map(|owner| format!("{owner}::")).unwrap_or_default();
        let name = format!("{owner}{}", signature.ident);
        self.found.items.functions.push(Function { name, line: start.line, lines, is_test: self.is_test(start) });
    }

    fn within(&mut self, owner: String, walk: impl FnOnce(&mut Self)) {
        self.owners.push(owner);
        walk(self);
        self.owners.pop();
    }

    /// What was found, with the words and paths of `stream` given to the scopes that they stand in.
    fn finish(mut self, text: &Text, stream: &TokenStream) -> Source {
        for path in tokens::paths(stream).into_iter().filter(|path| !self.is_test(path.at)).collect::<Vec<_>>() {
            let holds = |scope: &&mut Scope| scope.stretch.as_ref().is_none_or(|stretch| stretch.contains(&path.at));
            if let Some(scope) = self.scopes.iter_mut().rfind(holds) {
                scope.used.push((path.what, path.at.line));
            }
        }
        let words = tokens::words(stream).into_iter().filter(|word| !self.is_test(word.at));
        let words = words.map(|word| (word.what, word.at.line)).collect();
        let test = self.lines.iter().filter(|line| self.tests.iter().any(|test| covers(test, **line))).count();
        let lines = Lines { product: self.lines.len() - test, test };
        let Facts { items, declared, test_modules } = self.found;
        Source {
            path: text.path.clone(),
            within: text.within.clone(),
            module: None,
            part: String::new(),
            is_test: false,
            lines,
            items,
            scopes: self.scopes,
            words,
            declared,
            test_modules,
        }
    }
}

fn covers(test: &Stretch, line: usize) -> bool {
    (test.start.line..=test.end.line).contains(&line)
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let of = path_of(&item.self_ty);
        let functions = item.items.iter().filter(|item| matches!(item, ImplItem::Fn(_)));
        let methods = functions.filter(|function| !self.is_test(function.span().start())).count();
        if methods > 0 && !of.is_empty() {
            let module = self.module();
            self.found.items.impls.push(Impl { module, of: of.clone(), methods });
        }
        self.within(of.last().cloned().unwrap_or_default(), |reader| visit::visit_item_impl(reader, item));
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        self.within(item.ident.to_string(), |reader| visit::visit_item_trait(reader, item));
    }

    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        let at = item.ident.span().start();
        if !self.is_test(at) {
            let (name, fields, module) = (item.ident.to_string(), item.fields.len(), self.module());
            self.found.items.structs.push(Struct { name, line: at.line, module, fields });
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let mut module = self.module();
        module.push(item.ident.to_string());
        if item.content.is_none() {
            let is_test = self.is_test(item.span().start());
            let declared = if is_test { &mut self.found.test_modules } else { &mut self.found.declared };
            return declared.push(module);
        }
        self.inside.push(self.scopes.len());
        let stretch = Some(tests_within::stretch(item.span()));
        self.scopes.push(Scope { module, stretch, ..Scope::default() });
        visit::visit_item_mod(self, item);
        self.inside.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if self.is_test(item.span().start()) {
            return;
        }
        let mut imports = Vec::new();
        imported(&item.tree, &[], &mut imports);
        if let Some(scope) = self.scope() {
            scope.imports.append(&mut imports);
        }
    }
}

/// The path of a type that is named plainly; empty for others.
fn path_of(of: &Type) -> Vec<String> {
    let Type::Path(of) = of else { return Vec::new() };
    of.path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

/// The names that `tree` brings into scope, each with its path behind `above`.
fn imported(tree: &UseTree, above: &[String], imports: &mut Vec<Import>) {
    let below = |name: &syn::Ident| [above, &[name.to_string()]].concat();
    let itself = |name: &syn::Ident| if name == "self" && !above.is_empty() { above.to_vec() } else { below(name) };
    match tree {
        UseTree::Path(tree) => imported(&tree.tree, &below(&tree.ident), imports),
        UseTree::Group(group) => group.items.iter().for_each(|tree| imported(tree, above, imports)),
        UseTree::Glob(_) => imports.push(Import { name: None, path: above.to_vec() }),
        UseTree::Name(name) => {
            let path = itself(&name.ident);
            imports.push(Import { name: path.last().cloned(), path });
        }
        UseTree::Rename(renamed) => {
            imports.push(Import { name: Some(renamed.rename.to_string()), path: itself(&renamed.ident) });
        }
    }
}
