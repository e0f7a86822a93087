//! The proxy over real sockets, in front of simulated Azure OpenAI resources.

mod helpers;
mod relay;
