//! The dispatcher: serves the requests that ask for a lease, one after the other, in the order of the queue.
//!
//! While nobody waits a request is served where it comes in. Else, and if no instance takes it, it stands in `queue`, or
//! learns when to come again; one task tries those who wait. It sleeps until the next moment that the queue names, or
//! until the bell rings. Every decision is made in one go, so a strategy always sees what was given away before, and
//! nobody is overtaken. Quota and health are the instances'.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::bell::Bell;
use super::forecasts::Forecasts;
use super::lease::Lease;
use super::member::{Member, eligible};
use super::messages::{Acquire, Unavailable, Want};
use super::queue_view::WaitingFor;
use super::refusal::Refusal;
use super::reply::{Answer, Reply};
use crate::config::QueueConfig;
use crate::correction::Basis;
use crate::domain::{Deployment, DeploymentKey, InstanceId, InstanceName, ModelKey};
use crate::metrics::{QueueMetrics, Queued};
use crate::queue::{Ahead, Job, Judgement, Newcomer, Queue, Ticket, Why};
use crate::routing::{Candidate, Router};

/// A request as it stands in the queue.
struct Asking {
    want: Rc<Want>,
    /// The instances that may serve it.
    field: Rc<[InstanceId]>,
    patience: Duration,
    answer: oneshot::Sender<Answer>,
}

pub(super) struct Dispatcher {
    members: Rc<[Member]>,
    router: RefCell<Router>,
    queue: RefCell<Queue<Asking>>,
    bell: Rc<Bell>,
    metrics: QueueMetrics,
}

impl Dispatcher {
    pub(super) fn new(
        members: Rc<[Member]>,
        router: Router,
        config: QueueConfig,
        bell: Rc<Bell>,
        metrics: QueueMetrics,
    ) -> Self {
        Self {
            members,
            router: RefCell::new(router),
            queue: RefCell::new(Queue::new(config.most_waiting, now())),
            bell,
            metrics,
        }
    }

    /// Serves a request at once if nobody waits and an instance takes it, else lets it in; then the answer comes when it is
    /// served or sent away.
    pub(super) fn ask(&self, asked: Acquire) -> Reply {
        let field = match eligible(&self.members, &asked.want, &asked.tried) {
            Ok(field) => field,
            Err(unavailable) => return Reply::Now(Err(unavailable)),
        };
        let is_alone = self.queue.borrow().is_empty();
        if is_alone
            && let Some(answer) = self.reserve(now(), &asked.want, &field, |_| Ahead::default())
        {
            return Reply::Now(answer);
        }
        let ticket = asked.ticket;
        let receiver = self.join(asked, field);
        if is_alone {
            // All that could be tried was.
            self.place(ticket);
        }
        if !self.queue.borrow().is_empty() {
            self.bell.wake();
        }
        Reply::Later(Box::pin(async {
            // Dropped unanswered: the request has left, or the actors are being stopped.
            receiver.await.unwrap_or(Err(Unavailable::Exhausted))
        }))
    }

    fn join(&self, asked: Acquire, field: Vec<InstanceId>) -> oneshot::Receiver<Answer> {
        let Acquire {
            want,
            tried,
            turn,
            ticket,
        } = asked;
        let spelled = spelled(self.members_of(&field), &want);
        let newcomer = Newcomer {
            ticket,
            since: turn.since,
            patience: turn.patience,
            model: want.model.clone(),
            // Every instance that may serve it maps it.
            is_known: spelled.is_none() && !want.is_errand,
            spelled,
            deployments: self.deployments(&field, &want),
            tried,
        };
        let (answer, receiver) = oneshot::channel();
        let asking = Asking {
            want: want.into(),
            field: field.into(),
            patience: turn.patience,
            answer,
        };
        self.queue.borrow_mut().join(now(), newcomer, asking);
        self.changed();
        receiver
    }

    /// Gives up the place of a request that nobody waits for any more.
    pub(super) fn leave(&self, ticket: Ticket) {
        let Some(taken) = self.queue.borrow_mut().take(now(), ticket) else {
            return;
        };
        if let Some(waited) = taken.waited {
            self.metrics.ended(Queued::Left, waited);
        }
        self.changed();
        // Whoever stood behind it may go now.
        self.bell.wake();
    }

    /// Returns how many requests of each model wait, and for how long the first of them has.
    pub(super) fn waiting(&self) -> BTreeMap<ModelKey, (usize, Duration)> {
        let now = now();
        let models = self.queue.borrow().by_model().into_iter();
        let age = |since: Instant| now.saturating_duration_since(since);
        models
            .map(|(model, (count, since))| (model, (count, age(since))))
            .collect()
    }

    /// Returns how many of those that wait each deployment could serve, as far as its limit is large enough for them.
    pub(super) fn waiting_for(&self) -> Vec<WaitingFor> {
        let queue = self.queue.borrow();
        let mut counts: HashMap<(InstanceName, Deployment), usize> = HashMap::new();
        for Asking { want, field, .. } in queue.waiting_loads() {
            for config in self.members_of(field).map(|member| &member.config) {
                let limit = config.tpm_for(&want.model, &want.name);
                let deployment = want.deployment_at(config);
                let deployment = deployment.filter(|_| want.certain() <= limit);
                if let Some(deployment) = deployment {
                    *counts.entry((config.name.clone(), deployment)).or_default() += 1;
                }
            }
        }
        let count = |((instance, deployment), waiting)| WaitingFor {
            instance,
            deployment,
            waiting,
        };
        counts.into_iter().map(count).collect()
    }

    /// Works for as long as it is polled.
    pub(super) async fn run(self: Rc<Self>) {
        loop {
            // First, so that the oldest has what was given back, and not who came next and would be tried before.
            if self.bell.take_capacity() {
                self.queue.borrow_mut().stir(now());
            }
            let job = self.queue.borrow_mut().next(now());
            match job {
                Some(Job::Try(ticket)) => self.attempt(ticket),
                Some(Job::Judge(ticket)) => self.place(ticket),
                Some(Job::Expire(ticket)) => self.turn_away(ticket),
                None => self.rest().await,
            }
            // However much there is to do, the actors and the server's other tasks on this thread have their turn.
            tokio::task::coop::consume_budget().await;
        }
    }

    async fn rest(&self) {
        let wake_at = self.queue.borrow().wake_at();
        match wake_at {
            Some(at) => {
                // Rung or out of time: the queue says what there is to do.
                let _ = tokio::time::timeout_at(at.into(), self.bell.rung()).await;
            }
            None => self.bell.rung().await,
        }
    }

    /// Asks the instances for a lease.
    fn attempt(&self, ticket: Ticket) {
        let Some((want, field)) = self.asking(ticket) else {
            return;
        };
        let ahead = |instance| self.queue.borrow().ahead(ticket, instance);
        match self.reserve(now(), &want, &field, ahead) {
            Some(Ok(lease)) => self.deliver(ticket, lease),
            Some(Err(unavailable)) => self.answer(ticket, Err(unavailable)),
            None => self.place(ticket),
        }
    }

    /// Returns a lease, or why asking on is useless; `None` if no instance takes it now.
    fn reserve(
        &self,
        now: Instant,
        want: &Want,
        field: &[InstanceId],
        ahead: impl Fn(InstanceId) -> Ahead,
    ) -> Option<Answer> {
        let candidates = self.members_of(field).map(Member::candidate);
        let mut candidates: Vec<Candidate> = candidates.collect();
        let mut router = self.router.borrow_mut();
        loop {
            let picked = router.pick(&candidates)?;
            let member = self.members.get(picked.0)?;
            match member.reserve(now, want, ahead(picked)) {
                Ok(lease) => return Some(Ok(lease)),
                Err(refusal) => {
                    router.retract(&candidates, picked);
                    if refusal == Refusal::Uncertain {
                        return Some(Err(Unavailable::Uncertain));
                    }
                    candidates.retain(|candidate| candidate.id != picked);
                }
            }
        }
    }

    /// Decides whether a request that cannot be served now may wait.
    fn place(&self, ticket: Ticket) {
        let now = now();
        let ahead = |instance| self.queue.borrow().ahead(ticket, instance);
        let Some(Forecasts { offer, .. }) = self.forecasts(now, ticket, ahead) else {
            return;
        };
        let judgement = self.queue.borrow_mut().judge(now, ticket, offer);
        let why = match judgement {
            Judgement::Waits if self.is_estimate(ticket) => {
                // Its place depends on how large it really is. It comes back with that, to the place of its arrival.
                return self.answer(ticket, Err(Unavailable::Uncertain));
            }
            Judgement::Waits => return self.changed(),
            Judgement::Refused(why) => why,
        };
        // Who has waited is counted when it goes.
        if why != Why::InVain && self.may_wait(ticket) {
            self.metrics.refused(why == Why::Full);
        }
        self.turn_away(ticket);
    }

    /// Asks all instances that may serve a request when they could; `None` if it has left.
    fn forecasts(
        &self,
        now: Instant,
        ticket: Ticket,
        ahead: impl Fn(InstanceId) -> Ahead,
    ) -> Option<Forecasts> {
        let (want, field) = self.asking(ticket)?;
        let mut forecasts = Forecasts::default();
        for member in self.members_of(&field) {
            let fit = member.forecast(now, &want, ahead(member.id));
            forecasts.add(member.id, fit);
        }
        Some(forecasts)
    }

    /// Sends a request away, to come again when there is room after all who were sent away before.
    fn turn_away(&self, ticket: Ticket) {
        let now = now();
        let ahead = |instance| {
            let mut queue = self.queue.borrow_mut();
            queue.ahead_of_return(now, ticket, instance)
        };
        let Some(forecasts) = self.forecasts(now, ticket, ahead) else {
            return;
        };
        let Forecasts {
            refusals, later, ..
        } = forecasts;
        let mut queue = self.queue.borrow_mut();
        let Some(patience) = queue.get(ticket).map(|asking| asking.patience) else {
            return;
        };
        let Some((taken, again_in)) = queue.turn_away(now, ticket, patience, later) else {
            return;
        };
        drop(queue);
        if let Some(waited) = taken.waited {
            self.metrics.ended(Queued::TimedOut, waited);
        }
        self.changed();
        let unavailable = Unavailable::Busy { refusals, again_in };
        // Nobody listens any more if the actors are being stopped.
        let _ = taken.load.answer.send(Err(unavailable));
    }

    fn deliver(&self, ticket: Ticket, lease: Lease) {
        let taken = self.queue.borrow_mut().take(now(), ticket);
        self.changed();
        let Some(taken) = taken else {
            return;
        };
        if let Some(waited) = taken.waited {
            self.metrics.ended(Queued::Served, waited);
        }
        // Nobody listens any more if the actors are being stopped; then the lease gives itself back.
        let _ = taken.load.answer.send(Ok(lease));
    }

    /// Ends a request's stay with an answer that is no lease and no matter of capacity.
    fn answer(&self, ticket: Ticket, answer: Answer) {
        let taken = self.queue.borrow_mut().take(now(), ticket);
        self.changed();
        if let Some(taken) = taken {
            let _ = taken.load.answer.send(answer);
        }
    }

    fn asking(&self, ticket: Ticket) -> Option<(Rc<Want>, Rc<[InstanceId]>)> {
        let queue = self.queue.borrow();
        let asking = queue.get(ticket)?;
        Some((asking.want.clone(), asking.field.clone()))
    }

    fn members_of<'a>(&'a self, field: &'a [InstanceId]) -> impl Iterator<Item = &'a Member> {
        field.iter().filter_map(|id| self.members.get(id.0))
    }

    /// Returns what would serve a request at each of these instances.
    fn deployments(&self, field: &[InstanceId], want: &Want) -> Vec<(InstanceId, DeploymentKey)> {
        let members = self.members_of(field);
        let deployments = members.filter_map(|member| {
            let deployment = want.deployment_at(&member.config)?;
            Some((member.id, DeploymentKey::of(&deployment)))
        });
        deployments.collect()
    }

    fn may_wait(&self, ticket: Ticket) -> bool {
        let queue = self.queue.borrow();
        let asking = queue.get(ticket);
        asking.is_some_and(|asking| !asking.patience.is_zero())
    }

    fn is_estimate(&self, ticket: Ticket) -> bool {
        self.asking(ticket)
            .is_some_and(|(want, _)| want.basis == Basis::Estimated)
    }

    fn changed(&self) {
        let queue = self.queue.borrow();
        self.bell.listen(!queue.is_empty());
        self.metrics.waiting(queue.waiting());
    }
}

/// Returns the client's spelling of the model where some instance takes it for the deployment's name: two spellings may
/// be two deployments. Azure does not tell their case apart.
fn spelled<'a>(mut members: impl Iterator<Item = &'a Member>, want: &Want) -> Option<String> {
    let is_name = |member: &Member| !member.config.model_map.contains_key(&want.model);
    let is_used = !want.is_errand && members.any(is_name);
    is_used.then(|| want.name.as_str().to_ascii_lowercase())
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
