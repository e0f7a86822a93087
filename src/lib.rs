//! Azure OpenAI Proxy: one OpenAI-compatible endpoint in front of many Azure OpenAI resources.
//!
//! # Layers
//!
//! Imports go downwards only; `tests/layers` holds the sources to it.
//!
//! ```text
//! 5  main                        the command line: serve, check, count, demo, simulate, healthcheck
//! 4  app                         the only wiring: configuration -> actors -> server
//! 3  http -> proxy               thin handlers -> the attempt loop, upstream client, verdict, relay
//! 2  actors -> store   spool -> metrics   error   shared state; the quota of all replicas; large uploads; our own errors
//! 1  routing  queue  quota -> health, window  ledger  correction  output_average  tokens  openai    pure: no clock
//! 0  domain   config   telemetry
//! ```
//!
//! `simulator` stands beside them: a simulated Azure OpenAI resource for tests, `demo` and `simulate`. Nothing in the
//! layers imports it.
//!
//! # The life of a request
//!
//! 1. `http::inference` checks the client's key, reads the body and lets [`openai::request::Ask`] find what matters in
//!    it, JSON or a form, of which [`spool`] puts what is large into a file. The bytes stay as they came; only `model`
//!    and `stream_options` are ever edited, where Azure needs it.
//! 2. `proxy::weigh` says how many tokens to reserve: an estimate from the bytes while that is safe, else a count by
//!    [`tokens`].
//! 3. [`proxy::Proxy::serve`] asks the Registry for a [`Lease`](actors::Lease). The Registry filters the instances that
//!    serve the model and were not tried yet, [`routing`] orders them, and the first that can reserve does. An instance
//!    that an estimate leaves in doubt says so; then the request is counted and asks again.
//!    When nobody takes it now, it waits its turn in [`queue`] if it may and if a forecast says it will be served in time;
//!    else it learns when to come again.
//! 4. `proxy::upstream` sends the request. [`proxy::verdict`] judges an answer that is no success: relay it, or settle
//!    the lease and go back to 3. Each instance is tried once at most, but for one that
//!    may just not have stored yet what it has made: it is asked once more.
//! 5. `proxy::relay` holds a good answer until it is one (a whole JSON body, the first content of a stream), since until
//!    then a failure costs only a move to the next instance. Then bytes pass through as they come.
//! 6. `proxy::account`, which has travelled with the request into the body, settles the lease to the real usage, counts
//!    the request and writes its log line: once, on every path out, a client that leaves and a panic included.
//!
//! # The actors and what they say
//!
//! | message | from -> to | what for | reply |
//! |---|---|---|---|
//! | `Acquire` | Outbox -> Registry | a lease for `want`, not from those `tried` | `Result<Lease, Unavailable>` |
//! | `Leave` | Outbox -> Registry | nobody waits for the answer to an `Acquire` any more | none |
//! | `Settlements` | Outbox -> Registry | what a worker owes, ahead of its next `Acquire` or after 2 ms | none |
//! | `Settle` | Lease, from `Drop` -> Instance | a reservation of which nobody said what became of it | none |
//! | `Confirm` | Lease, or Outbox for streams -> Instance | a good answer has begun, and what its head says of quota | none |
//! | `Waiting` | http, tests -> Registry | who waits | `QueueView` |
//! | `Farewell` | app -> Registry | all requests have ended; other replicas are to know what they used | none |
//! | `Adopt` | Registry -> Instance | what other replicas have found out about it | none |
//! | `Snapshot` | http, tests -> Registry | the state of all instances | `Vec<InstanceView>` |
//! | `Describe` | Registry -> Instance | the state of one | `InstanceView` |
//!
//! An Instance owns its [`quota`], its [`health`] and its errors, and nobody else changes them: N parallel requests can
//! never be admitted past a limit. It reads the clock once for each thing it is asked and leaves decisions to the pure
//! modules, where cooldowns and windows are deadlines compared with `now`. A `Lease` is RAII: whoever holds it owes a
//! settlement.
//!
//! Reserving, forecasting and the settlements of workers are no messages but calls: the Registry shares the instances'
//! thread, and their state with them (`actors::member`). With messages each request switched between three tasks one
//! after the other, to keep the order; with calls 64 requests at once take two fifths of the time (`benches/acquire.rs`),
//! and nothing can happen between a question and what follows from its answer.
//!
//! So an instance's answer is never stale, the Registry keeps no copy of states, and there is no message by which instances
//! would report theirs. What other threads need at no cost (load, free tokens) is published in a
//! [`Gauge`](actors::Gauge): hints, not decisions.
//! `Confirm` exists because a stream may last minutes: neither should a cured instance wait for the end of its probe, nor
//! the news of Azure's quota for that of any other. Only a probe's is sent by itself, others go with the settlements.
//! Waking the actors' thread costs more than all that it does for a request. So the [`Outbox`](actors::Outbox) of a
//! worker keeps settlements for its next `Acquire`: one cross-thread round trip per attempt is all. With one worker and
//! no other replicas the actors live on its thread, and there is none ([`actors::Launch`]). Bytes never enter a mailbox.
//!
//! While nobody waits, the Registry serves a request where it comes in. Those that wait are served by one task, one after
//! the other: so nobody is overtaken, and a strategy sees what it has just given away. Instances wake it through a bell
//! when something was settled, and only while somebody waits. What clients choose cannot grow it: lines of the queue and
//! names to which times were promised are bounded, and what a newcomer costs grows with the root of how many wait.
//!
//! With `USE_REDIS_RATE_LIMITER` a reservation is made twice: here, by what is known, and then by [`store`] in Redis, for
//! all replicas. If Redis refuses, the first is given back and the request asks again from its old place, unless its
//! client has left meanwhile; a lease that reaches nobody is given back whole, here and in Redis. One task, the
//! store's keeper, tells Redis of settlements and cooldowns and brings the others' back. While Redis is away the
//! [`ledger`] decides, at once, with this replica's share.
//!
//! # Where to look
//!
//! | concern | place |
//! |---|---|
//! | variables, their checks, the table of `check` | [`config`]; only `config::raw` reads the environment |
//! | errors of upstreams in OpenAI's shape | `error::foreign` |
//! | forms with files | [`openai::multipart`], `openai::request`; their flat reservations in `proxy::weigh` |
//! | bodies: limits, stalls, why uploads are taken whole | `http::body`, `http::upload`, [`spool`]; sent by `proxy::outflow` |
//! | clients that do not read; quiet connections | `http::socket`; `proxy::quiet` |
//! | chunks of the content filter alone | [`openai::filter_chunks`] |
//! | what our own errors say | [`error`], the only writer of error JSON; `proxy::give_up` for "nothing available" |
//! | limits of instance and deployment, settlement | [`quota`] over [`window`]; doubt about estimates in `actors::instance` |
//! | what Azure has counted, by its headers and 429s | `quota::view` for tokens, `quota::calls`; `proxy::quota_headers` reads them |
//! | waiting: order, deadlines, promises | [`queue`]; `actors::dispatcher` does what it says |
//! | what answers teach | [`correction`] for prompts, [`output_average`] for outputs |
//! | 429s, faults, cooldowns, probes | [`proxy::verdict`], [`proxy::retry_after`], `quota::throttle`, [`health`] |
//! | what an api-version knows of endpoints and fields | [`config::ApiVersion`], [`domain::Feature`], `proxy::eligible` |
//! | several replicas: scripts, faults of Redis, coming back | [`store`], [`ledger`], `actors::shared`; cooldowns in `store::cooldowns` |
//! | spellings of an address, other sites' pages | `http::paths`, `http::cors` |
//! | headers that pass | [`proxy::headers`] |
//! | TLS, stale connections | `proxy::connector`; with `proxy::upstream` the only ones that speak awc |
//! | streams: event ends, usage, `[DONE]`, cuts | [`openai::sse`], [`openai::response_events`], `proxy::relay` |
//! | which instances know an endpoint, or keep what a request names | `proxy::eligible`, `proxy::makers`; `openai::request` finds the ties |
//! | reading, changing, deleting responses and conversations | [`proxy::errand`], carried by the same attempt loop |
//! | log lines and metrics | `proxy::account`, [`telemetry`], [`metrics`] |

pub mod actors;
pub mod app;
pub mod config;
pub mod correction;
pub mod domain;
pub mod error;
pub mod health;
pub mod http;
pub mod ledger;
pub mod metrics;
pub mod openai;
pub mod output_average;
pub mod proxy;
pub mod queue;
pub mod quota;
pub mod routing;
pub mod simulator;
pub mod spool;
pub mod store;
pub mod telemetry;
pub mod tokens;
pub mod window;
