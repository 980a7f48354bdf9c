//! Speed, side by side: `make bench`.
//!
//! Every contender has its turn in each round, so that whatever else the machine does meets all alike; the median of
//! the rounds counts, and ratios are taken within a round. It measures real processes over loopback, with the load
//! generator on the same machine, and holds each row against a goal. `BENCH=words` chooses sections, `BENCH_ROUNDS=n`
//! the rounds, `BENCH_JSON=file` where everything is written for programs.

// A report: what it prints is its purpose, and it may fail loudly.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::cast_precision_loss)]

mod book;
mod capacity;
mod cost;
mod doors;
mod drive;
mod limits;
mod overload;
mod regions;
mod singles;
mod tools;

use std::path::PathBuf;

use book::Book;

/// The program under test.
fn snowtide() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_snowtide"))
}

fn main() {
    let words = std::env::var("BENCH").unwrap_or_default();
    let chosen = |section: &str| words.is_empty() || words.split_whitespace().any(|word| section.contains(word));
    let rounds = std::env::var("BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut book = Book::new(rounds);
    runtime.block_on(async {
        if chosen("doors") {
            doors::measure(&mut book, rounds).await;
        }
        if chosen("singles") {
            singles::measure(&mut book, rounds).await;
        }
        if chosen("overload") {
            overload::measure(&mut book, rounds).await;
        }
        if chosen("capacity") {
            capacity::measure(&mut book).await;
        }
        if chosen("limits") {
            limits::measure(&mut book, rounds).await;
        }
        if chosen("regions") {
            regions::measure(&mut book).await;
        }
    });
    book.print();
    if let Some(path) = std::env::var_os("BENCH_JSON") {
        std::fs::write(&path, book.json()).unwrap();
        eprintln!("written to {}", PathBuf::from(path).display());
    }
}
