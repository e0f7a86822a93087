//! `GET /v1/instances/status`: what every instance actor knows of itself.
//!
//! The fields are documented in docs/api.md, and clients build on them: more may come, none is renamed. Numbers are
//! those of the moment in which the Registry answers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix::MailboxError;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::{Site, auth};
use crate::actors::{
    DeploymentView, DescribeSharing, InstanceView, QueueView, Snapshot, Waiting, WaitingFor,
    WaitingModel,
};
use crate::correction::{self, Basis};
use crate::domain::Tokens;
use crate::error::{ApiError, Code};
use crate::health;
use crate::output_average;
use crate::proxy::Proxy;
use crate::store::Standing;

/// Longer than the instances can take; the Registry waits for them as long.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Status {
    status: &'static str,
    timestamp: u64,
    instances: Vec<Instance>,
    total_instances: usize,
    healthy_instances: usize,
    routing_strategy: &'static str,
    /// Requests that wait for capacity.
    waiting: usize,
    queue: Vec<Queued>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redis: Option<Redis>,
}

#[derive(Serialize)]
struct Queued {
    model: String,
    waiting: usize,
    longest_wait: f64,
}

/// How the quota is shared with other replicas.
#[derive(Serialize)]
pub(super) struct Redis {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    replicas: u64,
}

#[derive(Serialize)]
struct Instance {
    name: String,
    status: &'static str,
    current_tpm: u64,
    max_tpm: u64,
    tpm_usage_percent: f64,
    error_count: u64,
    last_error: Option<String>,
    rate_limited_until: Option<f64>,
    priority: u32,
    weight: u32,
    last_used: Option<f64>,
    in_flight: u32,
    available_in: f64,
    deployments: Vec<Deployment>,
    corrections: Vec<Correction>,
    expected_output: Vec<ExpectedOutput>,
}

/// One deployment. What Azure says is null until an answer has told it, and a minute after the last.
#[derive(Serialize)]
struct Deployment {
    name: String,
    limit: Option<u64>,
    used: u64,
    reserved: u64,
    in_flight: u32,
    /// Requests that wait and could be served by it, by others too.
    waiting: usize,
    requests_limit: Option<u64>,
    azure_limit: Option<u64>,
    azure_remaining: Option<u64>,
    azure_age: Option<f64>,
    drift: Option<i64>,
    cooldown_reason: Option<&'static str>,
    cooldown_from_tokens: Option<u64>,
    cooldown_until: Option<f64>,
}

#[derive(Serialize)]
struct Correction {
    model: String,
    kind: &'static str,
    factor: f64,
    offset: f64,
    answers: u64,
}

#[derive(Serialize)]
struct ExpectedOutput {
    model: String,
    tokens: u64,
    answers: u64,
}

pub(super) async fn status(
    proxy: web::Data<Proxy>,
    site: web::Data<Site>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    auth::check(&site.client_keys, request.headers())?;
    let views = snapshot(&proxy).await?;
    let queue = waiting(&proxy).await?;
    let redis = redis(&proxy).await?;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since_epoch.unwrap_or_default();
    Ok(HttpResponse::Ok().json(Status {
        status: "success",
        timestamp: now.as_secs(),
        total_instances: views.len(),
        healthy_instances: views.iter().filter(|view| is_healthy(view)).count(),
        routing_strategy: site.strategy.as_str(),
        waiting: queue.models.iter().map(|model| model.waiting).sum(),
        instances: views
            .into_iter()
            .map(|view| instance(now, view, &queue.deployments))
            .collect(),
        queue: queue.models.into_iter().map(queued).collect(),
        redis,
    }))
}

/// Asks the Registry for the state of all instances.
pub(super) async fn snapshot(proxy: &Proxy) -> Result<Vec<InstanceView>, ApiError> {
    let asked = proxy.shared().registry.send(Snapshot);
    asked.timeout(PATIENCE).await.map_err(unanswered)
}

/// Asks the Registry who waits.
async fn waiting(proxy: &Proxy) -> Result<QueueView, ApiError> {
    let asked = proxy.shared().registry.send(Waiting);
    asked.timeout(PATIENCE).await.map_err(unanswered)
}

fn unanswered(error: MailboxError) -> ApiError {
    log::error!(error:%; "the registry does not answer");
    ApiError::new(Code::Internal, "The instances do not answer.")
}

/// Asks the Registry how sharing stands; `None` if this replica is on its own.
pub(super) async fn standing(proxy: &Proxy) -> Result<Option<Standing>, ApiError> {
    let asked = proxy.shared().registry.send(DescribeSharing);
    asked.timeout(PATIENCE).await.map_err(unanswered)
}

/// Returns what status and readiness show of sharing.
pub(super) async fn redis(proxy: &Proxy) -> Result<Option<Redis>, ApiError> {
    let standing = standing(proxy).await?;
    Ok(standing.map(|standing| Redis {
        state: standing.word(),
        cause: standing.degraded,
        replicas: standing.replicas,
    }))
}

/// Says whether an instance counts as healthy.
pub(super) fn is_healthy(view: &InstanceView) -> bool {
    view.status == health::Status::Healthy
}

fn instance(now: Duration, view: InstanceView, waiting: &[WaitingFor]) -> Instance {
    let waiting = |deployment: &str| {
        let own = waiting.iter().filter(|one| one.instance == view.name);
        let same = own.filter(|one| one.deployment.as_str().eq_ignore_ascii_case(deployment));
        same.map(|one| one.waiting).sum::<usize>()
    };
    let until = |wait: Duration| millis(now + wait);
    let before = |ago: Duration| millis(now.saturating_sub(ago));
    Instance {
        name: view.name.to_string(),
        status: match view.status {
            health::Status::Healthy => "healthy",
            health::Status::RateLimited => "rate_limited",
            health::Status::Error => "error",
        },
        current_tpm: view.used.0,
        max_tpm: view.limit.0,
        tpm_usage_percent: percent(view.used, view.limit),
        error_count: view.errors,
        last_error: view.last_error,
        rate_limited_until: view.rate_limited_for.map(until),
        priority: view.priority,
        weight: view.weight,
        last_used: view.last_used.map(before),
        in_flight: view.in_flight,
        available_in: millis(view.cooling_for.unwrap_or_default()),
        deployments: view
            .deployments
            .into_iter()
            .map(|one| deployment(now, waiting(one.lane.deployment.as_str()), one))
            .collect(),
        corrections: view.corrections.into_iter().map(correction).collect(),
        expected_output: view.expected_output.into_iter().map(expected).collect(),
    }
}

fn deployment(now: Duration, waiting: usize, view: DeploymentView) -> Deployment {
    let lane = view.lane;
    let cooling = lane
        .cooling
        .map(|one| (one.limit.as_str(), one.from, one.rest));
    let parked = view
        .parked
        .map(|(why, from, rest)| (parked_for(why), from, rest));
    let cooldown = cooling.or(parked);
    Deployment {
        name: lane.deployment.to_string(),
        limit: lane.limit.map(|limit| limit.0),
        used: lane.used.0,
        reserved: lane.reserved.0,
        in_flight: lane.in_flight,
        waiting,
        requests_limit: lane.requests_limit,
        azure_limit: lane.azure.map(|azure| azure.limit.0),
        azure_remaining: lane.azure.map(|azure| azure.remaining.0),
        azure_age: lane.azure.map(|azure| millis(azure.age)),
        drift: lane.azure.map(|azure| azure.drift),
        cooldown_reason: cooldown.map(|(reason, _, _)| reason),
        cooldown_from_tokens: cooldown.map(|(_, from, _)| from.0),
        cooldown_until: cooldown.map(|(_, _, rest)| millis(now + rest)),
    }
}

fn parked_for(reason: health::Reason) -> &'static str {
    match reason {
        health::Reason::Missing => "missing",
        health::Reason::TooLargeNow => "no_capacity",
        health::Reason::OutOfCalls => "requests",
        health::Reason::Cooling(_) | health::Reason::Probing => "cooling",
    }
}

fn queued(model: WaitingModel) -> Queued {
    Queued {
        model: model.model.as_str().to_owned(),
        waiting: model.waiting,
        longest_wait: millis(model.longest),
    }
}

fn correction(learned: correction::Correction) -> Correction {
    Correction {
        model: learned.model.as_str().to_owned(),
        kind: match learned.basis {
            Basis::Counted => "counted",
            Basis::Estimated => "estimated",
        },
        factor: thousandths(learned.factor),
        offset: thousandths(learned.offset),
        answers: learned.answers,
    }
}

fn expected(learned: output_average::ExpectedOutput) -> ExpectedOutput {
    ExpectedOutput {
        model: learned.model.as_str().to_owned(),
        tokens: learned.tokens.0,
        answers: learned.answers,
    }
}

fn percent(used: Tokens, limit: Tokens) -> f64 {
    let share = used.0 as f64 / limit.0.max(1) as f64;
    (share * 1e4).round() / 100.0
}

/// Seconds, to the millisecond.
fn millis(time: Duration) -> f64 {
    thousandths(time.as_secs_f64())
}

fn thousandths(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests;
