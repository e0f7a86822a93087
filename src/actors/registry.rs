//! The Registry: answers who serves a request, under the configured strategy.
//!
//! It filters the instances (serves the model, not tried yet), lets the strategy pick, and asks the pick to reserve; a
//! refusal takes the pick back and the next is asked. That is the `dispatcher`'s, which also lets requests wait. Quota and
//! health are the instances' own.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use actix_rt::task::JoinHandle;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::askers::Askers;
use super::bell::Bell;
use super::dispatcher::Dispatcher;
use super::gauge::Gauge;
use super::launch::Launch;
use super::member::Member;
use super::messages::{Acquire, Describe, InstanceView, Leave, Settlements, Snapshot};
use super::outbox::Settlement;
use super::queue_view::{QueueView, Waiting, WaitingModel};
use super::reply::Reply;
use super::shared::{self, Adopt, DescribeSharing, Farewell};
use crate::config::{InstanceConfig, QueueConfig, Sharing};
use crate::domain::{InstanceId, StrategyKind};
use crate::metrics::QueueMetrics;
use crate::routing::Router;
use crate::store::{News, Store};

/// Far longer than an instance on the same thread can take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the Registry works.
pub struct Setup {
    /// Who is asked first.
    pub strategy: StrategyKind,
    /// Decides ties.
    pub seed: u64,
    /// How many requests may wait.
    pub queue: QueueConfig,
    /// Where waiting is counted.
    pub metrics: QueueMetrics,
    /// How the quota is shared with other replicas; `None` if it is this process's own.
    pub sharing: Option<Sharing>,
}

/// The actor that answers selection messages.
pub struct Registry {
    members: Rc<[Member]>,
    dispatcher: Rc<Dispatcher>,
    work: Option<JoinHandle<()>>,
    bell: Rc<Bell>,
    store: Option<Store>,
    askers: Askers,
    keeper: Option<JoinHandle<()>>,
}

impl Registry {
    /// Starts the Registry and its instances on the current arbiter. The gauges are in the order of `instances`.
    pub fn launch(
        setup: Setup,
        instances: &[Arc<InstanceConfig>],
    ) -> (Addr<Self>, Vec<Arc<Gauge>>) {
        let launch = Launch::new(setup, instances);
        let known = (launch.address().clone(), launch.gauges().to_vec());
        launch.start();
        known
    }

    /// Starts the instances, each with what it publishes, and makes them a Registry.
    pub(super) fn new(setup: Setup, instances: &[(Arc<InstanceConfig>, Arc<Gauge>)]) -> Self {
        let bell = Bell::new();
        let configs: Vec<_> = instances.iter().map(|(config, _)| config.clone()).collect();
        let store = setup.sharing.map(|sharing| shared::open(sharing, &configs));
        let mut members = Vec::with_capacity(instances.len());
        for (position, (config, gauge)) in instances.iter().enumerate() {
            let id = InstanceId(position);
            members.push(Member::start(
                id,
                config,
                gauge,
                bell.clone(),
                store.clone(),
            ));
        }
        let members: Rc<[Member]> = members.into();
        let router = Router::new(setup.strategy, setup.seed);
        let dispatcher = Dispatcher::new(
            members.clone(),
            router,
            setup.queue,
            bell.clone(),
            setup.metrics,
        );
        Self {
            members,
            dispatcher: Rc::new(dispatcher),
            work: None,
            bell,
            store,
            askers: Askers::default(),
            keeper: None,
        }
    }
}

impl Actor for Registry {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        // A task of its own: the actor's context polls all that it holds whenever a message comes.
        self.work = Some(actix_rt::spawn(self.dispatcher.clone().run()));
        let (members, bell) = (self.members.clone(), self.bell.clone());
        let listen = move |id: InstanceId, news: Vec<News>| {
            if let Some(member) = members.get(id.0).filter(|_| !news.is_empty()) {
                member.addr.do_send(Adopt(news));
            }
            // Other replicas may have used less than they had reserved.
            bell.capacity();
        };
        let keep = self.store.clone().map(|store| store.keep(listen));
        self.keeper = keep.map(actix_rt::spawn);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        for task in [self.work.take(), self.keeper.take()].into_iter().flatten() {
            task.abort();
        }
    }
}

impl Handler<Settlements> for Registry {
    type Result = ();

    fn handle(&mut self, msg: Settlements, _: &mut Self::Context) {
        let now = Instant::now().into_std();
        for Settlement { lease, outcome } in msg.0 {
            if let Some(member) = self.members.get(lease.id().0) {
                member.settle(now, lease, outcome);
            }
        }
    }
}

impl Handler<Acquire> for Registry {
    type Result = Reply;

    fn handle(&mut self, msg: Acquire, _: &mut Self::Context) -> Self::Result {
        let Some(store) = self.store.clone() else {
            return self.dispatcher.ask(msg);
        };
        // Entered here, so that a `Leave` close behind finds it.
        let asker = self.askers.enter(msg.ticket);
        let dispatcher = Rc::downgrade(&self.dispatcher);
        Reply::Later(Box::pin(shared::acquire(store, dispatcher, asker, msg)))
    }
}

impl Handler<Leave> for Registry {
    type Result = ();

    fn handle(&mut self, msg: Leave, _: &mut Self::Context) {
        self.askers.leave(msg.0);
        self.dispatcher.leave(msg.0);
    }
}

impl Handler<Waiting> for Registry {
    type Result = MessageResult<Waiting>;

    fn handle(&mut self, _: Waiting, _: &mut Self::Context) -> Self::Result {
        let models = self.dispatcher.waiting().into_iter();
        let models = models.map(|(model, (waiting, longest))| WaitingModel {
            model,
            waiting,
            longest,
        });
        MessageResult(QueueView {
            models: models.collect(),
            deployments: self.dispatcher.waiting_for(),
        })
    }
}

impl Handler<DescribeSharing> for Registry {
    type Result = MessageResult<DescribeSharing>;

    fn handle(&mut self, _: DescribeSharing, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.store.as_ref().map(Store::standing))
    }
}

impl Handler<Farewell> for Registry {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Farewell, _: &mut Self::Context) -> Self::Result {
        let (keeper, members) = (self.keeper.take(), self.members.clone());
        match self.store.clone() {
            Some(store) => Box::pin(shared::leave(store, keeper, members)),
            None => Box::pin(std::future::ready(())),
        }
    }
}

impl Handler<Snapshot> for Registry {
    type Result = ResponseFuture<Vec<InstanceView>>;

    fn handle(&mut self, _: Snapshot, _: &mut Self::Context) -> Self::Result {
        let members = self.members.clone();
        Box::pin(async move {
            let asked = members
                .iter()
                .map(|member| member.addr.send(Describe).timeout(PATIENCE));
            let answers = join_all(asked).await;
            answers.into_iter().flatten().collect()
        })
    }
}
