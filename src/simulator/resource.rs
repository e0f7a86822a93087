//! What a simulated resource is made of: a region, a key, deployments with their quotas, a speed.
//!
//! These are the options of `simulate` and the three resources of `demo`; how they act is left to `honest`.

use std::time::Duration;

use crate::domain::{Secret, Tokens};

/// One Azure OpenAI resource to simulate.
#[derive(Clone, Debug)]
pub struct Resource {
    pub(super) name: String,
    pub(super) region: String,
    pub(super) key: Secret,
    pub(super) deployments: Vec<SimDeployment>,
    pub(super) pace: Pace,
    pub(super) remembered: usize,
    pub(super) is_talkative: bool,
    pub(super) tells_quota: bool,
}

/// One deployment inside a resource, with its own quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimDeployment {
    pub(super) name: String,
    pub(super) model: String,
    pub(super) tpm: Tokens,
    pub(super) rpm: Option<u64>,
    pub(super) overhead: Overhead,
}

/// What a deployment reports for a prompt beyond its text, as services do that change a constant or a tokeniser.
///
/// Only `usage` shows it. The quota does not: Azure charges that from the characters of the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overhead {
    /// Share of the prompt's tokens.
    pub percent: u64,
    /// Tokens for every request.
    pub tokens: Tokens,
}

/// Deployments of every demo resource, named as Azure names the models.
const DEMO_DEPLOYMENTS: [&str; 10] = [
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-35-turbo",
    "gpt-35-turbo-instruct",
    "text-embedding-3-small",
    "text-embedding-ada-002",
    "gpt-image-1",
    "whisper-1",
    "gpt-4o-transcribe",
    "tts-1",
];

/// How fast a simulated resource answers; zero everywhere is as fast as it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// From the whole request to the response head.
    pub first_byte: Duration,
    /// Between two events of a stream.
    pub per_chunk: Duration,
}

/// A deployment that was not spelt `name`, `name=model` or `name=model:tpm`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deployment `{0}` is not of the form name=model or name=model:tpm")]
pub struct InvalidDeployment(String);

impl Resource {
    /// Starts a resource in East US with the key `simulated-key`, no deployment and no delays.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            region: "East US".to_owned(),
            key: Secret::new("simulated-key"),
            deployments: Vec::new(),
            pace: Pace::default(),
            // A test looks at hundreds at most; a resource that runs for days must not fill the memory.
            remembered: 10_000,
            is_talkative: false,
            tells_quota: true,
        }
    }

    /// Builds the three resources of `demo`: same models, unequal quotas, small enough to be exhausted by hand.
    pub fn demo() -> [Self; 3] {
        let pace = Pace {
            first_byte: Duration::from_millis(120),
            per_chunk: Duration::from_millis(25),
        };
        [
            ("east", "East US", 60_000),
            ("west", "West Europe", 40_000),
            ("north", "Sweden Central", 20_000),
        ]
        .map(|(name, region, tpm)| {
            let deployment = |name: &str| SimDeployment::new(name, name, Tokens(tpm)).rpm(600);
            let resource = Self::new(name)
                .region(region)
                .key(format!("demo-key-{name}"))
                .pace(pace)
                .remembering(0);
            DEMO_DEPLOYMENTS
                .into_iter()
                .fold(resource, |resource, name| {
                    resource.deployment(deployment(name))
                })
        })
    }

    /// Sets the region that headers and messages name, as Azure displays it.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Sets the key that callers must send.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Secret::new(key.into());
        self
    }

    /// Adds a deployment.
    #[must_use]
    pub fn deployment(mut self, deployment: SimDeployment) -> Self {
        self.deployments.push(deployment);
        self
    }

    /// Sets the speed of honest answers.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Keeps at most this many requests for `Simulator::requests`, the oldest are forgotten.
    #[must_use]
    pub fn remembering(mut self, requests: usize) -> Self {
        self.remembered = requests;
        self
    }

    /// Lets answers fill a part of the request's output cap, between a tenth and all of it, instead of an echo.
    ///
    /// Which part follows from the prompt, so that a request has the same answer everywhere.
    #[must_use]
    pub fn talkative(mut self) -> Self {
        self.is_talkative = true;
        self
    }

    /// Leaves the `x-ratelimit-*` headers out of successful answers, as gateways in front of Azure may.
    #[must_use]
    pub fn without_quota_headers(mut self) -> Self {
        self.tells_quota = false;
        self
    }

    /// Returns the name that was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the key that callers must send.
    pub fn api_key(&self) -> &Secret {
        &self.key
    }

    /// Returns the deployments in the order they were added.
    pub fn deployments(&self) -> &[SimDeployment] {
        &self.deployments
    }

    pub(super) fn find(&self, deployment: &str) -> Option<&SimDeployment> {
        self.deployments
            .iter()
            .find(|candidate| candidate.name.eq_ignore_ascii_case(deployment))
    }
}

impl Overhead {
    /// Returns what is reported for a prompt of `tokens`.
    pub(super) fn on(self, tokens: Tokens) -> Tokens {
        let share = tokens.0.saturating_mul(self.percent) / 100;
        tokens + Tokens(share) + self.tokens
    }
}

impl SimDeployment {
    /// Makes a deployment whose requests per minute follow from its tokens per minute, as Azure's do.
    pub fn new(name: impl Into<String>, model: impl Into<String>, tpm: Tokens) -> Self {
        Self {
            name: name.into(),
            model: model.into(),
            tpm,
            rpm: None,
            overhead: Overhead::default(),
        }
    }

    /// Sets the requests per minute apart from the tokens.
    #[must_use]
    pub fn rpm(mut self, rpm: u64) -> Self {
        self.rpm = Some(rpm);
        self
    }

    /// Sets what it reports for prompts beyond their text; `Simulator::set_overhead` changes it later.
    #[must_use]
    pub fn overhead(mut self, overhead: Overhead) -> Self {
        self.overhead = overhead;
        self
    }

    /// Reads `name`, `name=model` or `name=model:tpm`, the forms of `simulate --deployment`.
    pub fn parse(spelling: &str, default_tpm: Tokens) -> Result<Self, InvalidDeployment> {
        let invalid = || InvalidDeployment(spelling.to_owned());
        let (names, tpm) = match spelling.rsplit_once(':') {
            Some((names, amount)) => (names, Tokens(amount.parse().map_err(|_| invalid())?)),
            None => (spelling, default_tpm),
        };
        let (name, model) = names.split_once('=').unwrap_or((names, names));
        if name.is_empty() || model.is_empty() {
            return Err(invalid());
        }
        Ok(Self::new(name, model, tpm))
    }

    /// Returns the name that URLs carry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the model behind it.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Returns its tokens per minute.
    pub fn tpm(&self) -> Tokens {
        self.tpm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_spelt_in_three_ways() {
        let parse = |text| SimDeployment::parse(text, Tokens(9));

        assert_eq!(parse("a"), Ok(SimDeployment::new("a", "a", Tokens(9))));
        assert_eq!(parse("a=m"), Ok(SimDeployment::new("a", "m", Tokens(9))));
        assert_eq!(parse("a=m:7"), Ok(SimDeployment::new("a", "m", Tokens(7))));
        for wrong in ["", "=m", "a=", "a=m:x", "a=m:"] {
            assert_eq!(parse(wrong), Err(InvalidDeployment(wrong.to_owned())));
        }
    }

    #[test]
    fn the_demo_resources_share_models_but_not_keys() {
        let resources = Resource::demo();

        for resource in &resources {
            assert_eq!(resource.deployments().len(), 10);
        }
        assert_ne!(resources[0].api_key(), resources[1].api_key());
        assert_ne!(resources[1].api_key(), resources[2].api_key());
    }
}
