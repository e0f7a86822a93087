//! Which 429s our own charges explain, where Azure says nothing of quota: bursts whose answers come in any order.

use super::*;
use proptest::prelude::*;

const LIMIT: u64 = 10_000;
const MINUTE: Duration = Duration::from_secs(60);

/// Requests that leave in the same moment.
#[derive(Clone, Debug)]
struct Burst {
    /// Milliseconds since the one before.
    pause: u64,
    /// Of each: what it charges, the milliseconds of its way, and those that its answer takes.
    requests: Vec<(u64, u64, u64)>,
}

fn burst() -> impl Strategy<Value = Burst> {
    // Ways that are allowed for, a refusal included.
    let request = (1u64..30, 0u64..270, 0u64..2_000);
    let request = request.prop_map(|(hundreds, way, takes)| (hundreds * 100, way, takes));
    (0u64..8_000, prop::collection::vec(request, 1..12))
        .prop_map(|(pause, requests)| Burst { pause, requests })
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Arrives(Charge, u64),
    Admitted(Charge),
    Refused(Charge),
}

/// Azure, which charges `percent` of what is expected, and whoever is alone there.
struct Alone {
    view: View,
    percent: u64,
    log: Vec<(Instant, u64)>,
    events: Vec<(Instant, Event)>,
    /// Scales by which the view found a 429 explained, `None` where it did not.
    found: Vec<Option<f64>>,
}

impl Alone {
    fn run(&mut self, start: Instant, bursts: &[Burst]) {
        let mut now = start;
        for burst in bursts {
            now += Duration::from_millis(burst.pause);
            self.happen_until(now);
            for (tokens, way, takes) in &burst.requests {
                let charge = self.view.sent(now, Tokens(*tokens));
                let arrives = now + Duration::from_millis(*way);
                self.events.push((arrives, Event::Arrives(charge, *takes)));
            }
        }
        self.happen_until(now + MINUTE);
    }

    fn happen_until(&mut self, until: Instant) {
        loop {
            let due = self.events.iter().enumerate();
            let due = due.filter(|(_, (at, _))| *at <= until);
            let Some((next, _)) = due.min_by_key(|(_, (at, _))| *at) else {
                return;
            };
            let (at, event) = self.events.remove(next);
            match event {
                Event::Arrives(charge, takes) => {
                    let (takes, answer) = match self.admits(at, charge) {
                        true => (takes, Event::Admitted(charge)),
                        false => (20, Event::Refused(charge)),
                    };
                    let answers = at + Duration::from_millis(takes);
                    self.events.push((answers, answer));
                }
                Event::Admitted(charge) => self.view.answered(at, charge, Said::default()),
                Event::Refused(charge) => self.refused(at, charge),
            }
        }
    }

    fn admits(&mut self, at: Instant, charge: Charge) -> bool {
        self.log.retain(|(charged, _)| at < *charged + MINUTE);
        let used: u64 = self.log.iter().map(|(_, tokens)| tokens).sum();
        let tokens = charge.tokens.0 * self.percent / 100;
        let admits = used + tokens <= LIMIT;
        if admits {
            self.log.push((at, tokens));
        }
        admits
    }

    fn refused(&mut self, at: Instant, charge: Charge) {
        self.view.refused(at, charge);
        // As if it had known what Azure charges: then that must be what explains it.
        self.view.scale = self.percent as f64 / 100.0;
        let is_explained = self.view.explains(at, charge, Tokens(LIMIT));
        self.found.push(is_explained.then_some(self.view.scale));
    }
}

proptest! {
    /// Alone at a deployment, every 429 is explained by what Azure charges, however far off our formula is.
    #[test]
    fn every_429_is_explained_to_whoever_is_alone(
        bursts in prop::collection::vec(burst(), 1..30), percent in 50u64..=200
    ) {
        let start = start();
        let mut alone = Alone {
            view: View::new(start),
            percent,
            log: Vec::new(),
            events: Vec::new(),
            found: Vec::new(),
        };

        alone.run(start, &bursts);

        let scale = percent as f64 / 100.0;
        let is_found = |found: &Option<f64>| found.is_some_and(|found| (found - scale).abs() < 1e-9);
        prop_assert!(alone.found.iter().all(is_found), "{:?}, not {scale}", alone.found);
    }

    /// Others use what we do not, and refuse a burst: that some of it was refused explains nothing of the rest.
    #[test]
    fn a_burst_that_others_leave_no_room_for_is_not_explained_by_itself(
        order in Just((0..20usize).collect::<Vec<usize>>()).prop_shuffle(), ours in 0u64..30
    ) {
        let start = start();
        let mut view = View::new(start);
        for number in 0..ours {
            let charge = view.sent(start, Tokens(100));
            view.answered(at(start, number), charge, Said::default());
        }
        let now = at(start, 5_000);
        let burst: Vec<Charge> = (0..20).map(|_| view.sent(now, Tokens(1_000))).collect();

        for number in order {
            view.refused(at(now, 100), burst[number]);
        }

        for charge in burst {
            prop_assert!(!view.explains(at(now, 100), charge, Tokens(LIMIT)));
        }
    }
}
