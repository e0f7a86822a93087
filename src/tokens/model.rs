//! What a model's name says about its counting: the encoding, and the generation whose constants apply.
//!
//! Names are compared in lower case and with or without the hyphen of `gpt-`, as clients and deployments spell them in
//! many ways; `ft:` names follow their base model. A name that says nothing is taken for the newest plain kind.

use super::counter::Counter;
use super::encoding::Encoding;

/// A generation of chat models, as far as it changes how a request is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generation {
    /// gpt-3.5, gpt-4, gpt-4o, gpt-4.1 and unknown names.
    Classic,
    /// o1 and o3-mini: they reason, but their answers have no channels yet.
    EarlyReasoning,
    /// o3, o4-mini.
    OSeries,
    /// gpt-5 and its successors.
    Gpt5,
}

impl Generation {
    /// Tells whether the model thinks before it answers, which shapes its prompt.
    pub(super) fn is_reasoning(self) -> bool {
        match self {
            Self::Classic => false,
            Self::EarlyReasoning | Self::OSeries | Self::Gpt5 => true,
        }
    }

    /// Tells whether the model's messages name the channel they go to.
    pub(super) fn has_channels(self) -> bool {
        match self {
            Self::Classic | Self::EarlyReasoning => false,
            Self::OSeries | Self::Gpt5 => true,
        }
    }
}

/// A model, as far as counting goes.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// Counts text in its encoding.
    pub(super) counter: Counter,
    /// The constants that apply.
    pub(super) generation: Generation,
    /// The name in lower case, without `ft:`.
    pub(super) name: String,
}

impl Model {
    /// Reads a model's name; its text is counted whatever it takes.
    pub(super) fn of(name: &str) -> Self {
        Self::counted_by(name, Counter::unlimited)
    }

    /// Reads a model's name; its text is counted by what `counter` makes of its encoding.
    pub(super) fn counted_by(name: &str, counter: impl FnOnce(Encoding) -> Counter) -> Self {
        let name = base_name(name);
        Self {
            counter: counter(encoding(&name)),
            generation: generation(&name),
            name,
        }
    }
}

/// Returns the name in lower case, of a tuned model that of its base.
fn base_name(name: &str) -> String {
    let lower = name.trim().to_ascii_lowercase();
    match lower.strip_prefix("ft:") {
        Some(tuned) => tuned.split(':').next().unwrap_or(tuned).to_owned(),
        None => lower,
    }
}

/// Returns what follows `gpt-` or `gpt`.
pub(super) fn after_gpt(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("gpt")?;
    Some(rest.strip_prefix('-').unwrap_or(rest))
}

/// Returns the encoding of the model with this name.
pub(super) fn encoding_of(name: &str) -> Encoding {
    encoding(&base_name(name))
}

/// Chooses the table; the prefixes are those of tiktoken's `model.py`.
fn encoding(name: &str) -> Encoding {
    const CL100K: [&str; 4] = ["text-embedding", "davinci", "babbage", "embedding"];
    let is_old_gpt = after_gpt(name).is_some_and(|version| {
        let is_gpt_4 = version == "4"
            || ["4-", "4turbo", "432k"]
                .iter()
                .any(|start| version.starts_with(start));
        is_gpt_4 || ["3.5", "35"].iter().any(|start| version.starts_with(start))
    });
    if is_old_gpt || CL100K.iter().any(|start| name.starts_with(start)) {
        Encoding::Cl100k
    } else {
        Encoding::O200k
    }
}

fn generation(name: &str) -> Generation {
    let digit_after_o = name.strip_prefix('o').and_then(|rest| rest.chars().next());
    if name.starts_with("o1") || name.starts_with("o3-mini") {
        return Generation::EarlyReasoning;
    }
    if digit_after_o.is_some_and(|digit| digit.is_ascii_digit()) {
        return Generation::OSeries;
    }
    let major = after_gpt(name).and_then(|version| version.chars().next());
    match major {
        Some('5'..='9') => Generation::Gpt5,
        Some(_) | None => Generation::Classic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_chooses_its_encoding() {
        for name in [
            "gpt-4",
            "gpt-4-32k",
            "gpt-4-1106-preview",
            "gpt-4-turbo",
            "GPT-35-Turbo",
            "gpt-3.5-turbo-0125",
        ] {
            assert_eq!(encoding_of(name), Encoding::Cl100k, "{name}");
        }
        for name in [
            "text-embedding-ada-002",
            "text-embedding-3-large",
            "davinci-002",
            "ft:gpt-3.5-turbo:me::id",
        ] {
            assert_eq!(encoding_of(name), Encoding::Cl100k, "{name}");
        }
        for name in [
            "gpt-4o",
            "gpt4o-mini",
            "gpt-4.1-nano",
            "gpt-5.4",
            "o3-mini",
            "chatgpt-4o-latest",
            "my-own",
            "",
        ] {
            assert_eq!(encoding_of(name), Encoding::O200k, "{name}");
        }
    }

    #[test]
    fn a_name_chooses_its_generation() {
        assert_eq!(Model::of("o3-mini").generation, Generation::EarlyReasoning);
        assert_eq!(Model::of("o3").generation, Generation::OSeries);
        assert_eq!(Model::of("o4-mini").generation, Generation::OSeries);
        assert_eq!(Model::of("gpt-5.4-mini").generation, Generation::Gpt5);
        assert_eq!(
            Model::of("ft:gpt-4o:me::id").generation,
            Generation::Classic
        );
        assert_eq!(Model::of("omni-moderation").generation, Generation::Classic);
    }
}
