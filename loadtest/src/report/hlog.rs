//! The interval log of HdrHistogram (`.hlog`): one compressed histogram for each slice of the run, tagged with its
//! operation and target, as HdrHistogram's own tools read and plot it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::charts::Series;

/// Maxima are written in milliseconds; histograms count microseconds.
const MICROS_PER_MS: f64 = 1_000.0;

/// Writes all of them, ascending by time. The measured part began at `start`.
pub(super) fn write_file(path: &Path, all: &[Series], start: SystemTime, width: Duration) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let mut out = BufWriter::new(File::create(path).with_context(failed)?);
    write(&mut out, all, start, width).with_context(failed)?;
    out.flush().with_context(failed)
}

fn write(out: &mut impl Write, all: &[Series], start: SystemTime, width: Duration) -> anyhow::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("Histograms count microseconds from the intended time of sending")
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(MICROS_PER_MS)
        .begin_log_with(out, &mut serializer)?;
    let mut lines = Vec::new();
    for (position, series) in all.iter().enumerate() {
        lines.extend(series.timeline.filled().map(|slice| (slice, position)));
    }
    lines.sort_unstable();
    for (slice, position) in lines {
        let Some(histogram) = all[position].timeline.histogram(slice) else { continue };
        let name = tame(&all[position].name);
        let at = width.saturating_mul(u32::try_from(slice).unwrap_or(u32::MAX));
        // Its errors are not errors of Rust's standard library.
        let written = log.write_histogram(&histogram, at, width, Tag::new(&name));
        written.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    }
    Ok(())
}

/// A comma or a space would end the tag.
fn tame(name: &str) -> String {
    name.replace(|c: char| c == ',' || c.is_whitespace(), "-")
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::timeline::{Counts, Timeline};

    #[test]
    fn what_is_written_is_read_back_by_the_librarys_own_reader() {
        let mut timeline = Timeline::default();
        for slice in [0, 2] {
            let done = Counts { acknowledged: 10, errors: 0 };
            timeline.take(slice, done, 10, Duration::from_millis(5));
        }
        timeline.close();
        let all = [Series { name: "read/eu-west/0 quic".into(), colour: 0, timeline }];
        let mut text = Vec::new();
        write(&mut text, &all, SystemTime::now(), Duration::from_millis(100)).unwrap();
        let mut seen = Vec::new();
        for entry in IntervalLogIterator::new(&text) {
            let Ok(LogEntry::Interval(line)) = entry else { continue };
            let encoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, line.encoded_histogram());
            let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut encoded.unwrap().as_slice()).unwrap();
            assert_eq!((line.tag().unwrap().as_str(), histogram.len()), ("read/eu-west/0-quic", 10));
            assert!((5.0..5.01).contains(&line.max()), "in milliseconds: {}", line.max());
            seen.push((line.start_timestamp(), line.duration()));
        }
        let ms = Duration::from_millis;
        assert_eq!(seen, [(ms(0), ms(100)), (ms(200), ms(100))]);
    }
}
