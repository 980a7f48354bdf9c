//! What fuzzing has found, and mutations of it, the same ones each time: no decoder may fail on any of them.

use std::fs;
use std::path::Path;

use snowtide::fuzzing::{TARGETS, mutations};

/// For each target; `make fuzz` takes a million and sees which branches they take.
const MUTATIONS: usize = 2_000;

#[test]
fn no_decoder_fails_on_what_was_found_before_or_on_mutations_of_it() {
    for target in TARGETS {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
        let mut names: Vec<_> = fs::read_dir(&kept)
            .unwrap_or_else(|error| panic!("{}: {error}", kept.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        let mut corpus: Vec<Vec<u8>> = names.iter().map(|name| fs::read(name).unwrap()).collect();
        corpus.extend((target.seeds)());
        corpus.iter().for_each(|input| (target.run)(input));
        mutations(&corpus, 1, MUTATIONS).for_each(|input| (target.run)(&input));
    }
}
