//! The honest resource: checks, charges, answers and labels a request as Azure does.
//!
//! The order is Azure's: who is refused by the gate is charged nothing, and a charge stands whatever the answer turns
//! out to use. Nothing here goes wrong by itself; faults are `script`'s.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use super::answers::{Order, Stamp, answer, response};
use super::ask::Ask;
use super::books::Books;
use super::charge::charge;
use super::errors;
use super::gate::{self, Admissible};
use super::quota::{Limiter, Remaining};
use super::reply::Reply;
use super::resource::Resource;
use super::shelf::{Errand, Shelf};
use super::throttle::{self, Hint, Refused, Throttle};
use super::wire::Head;
use super::{references, talks};
use crate::domain::{Endpoint, Tokens};

/// What the headers of an answer tell of the quota.
struct Told {
    tpm: Tokens,
    rpm: u64,
    left: Remaining,
}

/// Answers a request as Azure would, and charges its quota.
pub(super) fn honest(
    resource: &Resource,
    books: &mut Books,
    head: &Head,
    body: &[u8],
    bytes: Option<NonZeroUsize>,
    now: Instant,
) -> Reply {
    if let Some(reply) = run_errand(resource, books, head, body) {
        return reply;
    }
    let admissible = match gate::check(resource, head, body) {
        Ok(admissible) => admissible,
        Err(refusal) => return *refusal,
    };
    if let Some(refusal) = refuse_foreign(resource, &books.shelf, &admissible.ask) {
        return refusal;
    }
    let Admissible {
        endpoint,
        deployment,
        ask: sent,
        ..
    } = &admissible;
    let ask = match references::resolved(sent, books) {
        Ok(ask) => ask,
        Err(refusal) => return *refusal,
    };
    let told = match charged(resource, books, &admissible, &ask, now) {
        Ok(told) => told,
        Err(refusal) => return *refusal,
    };
    let order = Order {
        endpoint: *endpoint,
        model: &deployment.model,
        resource: &resource.name,
        ask: &ask,
        overhead: books.overhead(&deployment.name),
        bytes,
        is_talkative: resource.is_talkative,
    };
    let made = answer(order, stamp());
    if let Some((response, events)) = made.kept {
        keep(books, sent, response, events);
    }
    let mut reply = made.reply;
    reply.pace = resource.pace;
    label_success(&mut reply, &deployment.name);
    if resource.tells_quota {
        label_quota(&mut reply, told);
    }
    reply
}

/// Charges a request to the quota of its deployment, or refuses it; says what the headers tell of that.
fn charged(
    resource: &Resource,
    books: &mut Books,
    admissible: &Admissible<'_>,
    ask: &Ask,
    now: Instant,
) -> Result<Told, Box<Reply>> {
    let deployment = &admissible.deployment;
    let charge = charge(&deployment.model, admissible.endpoint, ask);
    let Some(quota) = books.quota(&deployment.name) else {
        return Err(Box::new(errors::deployment_not_found()));
    };
    let (tpm, rpm) = (quota.tpm(), quota.rpm());
    match quota.admit(charge, now) {
        Ok(left) => {
            books.counters.admitted += 1;
            books.counters.charged = books.counters.charged + charge;
            Ok(Told { tpm, rpm, left })
        }
        Err(throttled) => {
            books.counters.throttled += 1;
            let refused = refused(resource, admissible, throttled.limiter);
            Err(Box::new(throttle::honest(throttled.wait, &refused)))
        }
    }
}

/// Answers a call about what the resource keeps, if it is one.
fn run_errand(resource: &Resource, books: &mut Books, head: &Head, body: &[u8]) -> Option<Reply> {
    let (method, target) = (&head.method, &head.target);
    if let Some(errand) = Errand::parse(method, target) {
        let allowed = gate::check_errand(resource, head);
        return Some(allowed.map_or_else(|refusal| *refusal, |()| books.shelf.run(&errand)));
    }
    let errand = talks::Errand::parse(method, target)?;
    if let Err(refusal) = gate::check_errand(resource, head) {
        return Some(*refusal);
    }
    Some(books.talks.run(&errand, body, &stamp()))
}

/// Keeps a response, and in its conversation what was said.
fn keep(books: &mut Books, sent: &Ask, response: Value, events: Vec<Bytes>) {
    if let Some(id) = references::conversation(sent) {
        let asked = talks::named(&references::sent(sent), &stamp().id);
        let output = response.get("output").and_then(Value::as_array);
        let answered = output.into_iter().flatten().cloned();
        books.talks.add(id, asked.into_iter().chain(answered));
    }
    books.shelf.keep(sent, response, events);
}

/// Refuses to continue what another resource has made.
fn refuse_foreign(resource: &Resource, shelf: &Shelf, ask: &Ask) -> Option<Reply> {
    let previous = ask.text("previous_response_id");
    if let Some(unknown) = previous.filter(|id| !shelf.knows(id)) {
        return Some(errors::previous_response_not_found(unknown));
    }
    response::is_foreign(ask, &resource.name).then(errors::invalid_encrypted_content)
}

/// Answers a scripted 429, naming what the request asked for as far as it can be read.
pub(super) fn throttled(
    resource: &Resource,
    head: &Head,
    body: &[u8],
    kind: Throttle,
    wait: Duration,
    hints: &[Hint],
) -> Reply {
    let unnamed = Refused {
        endpoint: Endpoint::ChatCompletions,
        deployment: "gpt-4o",
        model: "gpt-4o",
        region: &resource.region,
        api_version: "2024-10-21",
        limiter: Limiter::Tokens,
    };
    let admissible = gate::check(resource, head, body);
    let refused = match &admissible {
        Ok(admissible) => refused(resource, admissible, Limiter::Tokens),
        Err(_) => unnamed,
    };
    throttle::reply(kind, wait, hints, &refused)
}

/// Adds the headers that Azure's front end puts on every response.
pub(super) fn label(reply: &mut Reply, resource: &Resource, head: &Head) {
    let mut random = random();
    let request_id = uuid(&mut random);
    reply.push("x-request-id", request_id.clone());
    reply.push("apim-request-id", uuid(&mut random));
    let client_id = head.header("x-ms-client-request-id").map(str::to_owned);
    reply.push("x-ms-client-request-id", client_id.unwrap_or(request_id));
    reply.push("x-ms-region", resource.region.clone());
    reply.push(
        "strict-transport-security",
        "max-age=31536000; includeSubDomains; preload",
    );
    reply.push("x-content-type-options", "nosniff");
    reply.push("date", httpdate::fmt_http_date(SystemTime::now()));
}

fn label_quota(reply: &mut Reply, Told { tpm, rpm, left }: Told) {
    reply.push("x-ratelimit-limit-requests", rpm.to_string());
    reply.push("x-ratelimit-limit-tokens", tpm.to_string());
    reply.push("x-ratelimit-remaining-requests", left.requests.to_string());
    reply.push("x-ratelimit-remaining-tokens", left.tokens.to_string());
}

fn label_success(reply: &mut Reply, deployment: &str) {
    reply.push("x-ms-deployment-name", deployment);
    reply.push("x-ms-rai-invoked", "true");
    reply.push("azureml-model-session", "d000-20250101000000");
    reply.push("x-accel-buffering", "no");
    reply.push("access-control-allow-origin", "*");
}

fn refused<'a>(
    resource: &'a Resource,
    admissible: &'a Admissible<'_>,
    limiter: Limiter,
) -> Refused<'a> {
    Refused {
        endpoint: admissible.endpoint,
        deployment: &admissible.deployment.name,
        model: &admissible.deployment.model,
        region: &resource.region,
        api_version: &admissible.api_version,
        limiter,
    }
}

fn stamp() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Stamp {
        id: format!("SIM{:025x}", random().random::<u128>() >> 28),
        created: since.map(|since| since.as_secs()).unwrap_or_default(),
    }
}

fn random() -> SmallRng {
    SmallRng::from_os_rng()
}

fn uuid(random: &mut SmallRng) -> String {
    let (a, b): (u32, u16) = (random.random(), random.random());
    let (c, d): (u16, u16) = (random.random(), random.random());
    let e: u64 = random.random();
    format!(
        "{a:08x}-{b:04x}-4{:03x}-a{:03x}-{:012x}",
        c & 0xfff,
        d & 0xfff,
        e >> 16
    )
}
