//! Which stretches of a file are tests: whatever stands under `#[cfg(test)]`, be it a module, a field or a `let`.

use std::ops::Range;

use proc_macro2::{LineColumn, Span};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Arm, Attribute, Field, FieldValue, File, ImplItem, Item, Local, Meta, Token, TraitItem, Variant};

/// A stretch of a file, from its first character to behind its last.
pub(crate) type Stretch = Range<LineColumn>;

/// The stretches of `file` that are compiled for tests only.
pub(crate) fn stretches(file: &File) -> Vec<Stretch> {
    let mut finder = Finder::default();
    if is_test(&file.attrs) {
        let start = LineColumn { line: 0, column: 0 };
        return vec![start..LineColumn { line: usize::MAX, column: 0 }];
    }
    finder.visit_file(file);
    finder.found
}

/// Whether one of the attributes is `#[cfg(test)]` or `#[cfg(all(test, …))]`.
pub(crate) fn is_test(attributes: &[Attribute]) -> bool {
    let cfgs = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    cfgs.filter_map(|attribute| attribute.parse_args::<Meta>().ok()).any(|condition| needs_test(&condition))
}

fn needs_test(condition: &Meta) -> bool {
    let Meta::List(list) = condition else { return condition.path().is_ident("test") };
    let parse = syn::punctuated::Punctuated::<Meta, Token![,]>::parse_terminated;
    let all = list.path.is_ident("all").then(|| list.parse_args_with(parse).ok()).flatten();
    all.is_some_and(|all| all.iter().any(needs_test))
}

/// From the beginning to the end of `span`.
pub(crate) fn stretch(span: Span) -> Stretch {
    span.start()..span.end()
}

#[derive(Default)]
struct Finder {
    found: Vec<Stretch>,
}

impl Finder {
    fn found(&mut self, attributes: &[Attribute], span: impl FnOnce() -> Span) -> bool {
        let is_test = is_test(attributes);
        if is_test {
            self.found.push(stretch(span()));
        }
        is_test
    }
}

/// Notes a node that is a test, and looks for tests inside of one that is not.
macro_rules! visits {
    ($($visit:ident: $node:ty, $attributes:expr;)*) => {
        $(fn $visit(&mut self, node: &'ast $node) {
            let attributes: fn(&$node) -> &[Attribute] = $attributes;
            if !self.found(attributes(node), || node.span()) {
                visit::$visit(self, node);
            }
        })*
    };
}

impl<'ast> Visit<'ast> for Finder {
    visits! {
        visit_item: Item, of_item;
        visit_impl_item: ImplItem, of_impl_item;
        visit_trait_item: TraitItem, of_trait_item;
        visit_field: Field, |field| &field.attrs;
        visit_field_value: FieldValue, |value| &value.attrs;
        visit_variant: Variant, |variant| &variant.attrs;
        visit_arm: Arm, |arm| &arm.attrs;
        visit_local: Local, |local| &local.attrs;
    }
}

fn of_item(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn of_impl_item(item: &ImplItem) -> &[Attribute] {
    match item {
        ImplItem::Const(item) => &item.attrs,
        ImplItem::Fn(item) => &item.attrs,
        ImplItem::Type(item) => &item.attrs,
        ImplItem::Macro(item) => &item.attrs,
        _ => &[],
    }
}

fn of_trait_item(item: &TraitItem) -> &[Attribute] {
    match item {
        TraitItem::Const(item) => &item.attrs,
        TraitItem::Fn(item) => &item.attrs,
        TraitItem::Type(item) => &item.attrs,
        TraitItem::Macro(item) => &item.attrs,
        _ => &[],
    }
}
