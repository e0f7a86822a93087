//! Which instances a job cannot go to, whatever they have free: those whose api-version lacks its endpoint. And which it
//! should not go to if there are others: those whose api-version lacks a field of its body, and may refuse it for good
//! where a busy one would serve it in a while.
//!
//! That is known from the configuration alone, so it is settled before a lease is asked for. What only one resource can
//! do goes to that one, if it is remembered; if it is not, or if it says that it does not know it, one
//! instance after the other is asked. Who serves a model, and who has room, is left to the Registry.

use std::sync::PoisonError;
use std::time::Duration;

use super::Shared;
use super::account::Account;
use super::errand::{Action, Job};
use super::foreign::{Search, thing, ties};
use super::give_up::Last;
use super::past::Past;
use crate::actors::{Refusal, Unavailable};
use crate::config::InstanceConfig;
use crate::domain::{Feature, InstanceId};
use crate::error::{ApiError, Code};
use crate::health;
use crate::openai::request::Kept;

/// The instances that are not to be asked, or not yet.
pub(super) struct Field {
    /// An instance that was tried has the deployment, and knows all fields of the body.
    is_known: bool,
    /// Those that do not know all fields are asked, and nobody was told yet.
    has_relented: bool,
    has_asked_again: bool,
    /// Those spared would do as well, so nothing is to be waited for.
    is_choosy: bool,
    /// They do not have the endpoint.
    lacking: Vec<InstanceId>,
    tried: Vec<InstanceId>,
    /// They do not know all fields of the body, as others do.
    spared: Vec<InstanceId>,
    /// Left out while the resource that made what the job is about has not said that it does not know it.
    elsewhere: Vec<InstanceId>,
}

impl Field {
    /// Finds who may be asked, or the reason why nobody can.
    pub(super) fn of(shared: &Shared, job: Job<'_>) -> Result<Self, ApiError> {
        let mut lacking = Vec::new();
        let mut too_old = Vec::new();
        let mut able = Vec::new();
        let mut spared = Vec::new();
        let most_models = shared.instances.iter().map(|config| breadth(config)).max();
        for (position, config) in shared.instances.iter().enumerate() {
            let id = InstanceId(position);
            let serves = match job {
                Job::Call(call) => config.deployment(&call.key, &call.ask.model).is_some(),
                Job::Errand(_) => true,
            };
            if !job.is_known_to(&config.api_version) {
                lacking.push(id);
                too_old.extend(serves.then_some(config.as_ref()));
            } else if serves {
                able.push(id);
                if !knows_fields(job, config) || is_narrow(job, config, most_models) {
                    spared.push(id);
                }
            }
        }
        if able.is_empty()
            && let Some(first) = too_old.first()
        {
            return Err(outdated(job, first, &too_old));
        }
        let has_relented = !spared.is_empty() && spared.len() == able.len();
        if has_relented {
            spared.clear();
        }
        Ok(Self {
            is_known: false,
            has_asked_again: false,
            is_choosy: matches!(job, Job::Errand(_)) && !spared.is_empty(),
            has_relented,
            elsewhere: elsewhere(shared, job, &able)?,
            lacking,
            tried: Vec::new(),
            spared,
        })
    }

    /// Lets a call go to those that do not know all of its fields, since no other will ever take it; false if there are
    /// none, or if another would, once it is free. What is to be begun goes to them as soon as nobody else takes it.
    ///
    /// Azure may still accept it: the dates are those of documents, and some fields are taken earlier.
    pub(super) fn relents(&mut self, unavailable: &Unavailable) -> bool {
        let is_hopeless = match unavailable {
            Unavailable::Exhausted => true,
            Unavailable::Busy { .. } if self.is_choosy => true,
            Unavailable::Busy { refusals, .. } => {
                !refusals.is_empty() && refusals.iter().all(|(_, refusal)| is_final(*refusal))
            }
            Unavailable::NotServed | Unavailable::TooLarge { .. } | Unavailable::Uncertain => false,
        };
        let is_open = self.is_choosy || !self.is_known;
        let relents = is_hopeless && is_open && !self.spared.is_empty();
        if relents {
            self.has_relented = true;
            self.is_choosy = false;
            self.spared.clear();
        }
        relents
    }

    /// Says how long the next instance may be waited for, of the time that is left.
    pub(super) fn patience(&self, left: Duration) -> Duration {
        match self.is_choosy {
            true => Duration::ZERO,
            false => left,
        }
    }

    /// Notes what the instance came to that was tried last.
    pub(super) fn came_to(&mut self, outcome: &Last) {
        self.is_known |= !outcome.is_not_found();
    }

    /// Tells the operator of a call that goes where not all of its fields are known: of each field once.
    pub(super) fn tell(&mut self, shared: &Shared, job: Job<'_>, account: &Account) {
        let Job::Call(call) = job else {
            return;
        };
        if !std::mem::take(&mut self.has_relented) {
            return;
        }
        let (request_id, model) = (account.request_id(), call.ask.model.as_str());
        let news = {
            let lock = shared.unknown_fields.lock();
            let mut told = lock.unwrap_or_else(PoisonError::into_inner);
            let features = call.ask.features.iter();
            let news: Vec<Feature> = features.filter(|one| !told.contains(*one)).collect();
            news.iter().for_each(|one| told.insert(*one));
            news
        };
        let names = |features: &[Feature]| {
            let names: Vec<&str> = features.iter().map(|one| one.name()).collect();
            names.join(",")
        };
        let all: Vec<Feature> = call.ask.features.iter().collect();
        let fields = names(&all);
        log::debug!(request_id, model, fields; "no api-version knows all fields; trying all the same");
        if !news.is_empty() {
            let fields = names(&news);
            log::warn!(
                request_id, model, fields;
                "no instance that serves the model has an api-version that knows all fields of the request; \
                 trying all the same, and saying so once for each field"
            );
        }
    }

    /// Says what is known of where the job belongs, now that none is left to be asked.
    pub(super) fn search(&self, job: Job<'_>, past: &Past) -> Search {
        let (strangers, lacked) = past.strangers();
        Search {
            thing: thing(job, lacked),
            strangers,
            is_home_known: !self.elsewhere.is_empty(),
            is_everyone: self.left_out().is_empty(),
        }
    }

    /// Returns the instances that are not to be asked now.
    pub(super) fn left_out(&self) -> Vec<InstanceId> {
        [
            &*self.lacking,
            &*self.tried,
            &*self.spared,
            &*self.elsewhere,
        ]
        .concat()
    }

    /// Notes that an instance is being tried.
    pub(super) fn tried(&mut self, id: InstanceId) {
        self.tried.push(id);
    }

    /// Lets an instance that was tried be asked once more; false if one was already.
    pub(super) fn asks_again(&mut self, id: InstanceId) -> bool {
        let is_first = !std::mem::replace(&mut self.has_asked_again, true);
        if is_first {
            self.tried.retain(|tried| *tried != id);
        }
        is_first
    }

    /// Takes in the others: the maker was not who it was thought to be, or has forgotten.
    pub(super) fn widen(&mut self) {
        self.elsewhere.clear();
    }
}

/// Says whether the instance will not take the request later either.
fn is_final(refusal: Refusal) -> bool {
    match refusal {
        Refusal::Closed(closed) => closed.reason == health::Reason::Missing,
        Refusal::Full(wait) => wait.is_none(),
        Refusal::NotServed => true,
        Refusal::Uncertain => false,
    }
}

fn knows_fields(job: Job<'_>, config: &InstanceConfig) -> bool {
    match job {
        Job::Call(call) => {
            let mut features = call.ask.features.iter();
            features.all(|feature| config.api_version.knows_field(feature))
        }
        Job::Errand(_) => true,
    }
}

/// Says whether other instances serve more models than this one, where a conversation would be bound to it.
fn is_narrow(job: Job<'_>, config: &InstanceConfig, most_models: Option<usize>) -> bool {
    match job {
        Job::Errand(errand) => {
            errand.action == Action::Begin && Some(breadth(config)) < most_models
        }
        Job::Call(_) => false,
    }
}

/// Returns how many models it serves: if they are not listed, more than any that has a list.
fn breadth(config: &InstanceConfig) -> usize {
    config.models.as_ref().map_or(usize::MAX, Vec::len)
}

/// Returns those of `able` that are other resources than the one that made what the job is about, or the error for what
/// is kept by one that does not serve the model.
fn elsewhere(
    shared: &Shared,
    job: Job<'_>,
    able: &[InstanceId],
) -> Result<Vec<InstanceId>, ApiError> {
    let maker = ties(job).find_map(|id| shared.makers.of(id));
    let base = |id: InstanceId| shared.instances.get(id.0).map(|config| &config.api_base);
    // One resource may be listed as several instances.
    let home = maker.and_then(|made| base(made.by));
    let Some(home) = home else {
        return Ok(Vec::new());
    };
    if !able.iter().any(|id| base(*id) == Some(home)) {
        return match unserved(shared, job) {
            Some(error) => Err(error),
            None => Ok(Vec::new()),
        };
    }
    let others = able.iter().filter(|id| base(**id) != Some(home));
    Ok(others.copied().collect())
}

/// Returns the error for a response or conversation that is kept by a resource that does not serve the model, which so
/// nobody can continue.
fn unserved(shared: &Shared, job: Job<'_>) -> Option<ApiError> {
    let Job::Call(call) = job else {
        return None;
    };
    let kept = call.ask.ties.iter().find_map(|tie| match tie.kept {
        Kept::Response => Some(("response", &tie.id)),
        Kept::Conversation => Some(("conversation", &tie.id)),
        Kept::Item | Kept::Encrypted => None,
    });
    let (what, id) = kept?;
    let keeper = shared.instances.get(shared.makers.of(id)?.by.0)?;
    let model = &call.ask.model;
    let mut listed = shared.instances.iter();
    let is_served = listed.any(|config| {
        config.api_base == keeper.api_base && config.deployment(&call.key, model).is_some()
    });
    let message = format!(
        "The {what} `{id}` is kept by {}, which does not serve `{model}`.",
        keeper.name
    );
    let error = ApiError::new(Code::ModelNotFound, message).with_param(Some("model"));
    (!is_served).then_some(error)
}

fn outdated(job: Job<'_>, first: &InstanceConfig, too_old: &[&InstanceConfig]) -> ApiError {
    let versions: Vec<String> = too_old
        .iter()
        .map(|config| format!("{} has {}", config.name, config.api_version.as_str()))
        .collect();
    let (path, since) = job.called();
    let version = match since {
        Some(since) => format!("{since} or newer, or to v1"),
        None => "v1".to_owned(),
    };
    let name = first.name.as_str().to_uppercase().replace('-', "_");
    let whom = match job {
        Job::Call(call) => format!("No instance that serves `{}`", call.ask.model),
        Job::Errand(_) => "No instance".to_owned(),
    };
    let message = format!(
        "{whom} has an api-version that knows /v1/{path} ({}). Set AZURE_INSTANCE_{name}_API_VERSION \
         (AZURE_OPENAI_API_VERSION for the single instance) to {version}.",
        versions.join(", "),
    );
    ApiError::new(Code::ApiVersionTooOld, message)
}
