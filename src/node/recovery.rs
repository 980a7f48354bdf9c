//! From the data directory to the store and what it remembers, as far as the disk has room.

use anyhow::Context;

use crate::replica::{Disk, Headroom, Recovered};
use crate::store::{self, Shortage, Store};

/// The disk has no room for the store.
pub(super) struct Short {
    pub(super) shortage: Shortage,
    /// It seemed to have.
    pub(super) tried: bool,
}

/// Opens the store, unless there is too little room, or turns out to be.
pub(super) async fn recover(
    options: &store::Options,
    names: impl Iterator<Item = String>,
) -> anyhow::Result<Result<(Store, Recovered), Short>> {
    let (options, names) = (options.clone(), names.collect::<Vec<_>>());
    let open = move || {
        if let Some(shortage) = Store::shortage(&options) {
            return Ok(Err(Short { shortage, tried: false }));
        }
        match Store::open(&options) {
            Ok(opened) => {
                opened.0.put_names(names.iter().map(String::as_str))?;
                Ok(Ok(opened))
            }
            Err(error) if error.is_shortage() && Store::is_established(&options) => {
                let shortage = Shortage {
                    disk: Disk { headroom: Headroom::None, ..Disk::default() },
                    cause: Some(error.to_string()),
                };
                Ok(Err(Short { shortage, tried: true }))
            }
            Err(error) => Err(error.into()),
        }
    };
    tokio::task::spawn_blocking(open).await.context("recovery has panicked")?
}

/// Opens it all the same, for nothing but reads.
pub(super) async fn recover_reading(options: &store::Options) -> anyhow::Result<(Store, Recovered)> {
    let options = options.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open_reading(&options));
    Ok(opened.await.context("recovery has panicked")??)
}
