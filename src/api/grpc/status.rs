//! Refusals in the words of gRPC.

use snowtide_protocol::Code;
use tonic::{Code as Grpc, Status};

use crate::api::Refused;

/// The status of a refusal. Whatever may go better at another node, or later, is `UNAVAILABLE`.
pub(super) fn of(refused: &Refused) -> Status {
    let code = match refused.code.http_status() {
        400 => Grpc::InvalidArgument,
        401 => Grpc::Unauthenticated,
        403 => Grpc::PermissionDenied,
        404 => Grpc::NotFound,
        413 => Grpc::ResourceExhausted,
        429 | 503 => Grpc::Unavailable,
        500 => Grpc::Internal,
        504 => Grpc::DeadlineExceeded,
        _ => Grpc::FailedPrecondition,
    };
    Status::new(code, refused.detail.clone())
}

/// What metrics call a status that gRPC itself has answered.
pub(super) fn code(status: &Status) -> Code {
    match status.code() {
        Grpc::Unauthenticated => Code::Unauthenticated,
        Grpc::PermissionDenied => Code::Forbidden,
        Grpc::ResourceExhausted | Grpc::OutOfRange => Code::TooLarge,
        Grpc::Unavailable => Code::Overloaded,
        Grpc::DeadlineExceeded => Code::Timeout,
        _ => Code::InvalidRequest,
    }
}
