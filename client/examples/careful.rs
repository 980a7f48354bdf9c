//! Takes one of a limited number of seats: reads what it wrote wherever it is answered, and does not book twice when an
//! answer is lost on the way.
//!
//! `cargo run --release -p snowtide-client --example careful -- certs/ca.pem 127.0.0.1:7410 127.0.0.1:7400`
#![allow(clippy::print_stdout)] // that is what an example is for

use std::error::Error;
use std::time::Duration;

use snowtide_client::{Client, Retries};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(ca) = arguments.next() else { return Err("usage: careful <ca.pem> <address>...".into()) };
    let client = Client::builder()
        .nodes(arguments)
        .ca_pem_file(ca)
        .request_timeout(Duration::from_secs(2))
        .retries(Retries::default().within(Duration::from_secs(5)))
        // Every read includes what was seen and written before, or goes to a node that can say so.
        .carry_tokens(Duration::from_secs(1))
        .connect()
        .await?;
    match client.increment("default", "seats/taken", 1).await {
        Ok(taken) => println!("seat {taken}"),
        // Surely not booked, however often it was tried: nothing to clear up.
        Err(error) if error.is_retryable() => println!("come back later: {error}"),
        // Perhaps booked. Somebody has to look, rather than book again.
        Err(error) if error.is_ambiguous() => println!("to be looked into: {error}"),
        Err(error) => return Err(error.into()),
    }
    println!("{} taken", client.get("default", "seats/taken").await?);
    client.close().await;
    Ok(())
}
