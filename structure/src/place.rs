//! What the path of a file says about it: which module it is, and whether it is a test.

/// Where a file stands in its crate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    /// The module that the file is, from the root of the crate; `None` outside of `src`.
    pub(crate) module: Option<Vec<String>>,
    /// What the file is counted under: a top-level module, or a program beside the crate such as `tests/it`.
    pub(crate) part: String,
    /// Whether the path alone makes it a test or a benchmark.
    pub(crate) is_test: bool,
}

/// The place of the file at `path` below the folder of its crate.
pub(crate) fn of(path: &str) -> Place {
    let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    let (name, folders) = parts.split_last().unwrap_or((&"", &[]));
    let first = folders.first().copied();
    let is_test = name.ends_with("tests") || folders.contains(&"tests") || first == Some("benches");
    let within = parts.get(1..).unwrap_or_default();
    match first {
        Some("src") => {
            let module = module(within);
            Place { part: module.first().cloned().unwrap_or_else(|| (*name).to_owned()), module: Some(module), is_test }
        }
        Some("examples") | None => Place { module: None, part: first.unwrap_or(name).to_owned(), is_test },
        Some(folder) => Place { module: None, part: format!("{folder}/{}", within.first().unwrap_or(&"")), is_test },
    }
}

fn module(within: &[&str]) -> Vec<String> {
    let named = match within {
        ["lib"] => &[],
        [folders @ .., "mod"] => folders,
        all => all,
    };
    named.iter().map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_which_module_a_file_is_and_whether_it_is_a_test() {
        let place = |path| {
            let Place { module, part, is_test } = of(path);
            (module.map(|module| module.join("::")), part, is_test)
        };
        let module = |path: &str| Some(path.to_owned());
        assert_eq!(place("src/lib.rs"), (module(""), "lib".to_owned(), false));
        assert_eq!(place("src/main.rs"), (module("main"), "main".to_owned(), false));
        assert_eq!(place("src/api/http/mod.rs"), (module("api::http"), "api".to_owned(), false));
        assert_eq!(place("src/node.rs"), (module("node"), "node".to_owned(), false));
        assert_eq!(place("src/store/tests/crash.rs"), (module("store::tests::crash"), "store".to_owned(), true));
        assert_eq!(place("src/crdt/law_tests.rs"), (module("crdt::law_tests"), "crdt".to_owned(), true));
        assert_eq!(place("tests/it/main.rs"), (None, "tests/it".to_owned(), true));
        assert_eq!(place("tests/http.rs"), (None, "tests/http".to_owned(), true));
        assert_eq!(place("benches/ids.rs"), (None, "benches/ids".to_owned(), true));
        assert_eq!(place("examples/first.rs"), (None, "examples".to_owned(), false));
        assert_eq!(place("fuzz.rs"), (None, "fuzz".to_owned(), false));
    }
}
