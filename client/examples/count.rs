//! Increments a counter at the first node that answers, and prints its value.
//!
//! `cargo run --release -p snowtide-client --example count -- certs/ca.pem visits 127.0.0.1:7410 127.0.0.1:7400`
#![allow(clippy::print_stdout)] // that is what an example is for

use std::error::Error;

use snowtide_client::Client;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(ca), Some(key)) = (arguments.next(), arguments.next()) else {
        return Err("usage: count <ca.pem> <key> <address>...".into());
    };
    let client = Client::builder().nodes(arguments).ca_pem_file(ca).connect().await?;
    let value = client.increment("default", &key, 1).await?;
    println!("{key} = {value}");
    if let Some(site) = client.site() {
        println!("counted at {site}");
    }
    client.close().await;
    Ok(())
}
