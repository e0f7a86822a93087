//! What a request brings along unseen: the response or conversation that it continues, and the items that it only names,
//! lie at the instance and count as input all the same. Their sizes are known from the usage of the answers that made
//! them, if they are remembered here.

use super::{Call, Shared};
use crate::actors::Want;
use crate::config::InstanceConfig;
use crate::domain::{InstanceId, Tokens};

/// Adds what the request names and does not show, up to what the limit of its maker leaves: Azure may count less at
/// admission, and a guess alone makes no request too large.
pub(super) fn with_history(shared: &Shared, call: &Call, want: Want) -> Want {
    let unseen = call.ask.ties.iter().filter(|tie| tie.kept.is_unseen());
    let mut made = unseen.filter_map(|tie| shared.makers.of(&tie.id));
    let Some(first) = made.next() else {
        return want;
    };
    let all = made.fold(first.tokens, |sum, made| sum + made.tokens);
    let certain = want.at_most.unwrap_or(want.prompt) + want.output.certain();
    let history = all.min(limit(shared, call, first.by).less(certain));
    Want {
        prompt: want.prompt + history,
        at_most: want.at_most.map(|most| most + history),
        ..want
    }
}

/// Returns the most tokens that the request can have at the resource that keeps the response, or at any if that one
/// serves the model no more. One resource may be listed as several instances.
fn limit(shared: &Shared, call: &Call, maker: InstanceId) -> Tokens {
    let home = shared.instances.get(maker.0).map(|config| &config.api_base);
    let model = &call.ask.model;
    let serves = |config: &&InstanceConfig| config.deployment(&call.key, model).is_some();
    let most = |is_home: bool| {
        let serving = shared.instances.iter().map(AsRef::as_ref).filter(serves);
        let asked = serving.filter(|config| !is_home || Some(&config.api_base) == home);
        asked.map(|config| config.tpm_for(&call.key, model)).max()
    };
    most(true).or_else(|| most(false)).unwrap_or(Tokens::ZERO)
}
