//! The content filter's verdicts, which Azure adds to every answer: always `safe` here.

use serde::Serialize;

/// `content_filter_results` of a prompt or a choice.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Filters {
    #[serde(skip_serializing_if = "Option::is_none")]
    hate: Option<Severity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jailbreak: Option<Detection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protected_material_code: Option<Detection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protected_material_text: Option<Detection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    self_harm: Option<Severity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sexual: Option<Severity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    violence: Option<Severity>,
}

/// One entry of `prompt_filter_results`.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct PromptFilter {
    prompt_index: usize,
    content_filter_results: Filters,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Severity {
    filtered: bool,
    severity: &'static str,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Detection {
    filtered: bool,
    detected: bool,
}

const SAFE: Severity = Severity {
    filtered: false,
    severity: "safe",
};
const ABSENT: Detection = Detection {
    filtered: false,
    detected: false,
};

impl Filters {
    /// No verdict: of tool calls, and of chunks without text.
    pub(super) const NONE: Self = Self {
        hate: None,
        jailbreak: None,
        protected_material_code: None,
        protected_material_text: None,
        self_harm: None,
        sexual: None,
        violence: None,
    };

    /// The verdict on a piece of a streamed text.
    pub(super) const CHUNK: Self = Self {
        hate: Some(SAFE),
        self_harm: Some(SAFE),
        sexual: Some(SAFE),
        violence: Some(SAFE),
        ..Self::NONE
    };

    /// The verdict on a whole text.
    pub(super) const WHOLE: Self = Self {
        protected_material_code: Some(ABSENT),
        protected_material_text: Some(ABSENT),
        ..Self::CHUNK
    };
}

impl PromptFilter {
    /// The verdict on the prompt of this index.
    pub(super) fn safe(prompt_index: usize) -> Self {
        Self {
            prompt_index,
            content_filter_results: Filters {
                jailbreak: Some(ABSENT),
                ..Filters::CHUNK
            },
        }
    }
}
