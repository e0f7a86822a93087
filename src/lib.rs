//! Azure OpenAI Proxy: one OpenAI-compatible endpoint in front of many Azure OpenAI resources.

pub mod actors;
pub mod app;
pub mod config;
pub mod domain;
pub mod error;
pub mod health;
pub mod http;
pub mod metrics;
pub mod openai;
pub mod output_average;
pub mod proxy;
pub mod routing;
pub mod simulator;
pub mod telemetry;
pub mod tokens;
pub mod window;
