//! Commands, cut as the network pleases.

use snowtide_protocol::Action;

use super::request::{Bounds, Malformed, Scanner};
use super::{key, table};
use crate::api::bearer::Grant;
use crate::api::known::KNOWN;

/// Far below what is configured, so that their edges are met.
const BOUNDS: Bounds = Bounds { bytes_max: 4 << 10, words_max: 16 };

/// The first byte tells how long the reads are. Cutting must make no difference.
pub(crate) fn requests(bytes: &[u8]) {
    let Some((step, bytes)) = bytes.split_first() else { return };
    let step = usize::from(*step).max(1);
    assert_eq!(commands(bytes, step), commands(bytes, bytes.len().max(1)));
}

/// The words of each command, and why the rest is none.
fn commands(bytes: &[u8], step: usize) -> (Vec<Vec<Vec<u8>>>, Option<Malformed>) {
    let (mut scanner, mut found, mut begin, mut arrived) = (Scanner::default(), Vec::new(), 0, 0);
    let anyone = Grant::anyone();
    loop {
        let seen = bytes.get(begin..arrived).unwrap_or_default();
        match scanner.scan(seen, BOUNDS) {
            Ok(Some(end)) => {
                let words = scanner.words(seen);
                assert!(words.len() <= BOUNDS.words_max && end <= seen.len());
                if words.len() > 0 {
                    let _ = table::parse(words);
                }
                for word in words.iter() {
                    let _ = key::operation(&KNOWN.namespaces, &anyone, word, Action::Increment(1));
                }
                found.push(words.iter().map(<[u8]>::to_vec).collect());
                begin = begin.saturating_add(end);
                scanner.pass();
            }
            Ok(None) if arrived < bytes.len() => arrived = arrived.saturating_add(step).min(bytes.len()),
            Ok(None) => return (found, None),
            Err(malformed) => return (found, Some(malformed)),
        }
    }
}

pub(crate) fn requests_seeds() -> Vec<Vec<u8>> {
    let streams: [&[u8]; 5] = [
        b"*2\r\n$4\r\nINCR\r\n$6\r\nvisits\r\n*3\r\n$6\r\nINCRBY\r\n$8\r\nlikes:42\r\n$2\r\n-3\r\n",
        b"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$16\r\n0123456789abcdef\r\n",
        b"PING\r\nMGET a b default:c\r\n",
        b"*0\r\n*-1\r\n*1\r\n$4\r\nQUIT\r\n",
        b"*2\r\n$7\r\nCOMMAND\r\n$5\r\nCOUNT\r\n*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$1\r\nx\r\n",
    ];
    streams.iter().flat_map(|stream| [1, 255].map(|step| [[step].as_slice(), *stream].concat())).collect()
}
