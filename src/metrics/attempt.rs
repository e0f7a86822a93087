//! How an attempt at an instance ends, as it is counted: a closed set, so that the label is bounded.
//!
//! What an answer means for the instance is decided in `proxy`; this is only its name in the metrics.

/// How an attempt at one instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// A complete answer.
    Answered,
    /// One of the client's own errors, relayed.
    ClientError,
    /// 429 over quota, rate or throughput.
    Throttled,
    /// 429 for lack of capacity.
    NoCapacity,
    /// A 5xx, a broken connection.
    Fault,
    /// No answer in time.
    Timeout,
    /// 401 or 403.
    Unauthorized,
    /// The deployment does not exist.
    NoDeployment,
    /// The answer broke off after the client had a part of it.
    Cut,
    /// The client left.
    ClientLeft,
}

impl Attempt {
    pub(super) const ALL: [Self; 10] = [
        Self::Answered,
        Self::ClientError,
        Self::Throttled,
        Self::NoCapacity,
        Self::Fault,
        Self::Timeout,
        Self::Unauthorized,
        Self::NoDeployment,
        Self::Cut,
        Self::ClientLeft,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::ClientError => "client_error",
            Self::Throttled => "throttled",
            Self::NoCapacity => "no_capacity",
            Self::Fault => "fault",
            Self::Timeout => "timeout",
            Self::Unauthorized => "unauthorized",
            Self::NoDeployment => "no_deployment",
            Self::Cut => "cut",
            Self::ClientLeft => "client_left",
        }
    }
}
