//! What `docs/client.md` shows, at addresses of one's own. A test holds the two together.
//!
//! `cargo run --release -p snowtide-client --example first -- 127.0.0.1:7410 127.0.0.1:7400`
#![allow(clippy::print_stdout)] // that is what an example is for

use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    use snowtide_client::Client;

    let regions = std::env::args().skip(1); // the second if the first cannot be used
    let client = Client::builder().nodes(regions).ca_pem_file("certs/ca.pem").connect().await?;
    let likes = client.increment("default", "likes/42", 1).await?;
    let ids = client.ids(100).await?;
    println!("{likes} likes, {} ids", ids.len());
    Ok(())
}
