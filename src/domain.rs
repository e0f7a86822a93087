//! The words that every layer shares: names, amounts, secrets, endpoints.
//!
//! Each is a newtype, so that a model is never taken for a deployment and tokens are never taken for bytes. Values
//! are cheap to clone, because they travel in messages. Parsing them from outside data is left to `config` and `openai`.

use std::fmt;
use std::sync::Arc;

pub use feature::{Feature, Features};
pub use outline::Outline;

mod feature;
mod outline;

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps `name` unchanged.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// Returns the name as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name_type!(
    /// Name of an Azure OpenAI resource as `AZURE_INSTANCES` spells it.
    InstanceName
);
name_type!(
    /// Model as a client or the configuration spells it, for instance `gpt-4o`.
    ModelName
);
name_type!(
    /// Deployment inside an Azure OpenAI resource.
    Deployment
);

/// What no deployment can be called.
const ERRANDS: &str = "(stored responses)";

impl Deployment {
    /// Returns what stands for a deployment in requests about what an instance keeps, which none serves.
    pub fn of_errands() -> Self {
        Self::new(ERRANDS)
    }

    /// Says whether it is what stands for one in such requests.
    pub fn is_of_errands(&self) -> bool {
        self.as_str() == ERRANDS
    }
}

/// Position of an instance in `AZURE_INSTANCES`, from 0: its identity inside the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub usize);

/// Model name as it is compared: lower case, letters and digits only (`gpt-3.5-turbo` is `gpt35turbo`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelKey(Arc<str>);

impl ModelKey {
    /// Reduces a spelling of a model name to what is compared.
    pub fn of(spelling: &str) -> Self {
        let kept: String = spelling
            .chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect();
        Self(kept.into())
    }

    /// Returns the reduced name; empty when the spelling had neither letter nor digit.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Deployment as it is compared: in lower case, since Azure does not tell the case of its name apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeploymentKey(Arc<str>);

impl DeploymentKey {
    /// Reduces a deployment's name to what is compared.
    pub fn of(deployment: &Deployment) -> Self {
        let name = &deployment.0;
        match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Self(name.to_ascii_lowercase().into()),
            false => Self(name.clone()),
        }
    }
}

/// An amount of tokens. Sums and differences saturate, so no input can wrap them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tokens(pub u64);

impl Tokens {
    /// No tokens.
    pub const ZERO: Self = Self(0);

    /// Subtracts, stopping at zero.
    pub fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl std::ops::Add for Tokens {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key that never appears in a log, an error or a debug print.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a key.
    pub fn new(key: impl Into<Arc<str>>) -> Self {
        Self(key.into())
    }

    /// Returns the key itself, for the one place that sends or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns what an operator may see: the last four characters of a key of sixteen or more, else only `****`.
    pub fn masked(&self) -> String {
        let count = self.0.chars().count();
        if count < 16 {
            return "****".to_owned();
        }
        let tail: String = self.0.chars().skip(count - 4).collect();
        format!("****{tail}")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(****)")
    }
}

/// The inference calls that are balanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /v1/chat/completions`
    ChatCompletions,
    /// `POST /v1/completions`
    Completions,
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /v1/responses`
    Responses,
    /// `POST /v1/responses/compact`: a conversation in fewer tokens.
    ResponsesCompact,
    /// `POST /v1/responses/input_tokens`: what a request would count as input.
    ResponsesInputTokens,
    /// `POST /v1/images/generations`
    ImageGenerations,
    /// `POST /v1/images/edits`: a form with images.
    ImageEdits,
    /// `POST /v1/audio/speech`: text in, sound out.
    Speech,
    /// `POST /v1/audio/transcriptions`: a form with a sound in, its words out.
    Transcriptions,
    /// `POST /v1/audio/translations`: the same, the words in English.
    Translations,
}

impl Endpoint {
    /// Every endpoint, for tables and metrics.
    pub const ALL: [Self; 11] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Embeddings,
        Self::Responses,
        Self::ResponsesCompact,
        Self::ResponsesInputTokens,
        Self::ImageGenerations,
        Self::ImageEdits,
        Self::Speech,
        Self::Transcriptions,
        Self::Translations,
    ];

    /// Returns the path after `/v1/`, and after `/openai/deployments/{deployment}/` or `/openai/` in Azure's dated form.
    pub fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat/completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
            Self::ResponsesCompact => "responses/compact",
            Self::ResponsesInputTokens => "responses/input_tokens",
            Self::ImageGenerations => "images/generations",
            Self::ImageEdits => "images/edits",
            Self::Speech => "audio/speech",
            Self::Transcriptions => "audio/transcriptions",
            Self::Translations => "audio/translations",
        }
    }

    /// Returns the dated api-version that has it first (Azure's API version lifecycle page), `None` if `v1` alone has it:
    /// compacting and counting came after the last dated version.
    pub fn known_since(self) -> Option<&'static str> {
        match self {
            // Every one that there was.
            Self::ChatCompletions | Self::Completions | Self::Embeddings => Some(""),
            Self::Responses => Some("2025-03-01-preview"),
            Self::ResponsesCompact | Self::ResponsesInputTokens => None,
            Self::ImageGenerations => Some("2023-12-01-preview"),
            Self::ImageEdits => Some("2025-04-01-preview"),
            Self::Speech => Some("2024-02-15-preview"),
            Self::Transcriptions | Self::Translations => Some("2023-09-01-preview"),
        }
    }

    /// Says where Azure reads the deployment when the api-version is a dated one: in the path, or in the body's `model`.
    pub fn is_under_deployment(self) -> bool {
        match self {
            Self::ChatCompletions
            | Self::Completions
            | Self::Embeddings
            | Self::ImageGenerations
            | Self::ImageEdits
            | Self::Speech
            | Self::Transcriptions
            | Self::Translations => true,
            Self::Responses | Self::ResponsesCompact | Self::ResponsesInputTokens => false,
        }
    }

    /// Says whether its body is a form with files, and not JSON.
    pub fn takes_form(self) -> bool {
        matches!(
            self,
            Self::ImageEdits | Self::Transcriptions | Self::Translations
        )
    }

    /// Says whether a resource keeps what it makes, so that later calls can come back to it.
    pub fn keeps_state(self) -> bool {
        matches!(
            self,
            Self::Responses | Self::ResponsesCompact | Self::ResponsesInputTokens
        )
    }

    /// Says whether images come of it, which Azure makes by rules of their own.
    pub fn makes_images(self) -> bool {
        matches!(self, Self::ImageGenerations | Self::ImageEdits)
    }
}

/// How instances share the load; see `routing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StrategyKind {
    /// Strictly by priority; every request starts at the top.
    Failover,
    /// The best priority tier with an available member takes all, spread inside by weight.
    Priority,
    /// In turn.
    RoundRobin,
    /// Smooth weighted round robin.
    Weighted,
    /// Lowest share of its quota in use.
    LeastLoaded,
}

impl StrategyKind {
    /// Every strategy, in the order of the documentation.
    pub const ALL: [Self; 5] = [
        Self::Failover,
        Self::Priority,
        Self::RoundRobin,
        Self::Weighted,
        Self::LeastLoaded,
    ];

    /// Returns the spelling of `AZURE_ROUTING_STRATEGY`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Priority => "priority",
            Self::RoundRobin => "round_robin",
            Self::Weighted => "weighted",
            Self::LeastLoaded => "least_loaded",
        }
    }
}

impl fmt::Display for StrategyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_model_share_a_key() {
        assert_eq!(ModelKey::of("gpt-3.5-turbo"), ModelKey::of("GPT35TURBO"));
        assert_eq!(ModelKey::of("gpt-4o").as_str(), "gpt4o");
        assert_ne!(ModelKey::of("gpt-4o"), ModelKey::of("gpt-4"));
    }

    #[test]
    fn a_secret_shows_at_most_four_characters() {
        let secret = Secret::new("0123456789abcdef0123456789abcdef");

        assert_eq!(secret.masked(), "****cdef");
        assert_eq!(format!("{secret:?}"), "Secret(****)");
        assert_eq!(Secret::new("short").masked(), "****");
    }

    #[test]
    fn tokens_never_wrap() {
        assert_eq!(Tokens(3).less(Tokens(5)), Tokens::ZERO);
        assert_eq!(Tokens(u64::MAX) + Tokens(1), Tokens(u64::MAX));
    }
}
