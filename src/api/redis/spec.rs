//! What is to be known of a command: how it is called and used, what `COMMAND` tells of that, and how it is parsed.

use super::command::{Command, Fault};
use super::reply::Reply;
use super::request::Words;

/// A command, or a subcommand such as `CLIENT ID`.
#[derive(Debug)]
pub(super) struct Spec {
    /// In lower case; a subcommand's own name stands behind a bar.
    pub(super) name: &'static str,
    /// How many words it has, its names included; negative: at least so many.
    arity: i64,
    flags: &'static [&'static str],
    keys: Keys,
    tips: &'static [&'static str],
    summary: &'static str,
    complexity: &'static str,
    of: Family,
    /// From words of the right number to the command.
    pub(super) parse: Parse,
    pub(super) subcommands: &'static [Self],
}

pub(super) type Parse = for<'a> fn(Words<'a>) -> Result<Command<'a>, Fault>;

/// To whom a command belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) group: &'static str,
    /// The version of Redis that has it first.
    pub(super) since: &'static str,
    pub(super) categories: &'static [&'static str],
}

/// Which words are keys, and what becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    None,
    /// The first word behind the name.
    One(&'static [&'static str]),
    /// All of them.
    All(&'static [&'static str]),
}

impl Spec {
    pub(super) const fn new(
        name: &'static str,
        arity: i64,
        flags: &'static [&'static str],
        of: Family,
        summary: &'static str,
        parse: Parse,
    ) -> Self {
        Self {
            name,
            arity,
            flags,
            keys: Keys::None,
            tips: &[],
            summary,
            complexity: "O(1)",
            of,
            parse,
            subcommands: &[],
        }
    }

    pub(super) const fn keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    pub(super) const fn tips(self, tips: &'static [&'static str]) -> Self {
        Self { tips, ..self }
    }

    pub(super) const fn takes(self, complexity: &'static str) -> Self {
        Self { complexity, ..self }
    }

    pub(super) const fn with(self, subcommands: &'static [Self]) -> Self {
        Self { subcommands, ..self }
    }

    /// Whether this is its name, in any case.
    pub(super) fn is_called(&self, name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(self.name.as_bytes())
    }

    /// Its subcommand of this name, without what stands before the bar.
    pub(super) fn subcommand(&self, name: &[u8]) -> Option<&Self> {
        let own = |spec: &Self| spec.name.split_once('|').map_or("", |(_, own)| own);
        self.subcommands.iter().find(|spec| name.eq_ignore_ascii_case(own(spec).as_bytes()))
    }

    /// Whether it may have so many words.
    pub(super) fn fits(&self, words: usize) -> bool {
        let words = i64::try_from(words).unwrap_or(i64::MAX);
        if self.arity < 0 { words >= self.arity.saturating_neg() } else { words == self.arity }
    }

    /// One row of `COMMAND` and `COMMAND INFO`: ten fields since Redis 7.0.
    pub(super) fn tell(&self, reply: &mut Reply<'_>) {
        reply.array(10);
        reply.text(self.name.as_bytes());
        reply.integer(self.arity);
        reply.set(self.flags.len());
        self.flags.iter().for_each(|flag| reply.word(flag));
        self.keys.places().into_iter().for_each(|place| reply.integer(place));
        reply.set(self.of.categories.len());
        self.of.categories.iter().for_each(|category| reply.word(category));
        reply.set(self.tips.len());
        self.tips.iter().for_each(|tip| reply.text(tip.as_bytes()));
        match self.keys {
            Keys::None => reply.set(0),
            Keys::One(flags) => tell_keys(reply, flags, 0),
            Keys::All(flags) => tell_keys(reply, flags, -1),
        }
        if self.subcommands.is_empty() {
            reply.set(0);
        } else {
            reply.array(self.subcommands.len());
            self.subcommands.iter().for_each(|spec| spec.tell(reply));
        }
    }

    /// Its name and what is told of it by `COMMAND DOCS`.
    pub(super) fn tell_docs(&self, reply: &mut Reply<'_>) {
        let Self { summary, complexity, of, subcommands, .. } = self;
        reply.text(self.name.as_bytes());
        reply.map(if subcommands.is_empty() { 4 } else { 5 });
        reply.texts([("summary", *summary), ("since", of.since), ("group", of.group), ("complexity", *complexity)]);
        if !subcommands.is_empty() {
            reply.text(b"subcommands");
            reply.map(subcommands.len());
            subcommands.iter().for_each(|spec| spec.tell_docs(reply));
        }
    }
}

impl Keys {
    /// The first key, the last and the step from one to the next.
    fn places(self) -> [i64; 3] {
        match self {
            Self::None => [0, 0, 0],
            Self::One(_) => [1, 1, 1],
            Self::All(_) => [1, -1, 1],
        }
    }
}

/// Where the keys stand: from the first word on, up to so many further.
fn tell_keys(reply: &mut Reply<'_>, flags: &[&str], last: i64) {
    reply.set(1);
    reply.map(3);
    reply.text(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.word(flag));
    for (step, kind, numbers) in [
        (&b"begin_search"[..], &b"index"[..], &[(&b"index"[..], 1)][..]),
        (b"find_keys", b"range", &[(b"lastkey", last), (b"keystep", 1), (b"limit", 0)]),
    ] {
        reply.text(step);
        reply.map(2);
        reply.text(b"type");
        reply.text(kind);
        reply.text(b"spec");
        reply.map(numbers.len());
        for (name, number) in numbers {
            reply.text(name);
            reply.integer(*number);
        }
    }
}
