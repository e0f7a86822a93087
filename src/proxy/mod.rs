//! Carrying a request to an instance and its answer back.
//!
//! The life of a request: weigh it (`weigh`), then for each instance that the Registry leases: send (`upstream`), judge
//! the head (`verdict`), begin the answer (`relay`) and, once something can be shown, hand it to the client; until then
//! any failure moves on to the next instance. Each instance is tried once at most (`carry` knows the one
//! exception). `account` owes the settlement and
//! the log line on every path out, a dropped future included, so a client that leaves ends everything at once.
//! What is asked for and what the client sees of our own errors is left to `http` and `error`.

mod account;
mod carry;
mod connector;
mod continued;
mod declined;
mod eligible;
mod ending;
pub mod errand;
mod foreign;
mod give_up;
pub mod headers;
mod interim;
mod makers;
mod outflow;
mod past;
mod pieces;
mod pool;
mod quiet;
mod quota_headers;
mod relay;
pub mod retry_after;
mod silence;
mod upstream;
pub mod verdict;
mod weigh;

use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use actix::Addr;
use actix_http::StatusCode;
use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use bytes::Bytes;
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use self::connector::{tls_config, tls_config_with};

use self::account::Account;
pub use self::makers::Makers;
pub use self::outflow::Upload;
pub use self::quiet::keep_known;

use self::continued::with_history;
use self::declined::Declined;
use self::ending::{succeed, with_headers};
use self::errand::{Errand, Job};
use self::foreign::{Foreign, Search, ties};
use self::give_up::Last;
use self::pool::Pool;
use self::relay::{Broken, Form, Sorting};
use self::silence::fail;
use self::upstream::{NoAnswer, Target, Upstream};
use crate::actors::{Gauge, Lease, Outbox, Registry, Unavailable};
use crate::config::{InstanceConfig, Timeouts};
use crate::domain::{Features, InstanceId, ModelKey, ModelName};
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::openai::request::Ask;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_PROXY_INSTANCE: HeaderName = HeaderName::from_static("x-proxy-instance");
const X_PROXY_ATTEMPTS: HeaderName = HeaderName::from_static("x-proxy-attempts");

/// What the worker threads share.
pub struct Shared {
    /// Answers selection messages.
    pub registry: Addr<Registry>,
    /// What the instances publish, in the order of the configuration.
    pub gauges: Vec<Arc<Gauge>>,
    /// The instances, in the order of the configuration.
    pub instances: Vec<Arc<InstanceConfig>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Bounds on an upstream's silence.
    pub timeouts: Timeouts,
    /// `AZURE_FILTER_CHUNKS=keep`
    pub keeps_filter_chunks: bool,
    /// How long a request may wait for capacity.
    pub queue_timeout: Duration,
    /// TLS towards upstreams.
    pub tls: Arc<ClientConfig>,
    /// Who made the responses that clients come back to.
    pub makers: Makers,
    /// Bounds the counts that run off the workers at the same time, and with them their memory.
    pub counting: Semaphore,
    /// Fields of which the operator has been told that some instances do not know them.
    pub unknown_fields: Mutex<Features>,
}

/// A request that has been read.
pub struct Call {
    /// Its fields that matter here.
    pub ask: Ask,
    /// Its model as it is compared.
    pub key: ModelKey,
    /// Its JSON as it came; empty if it is a form.
    pub body: Bytes,
    /// Its form.
    pub upload: Option<Upload>,
    /// Those of its headers that may go up.
    pub headers: HeaderMap,
    /// Name of the client key, for the log.
    pub client: Option<String>,
    /// It came over one of Azure's own paths, so the client expects Azure's own words.
    pub is_azure: bool,
}

/// The proxy of one worker thread.
pub struct Proxy {
    shared: Arc<Shared>,
    outbox: Rc<Outbox>,
    targets: Vec<Target>,
    upstream: Upstream,
}

/// Where an attempt leaves the request.
enum Step {
    Done(HttpResponse),
    Next(Box<Account>, Last),
    /// Another instance has what this one lacks.
    Elsewhere(Box<Account>, Foreign, Last),
}

impl Proxy {
    /// Builds the proxy of the current thread.
    ///
    /// # Errors
    /// If an instance cannot be addressed; `config` has ruled that out.
    pub fn new(shared: Arc<Shared>) -> Result<Self, String> {
        let mut targets = Vec::with_capacity(shared.instances.len());
        for config in &shared.instances {
            let target = Target::new(config)
                .ok_or_else(|| format!("instance {} cannot be addressed", config.name))?;
            targets.push(target);
        }
        let upstream = Upstream::new(shared.tls.clone(), shared.timeouts, &targets);
        Ok(Self {
            outbox: Outbox::new(shared.registry.clone()),
            shared,
            targets,
            upstream,
        })
    }

    /// Returns what the workers share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Logs and counts a request that was refused before it became a call.
    pub fn note_refused(&self, endpoint: &'static str, error: &ApiError) {
        let status = error.status_code().as_u16();
        self.shared.metrics.refused(endpoint, status);
        log::info!(
            request_id = error.request_id(), endpoint, status, code = error.code().as_str();
            "request refused"
        );
    }

    /// Serves a request: the answer of an instance, or our own error.
    pub async fn serve(&self, call: Call) -> Result<HttpResponse, ApiError> {
        let job = Job::Call(&call);
        let account = Account::open(self.shared.clone(), self.outbox.clone(), job);
        let want = weigh::want(&self.shared, &call).await;
        let want = with_history(&self.shared, &call, want);
        self.carry(account, want, job).await
    }

    /// Serves a call about a response that an instance keeps.
    pub async fn run(&self, errand: Errand) -> Result<HttpResponse, ApiError> {
        let job = Job::Errand(&errand);
        let account = Account::open(self.shared.clone(), self.outbox.clone(), job);
        self.carry(account, errand.want(), job).await
    }

    async fn attempt(&self, mut account: Box<Account>, lease: Lease, job: Job<'_>) -> Step {
        let id = lease.id();
        let config = lease.instance().clone();
        let Some(target) = self.targets.get(id.0) else {
            return fail(account, NoAnswer::broken("the instance has no address"));
        };
        let deployment = lease.deployment().clone();
        account.hold(lease);
        let adds_usage = job.adds_usage(&config);
        let outgoing = job.outgoing(target, &deployment, adds_usage);
        let sent_at = Instant::now();
        let answer = match self.upstream.send(target, outgoing).await {
            Ok(answer) => answer,
            Err(no_answer) => return fail(account, no_answer),
        };
        let status = answer.status();
        let (headers, answer) = upstream::take_headers(answer);
        if !status.is_success() {
            return match Declined::read(headers, answer, self.shared.timeouts.idle).await {
                Ok(declined) => self.declined(account, declined, id, job),
                Err(no_answer) => fail(account, no_answer),
            };
        }
        account.heard(quota_headers::said(&headers));
        let sorting = self.sorting(job, adds_usage, sent_at);
        let form = Form::of(&headers);
        let headers = self.headers(headers, id, &mut account);
        match relay::begin(answer, form, sorting).await {
            Ok(begun) => {
                if let Some(named) = ties(job).next() {
                    self.shared.makers.found(named, id);
                }
                Step::Done(succeed(account, status, headers, begun))
            }
            Err(Broken::Cut(no_answer)) => fail(account, no_answer),
            Err(Broken::Error(error)) => {
                self.declined(account, Declined::in_stream(error), id, job)
            }
        }
    }

    fn sorting(&self, job: Job<'_>, adds_usage: bool, sent_at: Instant) -> Sorting {
        let (is_kept, answers) = match job {
            Job::Call(call) => (false, call.ask.completions),
            Job::Errand(_) => (true, 1),
        };
        Sorting {
            dialect: job.dialect(),
            hides_usage: adds_usage,
            hides_filters: !(job.is_azure() || self.shared.keeps_filter_chunks),
            is_kept,
            answers,
            deadline: sent_at + self.shared.timeouts.first_byte,
            idle: self.shared.timeouts.idle,
        }
    }

    /// Judges an answer that is no success: settles the lease, and relays it or moves on.
    fn declined(
        &self,
        mut account: Box<Account>,
        declined: Declined,
        id: InstanceId,
        job: Job<'_>,
    ) -> Step {
        account.declined(declined.said());
        let foreign = Foreign::told(job, &declined);
        let charge = declined.judge(SystemTime::now());
        let declined = match job.is_azure() {
            true => declined,
            false => declined.in_openai_shape(),
        };
        if let Some(foreign) = foreign {
            account.settle_unknown();
            let last = declined.into_last(id, None);
            return Step::Elsewhere(account, foreign, last);
        }
        let Some(charge) = charge else {
            // Azure may charge the prompt of a refused request, and bills it when a filter refuses.
            account.settle_client_error(None);
            account.begun(declined.status);
            let headers = self.headers(declined.headers, id, &mut account);
            account.close(declined.status.as_u16());
            return Step::Done(with_headers(declined.status, headers, declined.body));
        };
        account.settle(charge.attempt, charge.outcome);
        let free_at = charge.rest.map(|rest| Instant::now() + rest);
        Step::Next(account, declined.into_last(id, free_at))
    }

    /// Makes the headers of an instance's answer those of ours.
    fn headers(
        &self,
        mut headers: HeaderMap,
        instance: InstanceId,
        account: &mut Account,
    ) -> HeaderMap {
        let listed = headers::connection_listed(&headers);
        headers.retain(|name, _| headers::is_relayed_down(name) && !listed.contains(name));
        match headers.get(&X_REQUEST_ID).map(HeaderValue::to_str) {
            Some(Ok(id)) => account.known_as(id),
            Some(Err(_)) | None => {
                if let Ok(id) = HeaderValue::from_str(account.request_id()) {
                    headers.insert(X_REQUEST_ID, id);
                }
            }
        }
        if let Some(target) = self.targets.get(instance.0) {
            headers.insert(X_PROXY_INSTANCE, target.name_value.clone());
        }
        headers.insert(X_PROXY_ATTEMPTS, HeaderValue::from(account.attempts()));
        for (name, value) in self.pool_headers(account).into_iter().flatten() {
            headers.insert(name, value);
        }
        headers
    }

    /// Returns what the pool has for the model asked for; a kept response has none.
    fn pool_headers(&self, account: &Account) -> Option<[(HeaderName, HeaderValue); 3]> {
        if account.is_errand() {
            return None;
        }
        let now = Instant::now().into_std();
        let pool = Pool::of(&self.shared, account.model_key(), account.model(), now);
        Some(pool.headers())
    }

    fn give_up(
        &self,
        mut account: Box<Account>,
        subject: &ModelName,
        unavailable: Unavailable,
        last: Option<Last>,
        search: &Search,
    ) -> Result<HttpResponse, ApiError> {
        let soonest = give_up::soonest(&unavailable);
        match last {
            Some(Last::Answer {
                status,
                headers,
                body,
                instance,
                free_at,
            }) => {
                let mut headers = self.headers(headers, instance, &mut account);
                if status == StatusCode::TOO_MANY_REQUESTS {
                    // The pool may be ready sooner than the instance that answered last.
                    let rest = free_at.map(|at| at.saturating_duration_since(Instant::now()));
                    let wait = soonest.into_iter().chain(rest).min();
                    for (name, value) in wait.map(crate::error::retry_headers).into_iter().flatten()
                    {
                        headers.insert(name, value);
                    }
                }
                account.close(status.as_u16());
                Ok(with_headers(status, headers, body))
            }
            Some(Last::Nothing(no_answer)) => {
                let error = give_up::no_answer(&no_answer, account.attempts(), soonest, search);
                Err(account.refuse(error))
            }
            None => {
                let names =
                    |id: InstanceId| self.shared.instances.get(id.0).map(|c| c.name.clone());
                let mut error = give_up::unavailable(&unavailable, subject, search, names);
                if error.status_code() == StatusCode::TOO_MANY_REQUESTS {
                    error = error.with_quota(self.pool_headers(&account));
                }
                Err(account.refuse(error))
            }
        }
    }
}
