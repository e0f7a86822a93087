//! A body that is sent piece by piece.
//!
//! The HTTP client copies what it is given into a buffer of the connection, which keeps the size that it once had until
//! the answer has ended: a stream would hold its whole prompt a second time for as long as it lasts.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;

/// Few enough to hold for each open stream, and enough that writing costs about what it does for a whole body.
const PIECE: usize = 16 * 1024;

/// What is still to be sent.
pub(super) struct Pieces(pub(super) Bytes);

impl MessageBody for Pieces {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.0.len().min(PIECE);
        Poll::Ready(Some(Ok(self.0.split_to(length))))
    }
}
