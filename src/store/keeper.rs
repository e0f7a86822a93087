//! The one task that keeps the connection: connects, comes back after faults, beats, and tells Redis what has changed.
//!
//! After a fault it brings Redis up to date before anybody asks it again. If Redis still has its epoch, only what was
//! admitted meanwhile is told; if it came back empty, everything that this replica admitted and that still counts. Other
//! replicas do the same, so for a moment ([`OTHERS_RETURN`]) each goes on with its share, and only then Redis decides.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::account::{Account, Telling};
use super::inner::{Inner, Mode, now};
use super::link::{self, Expected, Joining, Link};
use super::reply::{Heartbeat, Pulse};
use super::wire::Plan;
use super::{JUMPED, LOST, News};
use crate::domain::InstanceId;
use crate::ledger::Tick;

/// How often a replica says that it lives and hears of the others.
const BEAT: Duration = Duration::from_millis(400);

/// Settlements wait this long for others to go along.
const GATHER: Duration = Duration::from_millis(5);

/// Pause between attempts to reach Redis.
const RETRY: Duration = Duration::from_millis(250);

/// Longest attempt: names are looked up, TLS is set up, a cluster is explored.
const ATTEMPT: Duration = Duration::from_secs(3);

/// By when every replica that can reach Redis again has noticed: some attempts of each.
const OTHERS_RETURN: Duration = Duration::from_millis(1500);

/// What is told of the news of an instance.
type Listen<'a> = &'a dyn Fn(InstanceId, Vec<News>);

pub(super) async fn run(inner: &Inner, listen: Listen<'_>) {
    loop {
        match come_back(inner, listen).await {
            Ok(link) => {
                let cause = serve(inner, &link, listen).await;
                inner.lose(&link, cause);
            }
            Err(cause) => {
                note_failure(inner, cause);
                sleep(RETRY).await;
            }
        }
    }
}

fn note_failure(inner: &Inner, cause: String) {
    inner.link.take();
    inner.mode.set(Mode::Down);
    inner.complain(&cause);
    inner.cause.replace(cause);
    inner.begun.notify_waiters();
}

/// Connects, tells what Redis does not know, and waits until the others have done so.
async fn come_back(inner: &Inner, listen: Listen<'_>) -> Result<Rc<Link>, String> {
    let (ear, heard) = unbounded_channel();
    let accounts = inner.accounts.iter();
    let channel = |account: &RefCell<Account>| account.borrow().home.channel().to_owned();
    let plan = Plan {
        servers: &inner.config.servers,
        roots: inner.roots.as_deref(),
        ear,
        channels: accounts.map(channel).collect(),
    };
    let link = match timeout(ATTEMPT, Link::open(&plan)).await {
        Ok(Ok(link)) => Rc::new(link),
        Ok(Err(error)) => return Err(link::describe(&error)),
        Err(_) => return Err(format!("no connection within {} s", ATTEMPT.as_secs())),
    };
    inner.ear.replace(Some(heard));
    // By one clock for all, since the first answer may put it right.
    let (expected, heard) = (inner.expected(), inner.clock.get().reads);
    let waits = each(inner, async |account| {
        join(inner, &link, account, expected, heard).await
    })
    .await?;
    // Redis knows this replica by now: should it end while the others come back, it can still say so.
    inner.link.replace(Some(link.clone()));
    wait_for_others(inner, &link, waits.into_iter().max().unwrap_or_default()).await?;
    each(inner, async |account| tell(inner, &link, account).await).await?;
    beat(inner, &link, listen).await?;
    for account in &inner.accounts {
        account.borrow_mut().rejoined();
    }
    inner.mode.set(Mode::Well);
    inner.begun.notify_waiters();
    // What was admitted since the last telling.
    inner.work.notify_one();
    say_that_it_is_well(inner, link.is_listening);
    Ok(link)
}

fn say_that_it_is_well(inner: &Inner, is_listening: bool) {
    let replicas = inner.replicas();
    let instances = inner.instances.as_str();
    match inner.is_complained.take() {
        true => log::info!(replicas, instances; "redis is back: quota is shared again"),
        false => log::info!(replicas, instances; "quota is shared through redis"),
    }
    if !is_listening && !inner.is_deaf.replace(true) {
        log::warn!(
            "redis is older than 6 or its user may use no channels: replicas hear of each other later"
        );
    }
}

/// Goes on alone, telling Redis of it, while others may still have to tell what they did.
async fn wait_for_others(inner: &Inner, link: &Link, wait: Duration) -> Result<(), String> {
    each(inner, async |account| {
        show(inner, link, account, false).await
    })
    .await?;
    if wait.is_zero() {
        return Ok(());
    }
    inner.mode.set(Mode::Returning);
    inner.cause.replace("replicas are coming back".to_owned());
    inner.begun.notify_waiters();
    let opens = Instant::now() + wait;
    while Instant::now() < opens {
        sleep(BEAT.min(opens.saturating_duration_since(Instant::now()))).await;
        each(inner, async |account| tell(inner, link, account).await).await?;
        each(inner, async |account| {
            show(inner, link, account, false).await
        })
        .await?;
    }
    Ok(())
}

/// Beats and tells until something fails, and returns what.
async fn serve(inner: &Inner, link: &Rc<Link>, listen: Listen<'_>) -> String {
    let mut next_beat = Instant::now() + BEAT;
    loop {
        let pause = next_beat.saturating_duration_since(Instant::now());
        let _ = timeout(pause, inner.work.notified()).await;
        if inner.mode.get() != Mode::Well {
            // A request has found out before.
            return inner.cause.borrow().clone();
        }
        let is_due = Instant::now() >= next_beat || inner.is_news.get();
        if !is_due {
            sleep(GATHER).await;
        }
        if let Err(cause) = each(inner, async |account| tell(inner, link, account).await).await {
            return cause;
        }
        if is_due {
            if let Err(cause) = beat(inner, link, listen).await {
                return cause;
            }
            next_beat = Instant::now() + BEAT;
        }
    }
}

/// Shows that this replica lives, hears of all windows, and passes on what the others have found out.
async fn beat(inner: &Inner, link: &Link, listen: Listen<'_>) -> Result<(), String> {
    inner.is_news.set(false);
    inner.listen();
    // The first after a fault comes with the mode that is to be left.
    let beats = inner.beats.replace(inner.beats.get() + 1);
    let is_return = inner.mode.get() != Mode::Well;
    let show = async |account: &RefCell<Account>| {
        let is_whole = is_return || account.borrow().wants_whole(beats);
        show(inner, link, account, is_whole).await
    };
    let pulses = each(inner, show).await?;
    for (position, pulse) in pulses.into_iter().enumerate() {
        if let Some(account) = inner.accounts.get(position) {
            let mut account = account.borrow_mut();
            account.count_replicas(pulse.replicas, true);
            account.learn(Tick::of(pulse.now), &pulse);
            let news = account
                .cooldowns
                .learn(pulse.now, &inner.replica, &pulse.cooldowns);
            let id = account.id;
            drop(account);
            listen(id, news);
        }
    }
    Ok(())
}

/// Does the same for every instance at once.
async fn each<T>(
    inner: &Inner,
    what: impl AsyncFn(&RefCell<Account>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let done = join_all(inner.accounts.iter().map(|account| what(account))).await;
    done.into_iter().collect()
}

/// Joins the replicas of an instance, and returns when its window can be relied on.
async fn join(
    inner: &Inner,
    link: &Link,
    account: &RefCell<Account>,
    expected: Expected,
    heard: Duration,
) -> Result<Duration, String> {
    let (home, epoch, has_unsent, acts) = {
        let account = account.borrow();
        let (home, epoch) = account.address();
        (home, epoch, account.has_unsent(inner.tick()), account.acts)
    };
    let proposal = format!("{}-{}", inner.replica, inner.tick().0);
    let joining = Joining {
        proposal: &proposal,
        epoch: &epoch,
        acts,
        opens_in: OTHERS_RETURN,
        has_admitted: has_unsent || inner.mode.get() != Mode::Starting,
        expected,
        heard,
    };
    let asked_at = now();
    let joined = inner.bounded(link.join(&home, joining)).await?;
    if joined.epoch == epoch {
        // Had its clock been set, Redis would have another epoch: at most ours stood still, and what is known stays.
        inner.set_clock(asked_at, joined.now);
    } else {
        inner.read_clock(asked_at, joined.now);
    }
    if account.borrow_mut().enter(joined.epoch, joined.acts) {
        let (all, name) = {
            let mut account = account.borrow_mut();
            account.cooldowns.lost(joined.now, &inner.replica);
            (account.tell_all(inner.tick()), account.name.clone())
        };
        log::debug!(instance = name; "redis is told everything that was admitted here");
        send(inner, link, account, all).await?;
    } else {
        tell(inner, link, account).await?;
    }
    Ok(joined.opens_in)
}

/// Tells Redis what it has not heard of; first once more what may have arrived, under its number, so that it counts once.
async fn tell(inner: &Inner, link: &Link, account: &RefCell<Account>) -> Result<(), String> {
    let again = account.borrow().telling();
    send(inner, link, account, again).await?;
    let unsent = account.borrow_mut().tell_unsent(inner.tick());
    send(inner, link, account, unsent).await?;
    announce(inner, link, account).await
}

/// Tells what Redis has not heard of and takes this replica out, so that the others reckon without it at once. Nobody asks
/// any more, and the task of [`run`] has ended; what it told last may be told again.
pub(super) async fn leave(inner: &Inner, until: Instant) {
    let Some(link) = inner.link.borrow().clone() else {
        if inner.has_unsent() {
            say_that_not_all_is_told(inner, &inner.cause.borrow());
        }
        return;
    };
    let gone = each(inner, async |account| {
        let now = inner.tick();
        account.borrow_mut().give_back(now, Tick(u64::MAX));
        tell(inner, &link, account).await?;
        let home = account.borrow().home.clone();
        inner.bounded(link.leave(&home, &inner.replica)).await
    });
    let cause = match timeout_at(until, gone).await {
        Ok(Ok(_)) => return,
        Ok(Err(cause)) => cause,
        Err(_) => "there was no time".to_owned(),
    };
    say_that_not_all_is_told(inner, &cause);
}

fn say_that_not_all_is_told(inner: &Inner, cause: &str) {
    let instances = inner.instances.as_str();
    log::warn!(cause, instances; "redis could not be told all before the end: it leaves with the minute");
}

async fn announce(inner: &Inner, link: &Link, account: &RefCell<Account>) -> Result<(), String> {
    let (home, epoch, untold) = {
        let account = account.borrow();
        let (home, epoch) = account.address();
        (home, epoch, account.cooldowns.untold())
    };
    if untold.is_empty() {
        return Ok(());
    }
    match inner.bounded(link.announce(&home, &epoch, &untold)).await? {
        true => {
            account.borrow_mut().cooldowns.told(untold);
            Ok(())
        }
        false => Err(LOST.to_owned()),
    }
}

async fn send(
    inner: &Inner,
    link: &Link,
    account: &RefCell<Account>,
    telling: Option<Rc<Telling>>,
) -> Result<(), String> {
    let Some(telling) = telling else {
        return Ok(());
    };
    let (home, epoch) = account.borrow().address();
    let changes = telling.changes.iter().map(Vec::as_slice).enumerate();
    let changes = changes.filter(|(_, changes)| !changes.is_empty());
    let windows = account.borrow().slices(&home, changes);
    let call = link.adjust(&home, &epoch, telling.number, &windows);
    match inner.bounded(call).await? {
        Some(acts) => {
            account.borrow_mut().told(acts);
            Ok(())
        }
        None => Err(LOST.to_owned()),
    }
}

/// Shows that this replica lives, and returns what Redis has of an instance.
async fn show(
    inner: &Inner,
    link: &Link,
    account: &RefCell<Account>,
    is_whole: bool,
) -> Result<Pulse, String> {
    let (home, epoch) = account.borrow().address();
    let acts = account.borrow().acts;
    let asked_at = now();
    let asked = link.pulse(&home, &epoch, &inner.replica, inner.expected(), is_whole);
    let pulse = match inner.bounded(asked).await? {
        // Less than it has said before is an older copy.
        Heartbeat::Here(pulse) if pulse.acts >= acts => pulse,
        Heartbeat::Here(_) | Heartbeat::Lost => return Err(LOST.to_owned()),
        Heartbeat::Jumped => return Err(JUMPED.to_owned()),
    };
    // Charges stay at the ticks at which Redis has them, however its clock was corrected. Told to another epoch later, they
    // are off by that correction, at most what a clock may stray.
    inner.set_clock(asked_at, pulse.now);
    let mut known = account.borrow_mut();
    known.count_replicas(pulse.replicas, false);
    known.note(pulse.acts);
    drop(known);
    Ok(pulse)
}
