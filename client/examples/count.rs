//! Increments a counter and prints its value.
//!
//! `cargo run --release -p snowtide-client --example count -- 127.0.0.1:7410 certs/ca.pem visits`
#![allow(clippy::print_stdout)] // that is what an example is for

use std::error::Error;

use snowtide_client::{Client, Config};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(ca), Some(key)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: count <host:port> <ca.pem> <key>".into());
    };
    let client = Client::connect(Config::new(address).ca_pem_file(ca)?).await?;
    let value = client.increment("default", &key, 1).await?;
    println!("{key} = {value} at {}/{}", client.welcome().region, client.welcome().node);
    client.close().await;
    Ok(())
}
