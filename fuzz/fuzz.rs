//! Searches for inputs that a decoder does not survive, guided by the branches that an input takes (libFuzzer).
//!
//! `FUZZ_TARGET` names one of [`snowtide::fuzzing::TARGETS`]; arguments are libFuzzer's. Without a target it lists them.
//! `FUZZ_SEEDS` names a folder into which the target's real encodings are written, to begin with. An input that fails is
//! written to the working directory; give its name as the only argument to see it fail again.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use snowtide::fuzzing::{self, TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let target = fuzzing::find(&name).unwrap_or_else(|| {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        std::process::exit(2)
    });
    if let Some(folder) = std::env::var_os("FUZZ_SEEDS") {
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(Path::new(&folder).join(format!("seed-{number}")), seed).expect("the folder can be written");
        }
        std::process::exit(0);
    }
    target
});

libfuzzer_sys::fuzz_target!(init: LazyLock::force(&TARGET), |bytes: &[u8]| (TARGET.run)(bytes));
