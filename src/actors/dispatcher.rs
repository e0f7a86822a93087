//! The dispatcher: serves the requests that ask for a lease, one after the other, in the order of the queue.
//!
//! One task decides about all of them, so a strategy always sees what it has given away before, and nobody is overtaken.
//! A request that no instance takes waits in `queue`, or learns when to come again. The task sleeps until the next
//! moment that the queue names, or until the bell rings; it holds neither quota nor health, which are the instances'.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::bell::Bell;
use super::lease::Lease;
use super::member::{Member, eligible};
use super::messages::{Acquire, Fit, Outcome, Unavailable, Want};
use super::queue_view::WaitingFor;
use super::refusal::Refusal;
use crate::config::QueueConfig;
use crate::correction::Basis;
use crate::domain::{Deployment, InstanceId, InstanceName, ModelKey};
use crate::metrics::{QueueMetrics, Queued};
use crate::queue::{Claims, Job, Judgement, Newcomer, Offer, Queue, Ticket, Why};
use crate::routing::{Candidate, Router};

/// How often a request is tried again at once because an instance has room after all.
const TRIES: usize = 3;

type Answer = Result<Lease, Unavailable>;

/// A request as it stands in the queue.
struct Asking {
    want: Rc<Want>,
    tried: Rc<[InstanceId]>,
    patience: Duration,
    answer: oneshot::Sender<Answer>,
}

/// What instances say of a request that none of them takes now.
struct Forecasts {
    refusals: Vec<(InstanceId, Refusal)>,
    /// What is worth waiting for.
    offer: Option<Offer>,
    /// What is worth coming again for.
    later: Option<Offer>,
}

impl Forecasts {
    fn add(&mut self, instance: InstanceId, fit: Fit) {
        let offer = |wait: Duration| Offer {
            instance,
            tokens: fit.tokens,
            wait,
            is_of_all: fit.is_of_all,
        };
        let now = Some(Duration::ZERO);
        let worth = fit.refusal.map_or(now, Refusal::worth_waiting);
        let again = fit.refusal.map_or(now, Refusal::again_in);
        self.refusals
            .extend(fit.refusal.map(|refusal| (instance, refusal)));
        sooner(&mut self.offer, worth.map(offer));
        sooner(&mut self.later, again.map(offer));
    }
}

fn sooner(best: &mut Option<Offer>, offer: Option<Offer>) {
    if let Some(offer) = offer
        && best.is_none_or(|best| offer.wait < best.wait)
    {
        *best = Some(offer);
    }
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

    /// Lets a request in; the answer comes when it is served or sent away.
    pub(super) fn join(&self, asked: Acquire) -> Result<oneshot::Receiver<Answer>, Unavailable> {
        let Acquire {
            want, tried, turn, ..
        } = asked;
        let members = eligible(&self.members, &want, &tried)?;
        let newcomer = Newcomer {
            ticket: asked.ticket,
            since: turn.since,
            patience: turn.patience,
            model: want.model.clone(),
            spelled: spelled(&members, &want),
            tried: tried.clone(),
        };
        let (answer, receiver) = oneshot::channel();
        let asking = Asking {
            want: want.into(),
            tried: tried.into(),
            patience: turn.patience,
            answer,
        };
        self.queue.borrow_mut().join(now(), newcomer, asking);
        self.changed();
        self.bell.wake();
        Ok(receiver)
    }

    /// Gives up the place of a request that nobody waits for any more.
    pub(super) fn leave(&self, ticket: Ticket) {
        let taken = self.queue.borrow_mut().take(now(), ticket);
        if let Some(waited) = taken.and_then(|taken| taken.waited) {
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
        for Asking { want, tried, .. } in queue.waiting_loads() {
            let left = self.members.iter().filter(|one| !tried.contains(&one.id));
            for config in left.map(|member| &member.config) {
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
            let job = self.queue.borrow_mut().next(now());
            match job {
                Some(Job::Try(ticket)) => self.attempt(ticket).await,
                Some(Job::Judge(ticket)) => self.place(ticket).await,
                Some(Job::Expire(ticket)) => self.turn_away(ticket).await,
                None if self.bell.take_capacity() => self.queue.borrow_mut().stir(now()),
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
    async fn attempt(&self, ticket: Ticket) {
        for _ in 0..TRIES {
            let claims = self.queue.borrow().claims(ticket);
            let Some((want, tried)) = self.asking(ticket) else {
                return;
            };
            match self.reserve(&want, &tried, &claims).await {
                Some(Ok(lease)) => return self.deliver(ticket, lease),
                Some(Err(unavailable)) => return self.answer(ticket, Err(unavailable)),
                None => {}
            }
            let offer = self.offer(ticket).await;
            if offer.is_none_or(|offer| !offer.wait.is_zero()) {
                return self.judge(ticket, offer).await;
            }
            // Something was settled between the two questions.
        }
        self.place(ticket).await;
    }

    /// Returns a lease, or why asking on is useless; `None` if no instance takes it now.
    async fn reserve(&self, want: &Want, tried: &[InstanceId], claims: &Claims) -> Option<Answer> {
        let members = match eligible(&self.members, want, tried) {
            Ok(members) => members,
            Err(unavailable) => return Some(Err(unavailable)),
        };
        let mut candidates: Vec<Candidate> = members.iter().map(|m| m.candidate()).collect();
        loop {
            let picked = self.router.borrow_mut().pick(&candidates)?;
            let member = members.iter().find(|member| member.id == picked)?;
            match member.reserve(want, claims.at(picked)).await {
                Ok(lease) => return Some(Ok(lease)),
                Err(refusal) => {
                    self.router.borrow_mut().retract(&candidates, picked);
                    if refusal == Refusal::Uncertain {
                        return Some(Err(Unavailable::Uncertain));
                    }
                    candidates.retain(|candidate| candidate.id != picked);
                }
            }
        }
    }

    /// Decides whether a request that cannot be served now may wait.
    async fn judge(&self, ticket: Ticket, offer: Option<Offer>) {
        let judgement = self.queue.borrow_mut().judge(now(), ticket, offer);
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
        self.turn_away(ticket).await;
    }

    /// Decides about a request that stands behind others.
    async fn place(&self, ticket: Ticket) {
        let offer = self.offer(ticket).await;
        self.judge(ticket, offer).await;
    }

    /// Returns which instance could serve a request soonest, after those who wait for longer.
    async fn offer(&self, ticket: Ticket) -> Option<Offer> {
        let ahead = self.queue.borrow().ahead(ticket);
        self.forecasts(ticket, ahead).await?.offer
    }

    /// Asks all instances that may serve a request when they could; `None` if it has left meanwhile.
    async fn forecasts(&self, ticket: Ticket, ahead: Claims) -> Option<Forecasts> {
        let (want, tried) = self.asking(ticket)?;
        let members = eligible(&self.members, &want, &tried).unwrap_or_default();
        let asked = members
            .iter()
            .map(|member| member.forecast(&want, ahead.at(member.id)));
        let fits = join_all(asked).await;
        let mut forecasts = Forecasts {
            refusals: Vec::new(),
            offer: None,
            later: None,
        };
        for (member, fit) in members.iter().zip(fits) {
            forecasts.add(member.id, fit);
        }
        Some(forecasts)
    }

    /// Sends a request away, to come again when there is room after all who were sent away before.
    async fn turn_away(&self, ticket: Ticket) {
        let ahead = self.queue.borrow_mut().ahead_of_return(now(), ticket);
        let Some(Forecasts {
            refusals, later, ..
        }) = self.forecasts(ticket, ahead).await
        else {
            return;
        };
        let mut queue = self.queue.borrow_mut();
        let Some(patience) = queue.get(ticket).map(|asking| asking.patience) else {
            return;
        };
        let Some((taken, again_in)) = queue.turn_away(now(), ticket, patience, later) else {
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
        let undelivered = match taken {
            Some(taken) => {
                if let Some(waited) = taken.waited {
                    self.metrics.ended(Queued::Served, waited);
                }
                taken.load.answer.send(Ok(lease)).err().and_then(Result::ok)
            }
            None => Some(lease),
        };
        if let Some(lease) = undelivered {
            // It left while the instance was being asked; nothing was sent.
            lease.settle(Outcome::Withdrawn);
        }
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
        Some((asking.want.clone(), asking.tried.clone()))
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
fn spelled(members: &[&Member], want: &Want) -> Option<String> {
    let is_name = |member: &&Member| !member.config.model_map.contains_key(&want.model);
    let is_used = !want.is_errand && members.iter().any(is_name);
    is_used.then(|| want.name.as_str().to_ascii_lowercase())
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
