//! How much files may say (I6).

/// The largest file.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Descriptors within each other.
pub const DEPTH_MAX: usize = 16;
/// Descriptors of all files.
pub const DESCRIPTORS_MAX: usize = 16_384;
/// Patterns of one key beside each other: they are tried one by one.
pub const PATTERNS_MAX: usize = 256;
/// The longest domain, key, value or name.
pub const TEXT_BYTES_MAX: usize = 512;
