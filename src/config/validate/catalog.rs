//! Makes the list of model names for `/v1/models`.
//!
//! `_MODELS` spells a model as clients do. The name of a variable cannot (`MODEL_MAP_GPT4o`), so well-known models get
//! their usual spelling back from a table. One entry per model, whatever the spellings.

use std::collections::BTreeMap;

use super::models::Mapping;
use crate::config::InstanceConfig;
use crate::domain::{ModelKey, ModelName};

/// Models as OpenAI's API reference spells them. Azure's `gpt-35-turbo` is compared as `gpt-3.5-turbo`.
const WELL_KNOWN: [&str; 63] = [
    "gpt-5.2",
    "gpt-5.1",
    "gpt-5.1-chat",
    "gpt-5.1-codex",
    "gpt-5.1-codex-mini",
    "gpt-5",
    "gpt-5-mini",
    "gpt-5-nano",
    "gpt-5-chat",
    "gpt-5-chat-latest",
    "gpt-5-codex",
    "gpt-5-pro",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4.1-nano",
    "gpt-4.5-preview",
    "gpt-4o",
    "gpt-4o-2024-05-13",
    "gpt-4o-2024-08-06",
    "gpt-4o-2024-11-20",
    "gpt-4o-mini",
    "gpt-4o-mini-2024-07-18",
    "gpt-4o-audio-preview",
    "gpt-4-turbo",
    "gpt-4-turbo-2024-04-09",
    "gpt-4-turbo-preview",
    "gpt-4-vision-preview",
    "gpt-4",
    "gpt-4-0613",
    "gpt-4-32k",
    "gpt-3.5-turbo",
    "gpt-3.5-turbo-0125",
    "gpt-3.5-turbo-1106",
    "gpt-3.5-turbo-16k",
    "gpt-3.5-turbo-instruct",
    "gpt-oss-120b",
    "gpt-oss-20b",
    "o1",
    "o1-mini",
    "o1-preview",
    "o1-pro",
    "o3",
    "o3-mini",
    "o3-pro",
    "o4-mini",
    "codex-mini",
    "model-router",
    "text-embedding-3-large",
    "text-embedding-3-small",
    "text-embedding-ada-002",
    "gpt-image-1",
    "gpt-image-1-mini",
    "dall-e-2",
    "dall-e-3",
    "whisper-1",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-transcribe-diarize",
    "gpt-4o-mini-tts",
    "tts-1",
    "tts-1-hd",
    "davinci-002",
    "babbage-002",
];

/// Returns the usual spelling of a well-known model.
pub(in crate::config) fn spelling(key: &ModelKey) -> Option<&'static str> {
    WELL_KNOWN
        .into_iter()
        .find(|name| ModelKey::of(name) == *key)
}

/// Lists the spelled and the mapped models that some instance serves.
pub(super) fn list(
    spelled: &[ModelName],
    mappings: &[Mapping],
    instances: &[InstanceConfig],
) -> Vec<ModelName> {
    let mut names: BTreeMap<ModelKey, ModelName> = BTreeMap::new();
    for model in spelled {
        let key = ModelKey::of(model.as_str());
        names.entry(key).or_insert_with(|| model.clone());
    }
    for mapping in mappings {
        if !instances
            .iter()
            .any(|instance| instance.serves(&mapping.key))
        {
            continue;
        }
        names.entry(mapping.key.clone()).or_insert_with(|| {
            let known = spelling(&mapping.key).map(str::to_owned);
            ModelName::new(known.unwrap_or_else(|| mapping.spelling.to_lowercase()))
        });
    }
    let mut names: Vec<ModelName> = names.into_values().collect();
    names.sort();
    names
}
