//! A model of one deployment at Azure and of the proxy's requests to it: charges at admission, nothing given back.

use super::*;

/// One request that a client makes.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Milliseconds since the one before.
    pub pause: u64,
    pub charge: u64,
    /// What it really uses.
    pub used: u64,
    /// Milliseconds to Azure's counter.
    pub way: u64,
    /// Milliseconds from there to the head of its answer.
    pub takes: u64,
}

pub fn ask() -> impl Strategy<Value = Ask> {
    (0u64..3_000, 1u64..400, 0u64..400, 0u64..200, 0u64..6_000).prop_map(
        |(pause, charge, used, way, takes)| Ask {
            pause,
            charge,
            used: used.min(charge),
            way,
            takes,
        },
    )
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Arrives(Ask, Hold),
    Answers(Ask, Hold, Said),
    Refuses(Hold, Duration),
}

/// The service, with the proxy's quota in front of it.
pub struct Azure {
    limit: u64,
    /// Tokens that others use every second.
    pub others: u64,
    /// What it charges of what we expect.
    pub percent: u64,
    /// Whether its answers say nothing of quota.
    pub is_silent: bool,
    pub admitted: u64,
    pub refused: u64,
    start: Instant,
    now: Instant,
    others_until: Instant,
    log: Vec<(Instant, u64)>,
    ours: Vec<(Instant, u64)>,
    reserved: Vec<(Instant, u64)>,
    events: Vec<(Instant, Event)>,
    quota: Quota,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Azure {
    pub fn new(limit: u64) -> Self {
        let now = start();
        let mut quota = Quota::new(Tokens(limit), None, now);
        quota.open(now, &name("a"), || None);
        Self {
            limit,
            others: 0,
            percent: 100,
            is_silent: false,
            admitted: 0,
            refused: 0,
            start: now,
            now,
            others_until: now,
            log: Vec::new(),
            ours: Vec::new(),
            reserved: Vec::new(),
            events: Vec::new(),
            quota,
        }
    }

    /// Lets clients ask; who does not get through gives up.
    pub fn run(&mut self, asks: &[Ask]) {
        for ask in asks {
            let now = self.now + Duration::from_millis(ask.pause);
            self.happen_until(now);
            self.now = now;
            if let Ok(hold) = self.quota.reserve(now, &name("a"), need(ask.charge)) {
                let arrives = now + Duration::from_millis(ask.way);
                self.events.push((arrives, Event::Arrives(*ask, hold)));
            }
        }
        self.happen_until(self.now + MINUTE);
    }

    fn happen_until(&mut self, until: Instant) {
        while let Some(next) = self.next(until) {
            let (at, event) = self.events.remove(next);
            self.others_use(at);
            match event {
                Event::Arrives(ask, hold) => self.arrives(at, ask, hold),
                Event::Answers(ask, hold, said) => {
                    self.quota.heard(at, &name("a"), &hold, said);
                    let mut hold = hold;
                    hold.heard();
                    let used = Tokens(ask.used);
                    self.quota
                        .settle(at, &name("a"), hold, used, End::Answered, Said::default());
                }
                Event::Refuses(hold, wait) => {
                    let end = End::Throttled {
                        limit: Limit::Tokens,
                        wait: Some(wait),
                    };
                    self.quota
                        .settle(at, &name("a"), hold, Tokens::ZERO, end, Said::default());
                }
            }
        }
    }

    fn next(&self, until: Instant) -> Option<usize> {
        let due = self
            .events
            .iter()
            .enumerate()
            .filter(|(_, (at, _))| *at <= until);
        due.min_by_key(|(_, (at, _))| *at)
            .map(|(position, _)| position)
    }

    fn arrives(&mut self, at: Instant, ask: Ask, hold: Hold) {
        self.log.retain(|(charged, _)| at < *charged + MINUTE);
        let used: u64 = self.log.iter().map(|(_, charge)| charge).sum();
        let charge = ask.charge * self.percent / 100;
        if used + charge > self.limit {
            self.refused += 1;
            let wait = self.wait(at, used + charge - self.limit);
            let told = at + Duration::from_millis(10);
            self.events.push((told, Event::Refuses(hold, wait)));
            return;
        }
        self.admitted += 1;
        let sent = at - Duration::from_millis(ask.way);
        self.reserved.push((sent, ask.used));
        self.log.push((at, charge));
        self.ours.push((at, charge));
        let remaining = self.limit - used - charge;
        let said = Said {
            limit_tokens: Some(Tokens(self.limit)),
            remaining_tokens: Some(Tokens(remaining)),
            ..Said::default()
        };
        let said = if self.is_silent {
            Said::default()
        } else {
            said
        };
        let answers = at + Duration::from_millis(ask.takes);
        self.events.push((answers, Event::Answers(ask, hold, said)));
    }

    /// Whole seconds, as Azure names them.
    fn wait(&self, at: Instant, missing: u64) -> Duration {
        let mut leaving = 0;
        for (charged, charge) in &self.log {
            leaving += charge;
            if leaving >= missing {
                let wait = *charged + MINUTE - at;
                return Duration::from_secs(wait.as_secs() + 1);
            }
        }
        MINUTE
    }

    fn others_use(&mut self, until: Instant) {
        while self.others_until < until {
            self.others_until += Duration::from_secs(1);
            if self.others > 0 {
                self.log.push((self.others_until, self.others));
            }
        }
    }

    /// The most that was really used of what was admitted within any minute.
    pub fn most_reserved(&self) -> u64 {
        let within = |from: Instant| {
            let inside = self.reserved.iter();
            let inside = inside.filter(|(at, _)| *at >= from && *at < from + MINUTE);
            inside.map(|(_, used)| used).sum()
        };
        self.reserved
            .iter()
            .map(|(at, _)| within(*at))
            .max()
            .unwrap_or(0)
    }

    /// What we were charged after the first minute and before the last request.
    pub fn charged_after_a_minute(&self) -> u64 {
        let inside = |at: &Instant| *at >= self.start + MINUTE && *at < self.now;
        self.ours
            .iter()
            .filter(|(at, _)| inside(at))
            .map(|(_, charge)| charge)
            .sum()
    }

    /// Says whether every reservation has come back.
    pub fn nothing_is_left(&mut self) -> bool {
        let now = self.now + 3 * MINUTE;
        let lane = self.quota.lanes(now).remove(0);
        let free = self.quota.fits_in(now, &name("a"), need(self.limit));
        lane.in_flight == 0
            && lane.reserved == Tokens::ZERO
            && lane.used == Tokens::ZERO
            && self.quota.taken(now) == Tokens::ZERO
            && free == Some(Duration::ZERO)
    }
}
