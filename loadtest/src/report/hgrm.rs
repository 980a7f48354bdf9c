//! Percentile files as HdrHistogram's own tools write and plot them (`.hgrm`).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use hdrhistogram::Histogram;

use crate::figures::ms;

/// Lines for each halving of the distance to 100 %, as the Java tools do by default.
const TICKS_PER_HALF: u32 = 5;
const MICROS_PER_MS: f64 = 1_000.0;

/// Writes `DIR/name.hgrm`, making the directory.
pub(super) fn write_file(directory: &Path, name: &str, histogram: &Histogram<u64>) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let file: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let mut out = BufWriter::new(File::create(directory.join(format!("{file}.hgrm")))?);
    write(&mut out, histogram)?;
    out.flush()
}

/// Writes a histogram of microseconds as percentiles in milliseconds.
pub(super) fn write(out: &mut impl Write, histogram: &Histogram<u64>) -> std::io::Result<()> {
    writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    let mut total = 0_u64;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        total = total.saturating_add(step.count_since_last_iteration());
        let (value, quantile) = (ms(step.value_iterated_to()), step.quantile_iterated_to());
        if quantile < 1.0 {
            writeln!(out, "{value:12.3} {quantile:.12} {total:10} {:14.2}", 1.0 / (1.0 - quantile))?;
        } else {
            writeln!(out, "{value:12.3} {quantile:.12} {total:10}")?;
        }
    }
    let (mean, deviation) = (histogram.mean() / MICROS_PER_MS, histogram.stdev() / MICROS_PER_MS);
    writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
    writeln!(out, "#[Max     = {:12.3}, Total count    = {:12}]", ms(histogram.max()), histogram.len())?;
    writeln!(out, "#[Buckets = {:12}, SubBuckets     = {:12}]", histogram.buckets(), 1_u64 << 11)
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::figures;
    use super::*;

    fn text(histogram: &Histogram<u64>) -> String {
        let mut out = Vec::new();
        write(&mut out, histogram).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn percentiles_ascend_to_the_maximum_and_count_everything() {
        let text = text(&figures().latency);
        let lines: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|field| field.parse().unwrap()).collect())
            .collect();
        assert!(lines.len() > 20);
        assert!(lines.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]));
        let last = lines.last().unwrap();
        assert_eq!((last[1], last[2], last.len()), (1.0, 2_000.0, 3));
        assert!(text.starts_with("       Value     Percentile TotalCount 1/(1-Percentile)\n\n"));
    }

    #[test]
    fn an_empty_histogram_is_written_too() {
        assert!(text(&crate::figures::Figures::default().latency).contains("Total count    =            0"));
    }

    #[test]
    fn file_names_are_tame() {
        let directory = tempfile::tempdir().unwrap();
        write_file(&directory.path().join("new"), "read-../eu west/0", &figures().latency).unwrap();
        assert!(directory.path().join("new/read-..-eu-west-0.hgrm").is_file());
    }
}
