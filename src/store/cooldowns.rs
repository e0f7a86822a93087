//! The cooldowns that replicas tell each other, and what changed since this one last looked.
//!
//! Each has a name, and a text of when it ends, who said it and what it is about. Whoever sees that one is over removes
//! it, which is news as well; one that has just ended is kept for a while for that. What could not be told waits here.

use std::collections::HashMap;
use std::time::Duration;

use crate::domain::{Deployment, Tokens};

/// How long a cooldown stays in Redis after its end, less than `pulse.lua` keeps it: a removal before is news.
const REMEMBERED: Duration = Duration::from_secs(25);

/// Cooldowns that wait to be told. Names of deployments may come from clients.
const MOST_WAITING: usize = 512;

/// What is to be left alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum About {
    /// A deployment, after a 429 over the limit of this name.
    Throttled(Deployment, String),
    /// A deployment that does not exist.
    Missing(Deployment),
    /// Requests of a size, for which a deployment had no capacity.
    NoCapacity(Deployment),
    /// The whole instance, which refuses our key.
    Unauthorized,
}

/// Something to be left alone for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooldown {
    /// What.
    pub about: About,
    /// Requests of at least this many tokens are meant.
    pub from: Tokens,
    /// For how long.
    pub wait: Duration,
}

/// What another replica has found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A cooldown has begun, or was lengthened.
    Began(Cooldown),
    /// A cooldown is over before its time, or because its probe was answered.
    Ended(About),
}

impl About {
    fn name(&self) -> String {
        match self {
            Self::Throttled(deployment, _) => format!("throttled {deployment}"),
            Self::Missing(deployment) => format!("missing {deployment}"),
            Self::NoCapacity(deployment) => format!("no_capacity {deployment}"),
            Self::Unauthorized => "unauthorized".to_owned(),
        }
    }

    fn parse(name: &str, limit: &str) -> Option<Self> {
        let (kind, deployment) = name.split_once(' ').unwrap_or((name, ""));
        let deployment = Deployment::new(deployment);
        match kind {
            "throttled" => Some(Self::Throttled(deployment, limit.to_owned())),
            "missing" => Some(Self::Missing(deployment)),
            "no_capacity" => Some(Self::NoCapacity(deployment)),
            "unauthorized" => Some(Self::Unauthorized),
            // A newer version may know more kinds.
            _ => None,
        }
    }
}

/// One entry as it stands in Redis.
struct Entry<'a> {
    ends: Duration,
    said_by: &'a str,
    from: Tokens,
    limit: &'a str,
}

fn parse(text: &str) -> Option<Entry<'_>> {
    let mut words = text.split(' ');
    Some(Entry {
        ends: Duration::from_millis(words.next()?.parse().ok()?),
        said_by: words.next()?,
        from: Tokens(words.next()?.parse().ok()?),
        limit: words.next().unwrap_or(""),
    })
}

/// The cooldowns of one instance.
#[derive(Default)]
pub(super) struct Cooldowns {
    /// As Redis had them when they were last looked at.
    seen: HashMap<String, String>,
    /// To be told: the text, empty for an end.
    untold: HashMap<String, String>,
    /// Changes with every announcement of anybody.
    pub(super) news: i64,
}

impl Cooldowns {
    /// Notes what this replica is to tell.
    pub(super) fn begin(&mut self, now: Duration, replica: &str, cooldown: &Cooldown) {
        let ends = (now + cooldown.wait).as_millis();
        let limit = match &cooldown.about {
            About::Throttled(_, limit) => limit,
            About::Missing(_) | About::NoCapacity(_) | About::Unauthorized => "",
        };
        let text = format!("{ends} {replica} {} {limit}", cooldown.from);
        self.tell(cooldown.about.name(), text);
    }

    /// Notes that something is over, if others may think that it is not.
    pub(super) fn end(&mut self, about: &About) {
        let name = about.name();
        if self.seen.remove(&name).is_some() || self.untold.contains_key(&name) {
            self.tell(name, String::new());
        }
    }

    fn tell(&mut self, name: String, text: String) {
        if self.untold.len() < MOST_WAITING || self.untold.contains_key(&name) {
            self.untold.insert(name, text);
        }
    }

    /// Returns what is to be told. It stays so until Redis has heard it.
    pub(super) fn untold(&self) -> Vec<(String, String)> {
        let untold = self.untold.iter();
        untold
            .map(|(name, text)| (name.clone(), text.clone()))
            .collect()
    }

    /// Notes what Redis has heard. It counts as seen, so that it is not news to this replica. What has changed meanwhile is
    /// still to be told.
    pub(super) fn told(&mut self, told: Vec<(String, String)>) {
        for (name, text) in told {
            if self.untold.get(&name) != Some(&text) {
                continue;
            }
            self.untold.remove(&name);
            if !text.is_empty() {
                self.seen.insert(name, text);
            }
        }
    }

    /// Forgets what Redis had, which has lost it; what this replica said itself is told again.
    pub(super) fn lost(&mut self, now: Duration, replica: &str) {
        for (name, text) in std::mem::take(&mut self.seen) {
            let is_ours =
                parse(&text).is_some_and(|entry| entry.said_by == replica && entry.ends > now);
            if is_ours {
                self.untold.entry(name).or_insert(text);
            }
        }
    }

    /// Forgets all that was said by another clock.
    pub(super) fn forget(&mut self) {
        self.seen.clear();
        self.untold.clear();
    }

    /// Compares what Redis has with what was seen before.
    pub(super) fn learn(
        &mut self,
        now: Duration,
        replica: &str,
        entries: &HashMap<String, String>,
    ) -> Vec<News> {
        let mut news = Vec::new();
        for (name, text) in entries {
            if self.seen.get(name) == Some(text) || self.untold.contains_key(name) {
                continue;
            }
            if let Some(entry) = parse(text)
                && entry.said_by != replica
                && entry.ends > now
                && let Some(about) = About::parse(name, entry.limit)
            {
                news.push(News::Began(Cooldown {
                    about,
                    from: entry.from,
                    wait: entry.ends - now,
                }));
            }
        }
        for (name, text) in &self.seen {
            if !entries.contains_key(name)
                && let Some(entry) = parse(text)
                && entry.ends + REMEMBERED > now
                && let Some(about) = About::parse(name, entry.limit)
            {
                news.push(News::Ended(about));
            }
        }
        self.seen.clone_from(entries);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn throttled() -> About {
        About::Throttled(Deployment::new("gpt-4o"), "tokens".to_owned())
    }

    fn cooldown(wait: u64) -> Cooldown {
        Cooldown {
            about: throttled(),
            from: Tokens(700),
            wait: Duration::from_secs(wait),
        }
    }

    /// What Redis has after a replica has told everything.
    fn told(replica: &mut Cooldowns, redis: &mut HashMap<String, String>) {
        let untold = replica.untold();
        for (name, text) in untold.clone() {
            match text.is_empty() {
                true => redis.remove(&name),
                false => redis.insert(name, text),
            };
        }
        replica.told(untold);
    }

    #[test]
    fn what_is_being_told_is_told_again_until_it_was_heard() {
        let mut mine = Cooldowns::default();
        mine.begin(NOW, "me", &cooldown(20));

        let first = mine.untold();
        let again = mine.untold();
        mine.told(first.clone());

        assert_eq!((first.len(), &first), (1, &again));
        assert_eq!(mine.untold(), []);
    }

    #[test]
    fn an_end_while_its_beginning_is_being_told_is_told_after_it() {
        let mut mine = Cooldowns::default();
        mine.begin(NOW, "me", &cooldown(20));
        let begun = mine.untold();

        mine.end(&throttled());
        mine.told(begun.clone());

        let name = begun[0].0.clone();
        assert_eq!(mine.untold(), [(name, String::new())]);
    }

    #[test]
    fn a_cooldown_is_news_once_and_to_others_only() {
        let (mut mine, mut theirs) = (Cooldowns::default(), Cooldowns::default());
        let mut redis = HashMap::new();
        mine.begin(NOW, "me", &cooldown(20));

        told(&mut mine, &mut redis);

        assert_eq!(mine.learn(NOW, "me", &redis), []);
        let later = NOW + Duration::from_secs(5);
        assert_eq!(
            theirs.learn(later, "them", &redis),
            [News::Began(cooldown(15))]
        );
        assert_eq!(theirs.learn(later, "them", &redis), []);
    }

    #[test]
    fn an_end_found_by_another_is_news_to_who_began_it() {
        let (mut mine, mut theirs) = (Cooldowns::default(), Cooldowns::default());
        let mut redis = HashMap::new();
        mine.begin(NOW, "me", &cooldown(20));
        told(&mut mine, &mut redis);
        theirs.learn(NOW, "them", &redis);

        theirs.end(&throttled());
        told(&mut theirs, &mut redis);

        let later = NOW + Duration::from_secs(22);
        assert_eq!(theirs.learn(later, "them", &redis), []);
        assert_eq!(mine.learn(later, "me", &redis), [News::Ended(throttled())]);
    }

    #[test]
    fn what_was_forgotten_long_after_its_end_is_no_news() {
        let (mut mine, mut theirs) = (Cooldowns::default(), Cooldowns::default());
        let mut redis = HashMap::new();
        mine.begin(NOW, "me", &cooldown(20));
        told(&mut mine, &mut redis);
        theirs.learn(NOW, "them", &redis);

        let news = theirs.learn(NOW + Duration::from_secs(51), "them", &HashMap::new());

        assert_eq!(news, []);
    }

    #[test]
    fn a_redis_that_came_back_empty_is_told_again_by_who_said_it() {
        let (mut mine, mut theirs) = (Cooldowns::default(), Cooldowns::default());
        let mut redis = HashMap::new();
        mine.begin(NOW, "me", &cooldown(20));
        told(&mut mine, &mut redis);
        theirs.learn(NOW, "them", &redis);
        redis.clear();

        for (replica, name) in [(&mut mine, "me"), (&mut theirs, "them")] {
            replica.lost(NOW, name);
            told(replica, &mut redis);
        }

        assert_eq!(redis.len(), 1);
        assert_eq!(mine.learn(NOW, "me", &redis), []);
        // It is told of it once more, which changes nothing.
        assert_eq!(
            theirs.learn(NOW, "them", &redis),
            [News::Began(cooldown(20))]
        );
    }

    #[test]
    fn what_is_not_understood_is_passed_over() {
        let mut mine = Cooldowns::default();
        let odd = [
            ("odd", "1"),
            ("throttled x", "soon you 1 tokens"),
            ("asleep x", "9999999999999 you 1 "),
        ];
        let odd = odd.map(|(name, text)| (name.to_owned(), text.to_owned()));

        assert_eq!(mine.learn(NOW, "me", &odd.into_iter().collect()), []);
    }
}
