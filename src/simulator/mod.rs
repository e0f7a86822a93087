//! A simulated Azure OpenAI resource, for tests, `demo` and `simulate`.
//!
//! It is a plain HTTP/1.1 server over a TCP listener, so that faults can be played on the socket itself: an answer cut
//! inside a chunk, a reset, a silence. Without a script it behaves as Azure was measured to: keys, api-versions,
//! deployments, the token log charged at admission, rate limit headers, 429 bodies, SSE with the filter preamble.
//!
//! [`Simulator`] is the running server, [`Resource`] what it simulates, [`Play`] one scripted behaviour. `route`,
//! `gate`, `charge`, `quota`, `throttle`, `errors` and `answers` are pure; `connection` and `perform` move the bytes.

mod answers;
mod ask;
mod books;
mod charge;
mod connection;
mod errors;
mod gate;
mod honest;
mod perform;
mod quota;
mod references;
mod reply;
mod resource;
mod route;
mod script;
mod server;
mod shelf;
mod stage;
mod talks;
mod throttle;
mod wire;

pub use books::{Counters, Seen};
pub use reply::Mark;
pub use resource::{InvalidDeployment, Overhead, Pace, Resource, SimDeployment};
pub use script::{Answer, Chunking, Cut, Play};
pub use server::Simulator;
pub use throttle::{Hint, Throttle};

#[cfg(test)]
mod tests;
