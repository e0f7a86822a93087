//! Azure OpenAI Proxy: one OpenAI-compatible endpoint in front of many Azure OpenAI resources.

pub mod config;
pub mod domain;
pub mod openai;
pub mod simulator;
pub mod tokens;
