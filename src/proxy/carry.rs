//! The attempt loop: a lease, an attempt, and on to the next instance until one answers or none is left. Each is asked
//! once, but for one that may not have stored yet what it has just made.

use std::time::Duration;

use actix_web::HttpResponse;
use tokio::time::{Instant, sleep};

use super::account::Account;
use super::continued::with_history;
use super::eligible::Field;
use super::errand::Job;
use super::past::Past;
use super::{Proxy, Step, weigh};
use crate::actors::{Turn, Unavailable, Want};
use crate::error::{ApiError, Code};

/// How long to wait until a resource has stored what it has just made. Clients that came back within a few hundred
/// milliseconds were told that there is no such item, and a repetition helped (maximhq/bifrost#6382).
const UNTIL_KEPT: Duration = Duration::from_millis(500);

impl Proxy {
    /// Carries a job to one instance after the other.
    pub(super) async fn carry(
        &self,
        mut account: Box<Account>,
        mut want: Want,
        job: Job<'_>,
    ) -> Result<HttpResponse, ApiError> {
        let mut field = match Field::of(&self.shared, job) {
            Ok(field) => field,
            Err(error) => return Err(account.refuse(error)),
        };
        let mut turn = Turn {
            since: account.started(),
            patience: self.shared.queue_timeout,
        };
        let mut past = Past::default();
        loop {
            let asked_at = Instant::now();
            let asked = {
                let patience = field.patience(turn.patience);
                let turn = Turn { patience, ..turn };
                self.outbox.acquire(want.clone(), field.left_out(), turn)
            };
            let answer = asked.await;
            let waited = asked_at.elapsed();
            account.queued(waited);
            turn.patience = turn.patience.saturating_sub(waited);
            match answer {
                Ok(Ok(lease)) => {
                    let id = lease.id();
                    field.tried(id);
                    field.tell(&self.shared, job, &account);
                    match self.attempt(account, lease, job).await {
                        Step::Done(response) => return Ok(response),
                        Step::Next(open, outcome) => {
                            account = open;
                            field.came_to(&outcome);
                            past.add(outcome);
                        }
                        Step::Elsewhere(open, foreign, answer) => {
                            account = open;
                            let is_late = foreign.may_be_late(&self.shared, id);
                            if is_late && field.asks_again(id) {
                                sleep(UNTIL_KEPT).await;
                            } else {
                                field.widen();
                                past.add_foreign(foreign, answer);
                            }
                        }
                    }
                }
                Ok(Err(Unavailable::Uncertain)) => match self.counted(job).await {
                    Some(counted) => want = counted,
                    None => return self.end(account, job, &field, Unavailable::Uncertain, past),
                },
                Ok(Err(unavailable)) if field.relents(&unavailable) => {}
                Ok(Err(unavailable)) => return self.end(account, job, &field, unavailable, past),
                Err(error) => {
                    log::error!(error:%; "the registry does not answer");
                    let message = "The proxy failed to select an instance.";
                    return Err(account.refuse(ApiError::new(Code::Internal, message)));
                }
            }
        }
    }

    async fn counted(&self, job: Job<'_>) -> Option<Want> {
        let Job::Call(call) = job else {
            return None;
        };
        let counted = weigh::counted(&self.shared, call).await?;
        Some(with_history(&self.shared, call, counted))
    }

    fn end(
        &self,
        account: Box<Account>,
        job: Job<'_>,
        field: &Field,
        unavailable: Unavailable,
        past: Past,
    ) -> Result<HttpResponse, ApiError> {
        let search = field.search(job, &past);
        match past.last(job, &unavailable) {
            Ok(last) => self.give_up(account, &job.subject(), unavailable, last, &search),
            Err(error) => Err(account.refuse(error)),
        }
    }
}
