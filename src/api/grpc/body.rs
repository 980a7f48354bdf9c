//! Reading the body of one call: bounded, charged while it comes, and whole before anything is made of it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use tonic::Status;

use crate::api::budget::{Account, Charge, NoRoom, Owed, Purpose};

/// The largest message that this door reads. A request of Envoy's has some hundred bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// In front of each message stand its length and whether it is compressed.
const PREFIX_BYTES: usize = 5;
/// A body may be copied once as it grows.
const COPIES: usize = 2;

/// The body, and what it costs as long as it is there.
pub(super) async fn whole<B>(body: B, account: Option<&Arc<Account>>) -> Result<(Bytes, Option<Charge>), Status>
where
    B: Body<Data = Bytes>,
    B::Error: Into<axum::BoxError>,
{
    let mut body = std::pin::pin!(Limited::new(body, MESSAGE_BYTES_MAX + PREFIX_BYTES));
    let (mut received, mut owed) = (BytesMut::new(), account.map(Account::owe));
    let mut charge = account.map(Account::nothing);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| broken_off(&error))?.into_data() else { continue };
        account.inspect(|account| account.hear());
        let bytes = received.len().saturating_add(data.len()).saturating_mul(COPIES);
        charge.as_mut().map_or(Ok(()), |charge| charge.resize(bytes, Purpose::Request)).map_err(no_room)?;
        received.extend_from_slice(&data);
        owed.iter_mut().for_each(Owed::moved);
    }
    Ok((received.freeze(), charge))
}

fn broken_off(error: &axum::BoxError) -> Status {
    if error.is::<http_body_util::LengthLimitError>() {
        Status::resource_exhausted(format!("a message has at most {MESSAGE_BYTES_MAX} bytes"))
    } else {
        Status::cancelled("the request ended early")
    }
}

fn no_room(no_room: NoRoom) -> Status {
    Status::unavailable(no_room.to_string())
}
