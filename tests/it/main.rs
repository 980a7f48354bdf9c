//! Tests of the whole: real processes, real parts.

mod architecture;
