//! Three replicas and the store as the scripts keep it, through any order of requests, answers, news and faults.
//!
//! What takes time in the real thing takes a step of its own here: heartbeats are answered and taken in later, and news
//! lie in an ear until somebody listens. The bound is checked with every request that is admitted.

use super::*;

const LIMIT: u64 = 900;

/// What replicas may not have been told when the store goes: a quarter of a share.
const STEP: u64 = LIMIT / 3 / 4;

/// Ticks between heartbeats at most.
const BEAT: u64 = 4;

/// Heartbeats are whole at ticks that are multiples of this: one of some.
const WHOLE: u64 = 5;

/// Something that happens; `replica` is who does it.
#[derive(Clone, Debug)]
enum Step {
    Ask { replica: usize, amount: u64 },
    Settle { which: usize, part: u64 },
    Tell { replica: usize },
    Listen { replica: usize },
    AskPulse { replica: usize, is_whole: bool },
    TakePulse { replica: usize },
    Pass { tenths: u64 },
    Fail { keeps: bool },
    Return,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (0usize..3, 1u64..200).prop_map(|(replica, amount)| Step::Ask { replica, amount }),
        6 => (0usize..100, 0u64..4).prop_map(|(which, part)| Step::Settle { which, part }),
        3 => (0usize..3).prop_map(|replica| Step::Tell { replica }),
        3 => (0usize..3).prop_map(|replica| Step::Listen { replica }),
        4 => (0usize..3, any::<bool>())
            .prop_map(|(replica, is_whole)| Step::AskPulse { replica, is_whole }),
        4 => (0usize..3).prop_map(|replica| Step::TakePulse { replica }),
        4 => (1u64..80).prop_map(|tenths| Step::Pass { tenths }),
        1 => any::<bool>().prop_map(|keeps| Step::Fail { keeps }),
        2 => Just(Step::Return),
    ];
    prop::collection::vec(step, 1..300)
}

/// The answer to a heartbeat: the sum, and if it is whole all that counts.
struct Pulse {
    sum: Sum,
    charges: Option<Vec<(Tick, Tokens)>>,
}

struct Replica {
    ledger: Ledger,
    /// What was published and not listened to yet.
    ear: Vec<(Tokens, Acts)>,
    /// On its way.
    pulse: Option<Pulse>,
}

impl Replica {
    fn new() -> Self {
        Self {
            ledger: ledger(LIMIT),
            ear: Vec::new(),
            pulse: None,
        }
    }

    fn listen(&mut self, at: Tick) {
        for (used, acts) in self.ear.drain(..) {
            self.ledger.heard(Sum { at, used, acts });
        }
    }

    fn take_pulse(&mut self) {
        let Some(Pulse { sum, charges }) = self.pulse.take() else {
            return;
        };
        match charges {
            Some(charges) => self.ledger.learn(sum.at, sum.acts, charges),
            None => self.ledger.correct(sum),
        }
    }
}

struct Admitted {
    replica: usize,
    at: Tick,
    by: By,
    amount: u64,
    is_settled: bool,
}

struct Story {
    now: Tick,
    store: Log,
    acts: u64,
    /// Charged since the replicas were last told.
    untold: u64,
    is_up: bool,
    has_data: bool,
    replicas: [Replica; 3],
    admitted: Vec<Admitted>,
}

impl Story {
    fn new() -> Self {
        Self {
            now: at(0),
            store: Log::new(buckets(MINUTE)),
            acts: 0,
            untold: 0,
            is_up: true,
            has_data: true,
            replicas: [Replica::new(), Replica::new(), Replica::new()],
            admitted: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Ask { replica, amount } => self.ask(replica, amount),
            Step::Settle { which, part } => self.settle(which, part),
            Step::Tell { replica } => self.tell(replica),
            Step::Listen { replica } => self.replicas[replica].listen(self.now),
            Step::AskPulse { replica, is_whole } => self.ask_pulse(replica, is_whole),
            Step::TakePulse { replica } => self.replicas[replica].take_pulse(),
            Step::Pass { tenths } => self.pass(tenths),
            Step::Fail { keeps } => {
                self.is_up = false;
                self.has_data &= keeps;
            }
            Step::Return => self.come_back(),
        }
    }

    fn ask(&mut self, replica: usize, amount: u64) {
        let now = self.now;
        let asker = &mut self.replicas[replica];
        asker.listen(now);
        let by = if self.is_up {
            if self.store.used(now) + amount > LIMIT {
                return;
            }
            let sum = self.charge(now, amount);
            self.replicas[replica].ledger.charged(Tokens(amount), sum);
            By::Store
        } else {
            if !fits(&mut asker.ledger, now, amount, 3) {
                return;
            }
            asker.ledger.charge_alone(now, Tokens(amount));
            By::Alone
        };
        self.admitted.push(Admitted {
            replica,
            at: now,
            by,
            amount,
            is_settled: false,
        });
    }

    /// Charges the store, which tells everybody before it holds a step more than they know.
    fn charge(&mut self, at: Tick, amount: u64) -> Sum {
        self.store.add(at, amount);
        self.acts += 1;
        self.untold += amount;
        let sum = sum(self.now, self.store.used(self.now), self.acts);
        if self.untold >= STEP {
            self.untold = 0;
            for replica in &mut self.replicas {
                replica.ear.push((sum.used, sum.acts));
            }
        }
        sum
    }

    /// A request has used so many quarters of what it was charged.
    fn settle(&mut self, which: usize, part: u64) {
        let now = self.now;
        // One that has nearly left the minute may, unheard of, hide as much that is new until the next heartbeat.
        let is_open = |it: &&mut Admitted| !it.is_settled && now.0 < it.at.0 + 500;
        let mut open: Vec<_> = self.admitted.iter_mut().filter(is_open).collect();
        let count = open.len().max(1);
        let Some(admitted) = open.get_mut(which % count) else {
            return;
        };
        let (reserved, actual) = (admitted.amount, admitted.amount * part / 4);
        (admitted.amount, admitted.is_settled) = (actual, true);
        let ledger = &mut self.replicas[admitted.replica].ledger;
        let (reserved, actual) = (Tokens(reserved), Tokens(actual));
        ledger.settle(now, admitted.at, admitted.by, reserved, actual);
    }

    /// Nothing is told while a heartbeat is under way.
    fn tell(&mut self, replica: usize) {
        if self.is_up && self.replicas[replica].pulse.is_none() {
            for change in self.replicas[replica].ledger.take_unsent(self.now) {
                self.adjust(change);
            }
        }
    }

    fn adjust(&mut self, (tick, change): Change) {
        let amount = change.unsigned_abs();
        match change.is_negative() {
            true => {
                self.store.remove(tick, amount);
                self.acts += 1;
            }
            false => {
                self.charge(tick, amount);
            }
        }
    }

    fn ask_pulse(&mut self, replica: usize, is_whole: bool) {
        if self.is_up && self.replicas[replica].pulse.is_none() {
            self.tell(replica);
            self.replicas[replica].listen(self.now);
            self.replicas[replica].pulse = Some(self.pulse(is_whole));
        }
    }

    fn pulse(&mut self, is_whole: bool) -> Pulse {
        let sum = sum(self.now, self.store.used(self.now), self.acts);
        let entries = self.store.entries();
        let charges = entries.map(|(tick, held)| (Tick(tick), Tokens(held)));
        let charges = is_whole.then(|| charges.collect());
        Pulse { sum, charges }
    }

    /// Nobody goes for long without a heartbeat while the store is there.
    fn pass(&mut self, tenths: u64) {
        let end = self.now.0 + tenths;
        while self.now.0 < end {
            self.now.0 += BEAT.min(end - self.now.0);
            for replica in 0..3 {
                self.replicas[replica].take_pulse();
                let is_whole = self.now.0.is_multiple_of(WHOLE);
                self.ask_pulse(replica, is_whole);
            }
        }
    }

    fn come_back(&mut self) {
        if self.is_up {
            return;
        }
        if !self.has_data {
            self.store.clear();
            self.acts = 0;
        }
        for position in 0..3 {
            let replica = &mut self.replicas[position];
            (replica.pulse, replica.ear) = (None, Vec::new());
            let told = if self.has_data {
                replica.ledger.take_unsent(self.now)
            } else {
                replica.ledger.entered(Acts(self.acts));
                replica.ledger.own_charges(self.now)
            };
            told.into_iter().for_each(|change| self.adjust(change));
        }
        for position in 0..3 {
            let pulse = self.pulse(true);
            let replica = &mut self.replicas[position];
            replica.pulse = Some(pulse);
            replica.take_pulse();
            replica.ledger.rejoined();
        }
        (self.is_up, self.has_data) = (true, true);
    }

    /// Returns what the minute that ends now holds.
    fn within_a_minute(&self) -> u64 {
        let minute = self.admitted.iter();
        let minute = minute.filter(|it| it.at.0 + 600 > self.now.0);
        minute.map(|it| it.amount).sum()
    }
}

proptest! {
    /// Whoever asks for how much, in whatever order it is heard of, however often the store goes and in whatever state it
    /// comes back: together replicas pass the limit by no more than they had not been told.
    #[test]
    fn no_minute_holds_more_than_limit_and_a_step_through_any_faults(steps in steps()) {
        let mut story = Story::new();
        for step in steps {
            story.step(step);

            let sum = story.within_a_minute();
            prop_assert!(sum <= LIMIT + STEP, "{sum} within a minute");
        }
    }
}
