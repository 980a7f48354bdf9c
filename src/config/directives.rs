//! The directives of `log.filter`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// The filter that these directives are, with white space around each or without.
///
/// The parser itself looks past such space and then cuts names out at places that are as many bytes too early: a name
/// loses its last letter, or the process panics in the middle of one.
pub fn log_filter(directives: &str) -> Result<EnvFilter, ParseError> {
    let directives: Vec<&str> = directives.split(',').map(str::trim).collect();
    EnvFilter::try_new(directives.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_directives_means_nothing() {
        let text = |directives| log_filter(directives).unwrap().to_string();
        assert_eq!(text(" info,  snowtide=debug "), text("info,snowtide=debug"));
        assert!(text("info, snowtide=debug").contains("snowtide=debug"));
        for broken in ["\u{a0}\u{10a0c}=", "\u{a0}\u{10a0c}=\u{a0}x[", " \u{10a0c}[\u{10a0c}"] {
            let _ = log_filter(broken);
        }
    }
}
