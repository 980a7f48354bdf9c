//! What a fuzzer tries on the front doors: bytes from anybody who reaches one.

pub(crate) use super::http::fuzzed::{parameters as http_parameters, parameters_seeds as http_parameters_seeds};
pub(crate) use super::quic::fuzzed::{frames as client_frames, frames_seeds as client_frames_seeds};
pub(crate) use super::redis::fuzzed::{requests as redis_requests, requests_seeds as redis_requests_seeds};
