//! The answer to a request for a lease: at once where that is possible, without a task or a channel of its own.

use actix::dev::{MessageResponse, OneshotSender};
use actix::prelude::*;

use super::lease::Lease;
use super::messages::{Acquire, Unavailable};
use super::registry::Registry;

/// What a request that asks for a lease gets.
pub type Answer = Result<Lease, Unavailable>;

/// The answer to an `Acquire`, or the promise of one.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are answered at once, and a box would cost each of them an allocation"
)]
pub enum Reply {
    /// At once.
    Now(Answer),
    /// From the queue, or after the store was asked.
    Later(ResponseFuture<Answer>),
}

impl Reply {
    /// Waits for the answer.
    pub(super) async fn answer(self) -> Answer {
        match self {
            Self::Now(answer) => answer,
            Self::Later(answer) => answer.await,
        }
    }
}

impl MessageResponse<Registry, Acquire> for Reply {
    fn handle(self, ctx: &mut Context<Registry>, sender: Option<OneshotSender<Answer>>) {
        match self {
            Self::Now(answer) => {
                if let Some(sender) = sender {
                    // Nobody listens any more if the client has left; then the lease gives itself back.
                    let _ = sender.send(answer);
                }
            }
            Self::Later(answer) => {
                MessageResponse::<Registry, Acquire>::handle(answer, ctx, sender);
            }
        }
    }
}
