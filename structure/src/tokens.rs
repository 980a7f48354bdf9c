//! What the tokens of a file say without its grammar: which lines hold code, which words stand where, and which paths.
//!
//! Reading tokens rather than syn's tree makes the inside of a macro's call no different from any other code.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Ident, LineColumn, Span, TokenStream, TokenTree};

/// A word of the code, or a path of several, and where it begins.
pub(crate) struct Found<T> {
    pub(crate) what: T,
    pub(crate) at: LineColumn,
}

/// The lines of `text` with code on them, counted from one. Comments, also those that document items, are no code.
pub(crate) fn lines(text: &str, tokens: &TokenStream) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    let is_comment = |span: Span| {
        let rest = text.get(span.byte_range().start..).unwrap_or_default();
        rest.starts_with("//") || rest.starts_with("/*")
    };
    each(tokens, &mut |token| {
        let (first, last) = match token {
            TokenTree::Group(group) => (group.span_open(), group.span_close()),
            token => (token.span(), token.span()),
        };
        if !is_comment(first) {
            lines.extend([first, last].into_iter().flat_map(|span| span.start().line..=span.end().line));
        }
    });
    lines
}

/// Every identifier, keywords included.
pub(crate) fn words(tokens: &TokenStream) -> Vec<Found<String>> {
    let mut words = Vec::new();
    each(tokens, &mut |token| {
        if let TokenTree::Ident(ident) = token {
            words.push(Found { what: word(ident), at: ident.span().start() });
        }
    });
    words
}

fn each(tokens: &TokenStream, see: &mut impl FnMut(&TokenTree)) {
    for token in tokens.clone() {
        see(&token);
        if let TokenTree::Group(group) = &token {
            each(&group.stream(), see);
        }
    }
}

fn word(ident: &Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}

/// Every path of two names or more, such as `a::b::c`, and each that the groups of an import spell out: `a::{b, c::{d}}`
/// are `a::b` and `a::c::d`, and `a::{self}` and `a::*` are `a`. What stands between `<` and `>` is not part of a path,
/// but may hold paths of its own.
pub(crate) fn paths(tokens: &TokenStream) -> Vec<Path> {
    let mut found = Vec::new();
    scan(tokens.clone(), &[], &mut found);
    found
}

type Path = Found<Vec<String>>;

/// Finds the paths in `tokens`; within the group of an import each begins with `prefix`, which is empty elsewhere.
fn scan(tokens: TokenStream, prefix: &[String], found: &mut Vec<Path>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let (mut rest, mut after_use) = (tokens.as_slice(), false);
    while let [token, behind @ ..] = rest {
        rest = behind;
        match token {
            // Groups of imports may stand in each other: `a::{{b, c}}`.
            TokenTree::Group(group) => scan(group.stream(), prefix, found),
            TokenTree::Punct(punct) if punct.as_char() == '\'' => rest = behind.get(1..).unwrap_or_default(),
            TokenTree::Punct(punct) if punct.as_char() == '*' && !prefix.is_empty() => {
                found.push(Found { what: prefix.to_vec(), at: punct.span().start() });
            }
            TokenTree::Ident(ident) if ident == "as" && !prefix.is_empty() => {
                rest = behind.get(1..).unwrap_or_default();
            }
            TokenTree::Ident(ident) => {
                rest = path(ident, behind, prefix, after_use, found);
                after_use = ident == "use";
            }
            _ => {}
        }
    }
}

/// Follows the path that begins with `first` to its end, or into its groups; returns what stands behind it.
fn path<'t>(
    first: &Ident,
    mut rest: &'t [TokenTree],
    prefix: &[String],
    after_use: bool,
    found: &mut Vec<Path>,
) -> &'t [TokenTree] {
    let at = first.span().start();
    let mut what = prefix.to_vec();
    if prefix.is_empty() || first != "self" {
        what.push(word(first));
    }
    while let Some((next, behind)) = behind_colons(rest) {
        match next {
            TokenTree::Ident(name) => what.push(word(name)),
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                scan(group.stream(), &what, found);
                return behind;
            }
            TokenTree::Punct(punct) if punct.as_char() == '*' => {}
            _ => break,
        }
        rest = behind;
    }
    if what.len() > 1 || after_use || !prefix.is_empty() {
        found.push(Found { what, at });
    }
    rest
}

/// The token behind `::`, and what stands behind that; `None` if there is no `::` next.
fn behind_colons(rest: &[TokenTree]) -> Option<(&TokenTree, &[TokenTree])> {
    let is_colon = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':');
    match rest {
        [one, other, next, behind @ ..] if is_colon(one) && is_colon(other) => Some((next, behind)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths_of(text: &str) -> Vec<String> {
        paths(&text.parse().unwrap()).into_iter().map(|found| found.what.join("::")).collect()
    }

    #[test]
    fn imports_are_spelled_out() {
        assert_eq!(paths_of("use a::{b, c::{self, d as e, f::*}};"), ["a::b", "a::c", "a::c::d", "a::c::f"]);
        assert_eq!(paths_of("use a::{{b::{c}}, d};"), ["a::b::c", "a::d"]);
        assert_eq!(paths_of("pub use tokio; use tokio as t;"), ["tokio", "tokio"]);
    }

    #[test]
    fn paths_are_found_in_expressions_types_and_macros() {
        assert_eq!(
            paths_of("fn f(x: &'static a::B<c::D>) -> <e::F as g::H>::I { x as i::J }").join(" "),
            "a::B c::D e::F g::H i::J"
        );
        assert_eq!(
            paths_of("tracing::debug!(x = %crate::clock::wall_ms(), \"no::path\");").join(" "),
            "tracing::debug crate::clock::wall_ms"
        );
        assert_eq!(paths_of("x.iter().collect::<Vec<_>>(); Place { a: b::C, ..d::E }").join(" "), "b::C d::E");
        assert_eq!(
            paths_of("match x { a::B { c } => super::super::d::E, r#type::F => 0 }").join(" "),
            "a::B super::super::d::E type::F"
        );
    }

    #[test]
    fn comments_and_blank_lines_are_no_code_and_long_strings_are() {
        let text = "//! Head.\n\n/// Doc.\n/** more\n */\nfn f() {\n    // why\n    g(\"a\n\n    b\");\n\n}\n";
        let lines: Vec<_> = lines(text, &text.parse().unwrap()).into_iter().collect();
        assert_eq!(lines, [6, 8, 9, 10, 12]);
    }
}
