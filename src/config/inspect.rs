//! The inspection: values against the schema. It finds every problem, each with its file, key and value.

use figment::Figment;
use figment::value::{Dict, Value};

use super::error::Problem;
use super::origin::{Origin, Setting, literal};
use crate::section::Kind;
use crate::section::shape::Shape;

const REDACTED: &str = "(redacted)";

/// Goes through merged values.
pub(super) struct Inspection<'a> {
    figment: &'a Figment,
    problems: Vec<Problem>,
}

impl<'a> Inspection<'a> {
    /// Every problem of `values`. Problems of the whole stand at `whole`.
    pub(super) fn run(figment: &'a Figment, shape: &Shape, values: &Value, whole: &Origin) -> Vec<Problem> {
        let mut inspection = Self { figment, problems: Vec::new() };
        inspection.value(shape, values, "", whole);
        inspection.problems
    }

    fn value(&mut self, shape: &Shape, value: &Value, path: &str, within: &Origin) {
        if !shape.accepts(value) {
            return self.refuse(shape, value, path);
        }
        match (shape, value) {
            (Shape::Table(_), Value::Dict(_, dict)) => {
                self.table(shape, dict, path);
                self.missing(shape, dict, path, within);
            }
            (Shape::Named { names, each }, Value::Dict(_, dict)) => self.named(names, each, dict, path),
            (Shape::List(each), Value::Array(_, items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(each, item, &format!("{path}[{index}]"), &self.origin(item));
                }
            }
            _ => {}
        }
    }

    fn table(&mut self, shape: &Shape, dict: &Dict, path: &str) {
        for (key, value) in dict {
            match shape.child(key) {
                Some(child) => self.value(child, value, &join(path, key), &self.origin(value)),
                None => self.problems.push(Problem::UnknownKey {
                    origin: self.origin(deepest(value)),
                    key: join(path, key),
                    hint: hint(shape, key),
                }),
            }
        }
    }

    fn missing(&mut self, shape: &Shape, dict: &Dict, path: &str, within: &Origin) {
        for field in shape.keys().filter(|field| field.kind == Kind::Must && !dict.contains_key(field.key)) {
            self.problems.push(Problem::Missing {
                origin: within.clone(),
                key: join(path, field.key),
                allowed: field.shape.to_string(),
            });
        }
    }

    fn named(&mut self, names: &Shape, each: &Shape, dict: &Dict, path: &str) {
        for (name, value) in dict {
            if !names.accepts(&Value::from(name.as_str())) {
                self.problems.push(Problem::Refused {
                    origin: self.origin(deepest(value)),
                    key: path.to_owned(),
                    value: literal(&Value::from(name.as_str())),
                    reason: format!("allowed as a name: {names}"),
                });
            } else if let Some(dict) = value.as_dict() {
                self.table(each, dict, &join(path, name));
            } else {
                self.refuse(each, value, &join(path, name));
            }
        }
    }

    fn refuse(&mut self, shape: &Shape, value: &Value, path: &str) {
        self.problems.push(Problem::Refused {
            origin: self.origin(value),
            key: path.to_owned(),
            value: if shape.holds_secret() { REDACTED.to_owned() } else { literal(value) },
            reason: format!("allowed: {shape}"),
        });
    }

    fn origin(&self, value: &Value) -> Origin {
        origin(self.figment, value)
    }
}

/// The layer that set this value.
pub(super) fn origin(figment: &Figment, value: &Value) -> Origin {
    Origin::of(figment.get_metadata(value.tag()))
}

/// Every single value, sorted by key, secrets taken out.
pub(super) fn settings(figment: &Figment, shape: &Shape, values: &Value) -> Vec<Setting> {
    let mut found = Vec::new();
    collect(figment, shape, values, "", &mut found);
    found
}

fn collect(figment: &Figment, shape: &Shape, value: &Value, path: &str, found: &mut Vec<Setting>) {
    match (shape, value) {
        (Shape::Table(_) | Shape::Named { .. }, Value::Dict(_, dict)) if !dict.is_empty() => {
            for (key, value) in dict {
                if let Some(child) = shape.child(key) {
                    collect(figment, child, value, &join(path, key), found);
                }
            }
        }
        _ => {
            let (value, origin) = (redacted(shape, value), origin(figment, value));
            found.push(Setting { key: path.to_owned(), value, origin });
        }
    }
}

fn redacted(shape: &Shape, value: &Value) -> Value {
    match (shape, value) {
        // That there is none is no secret, and can be read back.
        (Shape::Secret { .. }, value) if value.as_str() == Some("") => value.clone(),
        (Shape::Secret { .. }, _) => Value::from(REDACTED),
        (Shape::List(each), Value::Array(tag, items)) => {
            Value::Array(*tag, items.iter().map(|item| redacted(each, item)).collect())
        }
        (Shape::Table(_), Value::Dict(tag, dict)) => {
            let known = dict.iter().filter_map(|(key, value)| Some((key, shape.child(key)?, value)));
            Value::Dict(*tag, known.map(|(key, child, value)| (key.clone(), redacted(child, value))).collect())
        }
        _ => value.clone(),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The first value inside: a table carries the mark of the last layer that touched it, a single value that of its own.
fn deepest(value: &Value) -> &Value {
    match value.as_dict().and_then(|dict| dict.values().next()) {
        Some(inner) => deepest(inner),
        None => value,
    }
}

fn hint(table: &Shape, key: &str) -> String {
    if table.has_fixed(key) {
        return "what it set is fixed now".to_owned();
    }
    if let Some(successor) = table.moved_to(key) {
        return format!("{successor} has taken its place");
    }
    match nearest(table, key) {
        Some(near) => format!("did you mean {near}?"),
        None => {
            let keys: Vec<_> = table.keys().map(|field| field.key).collect();
            format!("the keys here are {}", keys.join(", "))
        }
    }
}

/// The key of a table that needs the fewest edits, if they are few.
pub(super) fn nearest(table: &Shape, key: &str) -> Option<&'static str> {
    // A key that is far too long is nobody's misspelling, and not worth the comparison.
    let edits_max = if key.len() > 64 { return None } else { 1 + key.len() / 4 };
    let measured = table.keys().map(|field| (edits(field.key.as_bytes(), key.as_bytes()), field.key));
    measured.min().filter(|(edits, _)| *edits <= edits_max).map(|(_, near)| near)
}

/// Levenshtein's distance, one row at a time.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let first: Vec<usize> = (0..=b.len()).collect();
    let last = a.iter().enumerate().fold(first, |above, (line, of_a)| {
        let mut row = vec![line + 1];
        for ((of_b, diagonal), over) in b.iter().zip(&above).zip(above.iter().skip(1)) {
            let left = row.last().copied().unwrap_or_default();
            row.push((left + 1).min(over + 1).min(diagonal + usize::from(of_a != of_b)));
        }
        row
    });
    last.last().copied().unwrap_or_default()
}
