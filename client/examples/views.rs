//! Counts many page views with few requests: increments of the same page are merged.
//!
//! `cargo run --release -p snowtide-client --example views -- certs/ca.pem 127.0.0.1:7410`
#![allow(clippy::print_stdout)] // that is what an example is for

use std::error::Error;
use std::time::Duration;

use snowtide_client::{Client, Coalescing};

const VIEWS: u32 = 100_000;
const PAGES: u32 = 7;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(ca) = arguments.next() else { return Err("usage: views <ca.pem> <address>...".into()) };
    let client = Client::builder().nodes(arguments).nearest_first().ca_pem_file(ca).connect().await?;
    let views = client.coalescer(Coalescing::default().delay(Duration::from_millis(5)))?;
    for view in 0..VIEWS {
        // Waits only if two batches are full.
        views.add("default", &format!("page/{}", view % PAGES), 1).await?;
    }
    // Says how many were not counted, if not all were.
    views.flush().await?;
    let mut total = 0;
    for page in 0..PAGES {
        total += client.get("default", &format!("page/{page}")).await?;
    }
    println!("{total} views of {PAGES} pages");
    client.close().await;
    Ok(())
}
