//! From the `[ids]` section of the configuration to a layout.

use crate::config;
use crate::snowflake::{Bits, Layout, LayoutError};

/// What is wrong with the `[ids]` section.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// No moment, or one before 1970.
    #[error("ids.epoch is a moment after 1970 as in RFC 3339, for example 2025-01-01T00:00:00Z; this one is {0:?}")]
    Epoch(String),
    /// No split of 63 bits.
    #[error("ids.bits: {0}")]
    Bits(#[from] LayoutError),
}

/// The layout that the configuration asks for.
pub fn layout_of(ids: &config::Ids) -> Result<Layout, SettingError> {
    let epoch: Option<jiff::Timestamp> = ids.epoch.parse().ok();
    let epoch_ms = epoch
        .and_then(|moment| u64::try_from(moment.as_millisecond()).ok())
        .ok_or_else(|| SettingError::Epoch(ids.epoch.clone()))?;
    let config::IdBits { time, region, node, sequence } = ids.bits;
    Ok(Layout::new(epoch_ms, Bits { time, region, node, sequence })?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ids(epoch: &str, sequence: u8) -> config::Ids {
        config::Ids {
            epoch: epoch.into(),
            bits: config::IdBits { time: 41, region: 5, node: 5, sequence },
            max_backstep: Duration::from_secs(1),
            max_leap: Duration::from_secs(3_600),
            claim_wait: Duration::from_secs(3),
            wait_max: Duration::from_secs(1),
            max_absence: Duration::from_secs(86_400),
            quarantine: Duration::from_secs(10),
            exhaustion_warning: Duration::from_secs(86_400),
        }
    }

    #[test]
    fn the_documented_epoch_and_split_make_a_layout() {
        let layout = layout_of(&ids("2025-01-01T00:00:00Z", 12)).unwrap();
        assert_eq!(layout.epoch_ms(), 1_735_689_600_000);
    }

    #[test]
    fn bad_settings_are_named() {
        assert!(layout_of(&ids("yesterday", 12)).unwrap_err().to_string().contains("\"yesterday\""));
        assert!(matches!(layout_of(&ids("1969-12-31T23:59:59Z", 12)), Err(SettingError::Epoch(_))));
        assert!(layout_of(&ids("2025-01-01T00:00:00Z", 13)).unwrap_err().to_string().starts_with("ids.bits: "));
    }
}
