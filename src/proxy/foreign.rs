//! What only one resource can do: continue a response or a conversation that it keeps, look up an item, read what it
//! encrypted.
//!
//! Such a job names it by an id, and another resource says that it does not know it, before it does any work.

use serde_json::Value;

use super::Shared;
use super::declined::Declined;
use super::errand::{Action, Job};
use crate::domain::InstanceId;
use crate::error::{ApiError, Code};
use crate::openai::request::Kept;
use crate::openai::response_ids;

/// Returns the ids of what the job is about, continues, refers to, or has encrypted for it, in the order in which they
/// tell where it belongs.
pub(super) fn ties(job: Job<'_>) -> impl Iterator<Item = &str> {
    let (ties, id) = match job {
        Job::Call(call) => (&*call.ask.ties, None),
        Job::Errand(errand) => (&[][..], errand.id.as_deref()),
    };
    ties.iter().map(|tie| tie.id.as_str()).chain(id)
}

/// What is known of where a job belongs, for errors that tell why it got nowhere.
pub(super) struct Search {
    /// What the job is about or continues, in words; none if it could go anywhere.
    pub(super) thing: Option<String>,
    /// Instances that were asked and do not have it.
    pub(super) strangers: u32,
    /// Only the resource that made it was to be asked.
    pub(super) is_home_known: bool,
    /// No instance was left out.
    pub(super) is_everyone: bool,
}

impl Search {
    /// Says what the rest could not be asked for; `None` if nothing is known that others could not say of any request.
    pub(super) fn none_can_be_asked(&self) -> Option<String> {
        let thing = self.thing.as_ref()?;
        match self.none_of_the_asked() {
            Some(asked) => Some(format!("{asked}, and no other instance can be asked now")),
            None if self.is_home_known => Some(format!(
                "Only the instance that made it has {thing}, and it cannot be asked now"
            )),
            None => None,
        }
    }

    /// Says who gave no answer; `None` as above.
    pub(super) fn none_answered(&self) -> Option<String> {
        let thing = self.thing.as_ref()?;
        match self.none_of_the_asked() {
            Some(asked) => Some(format!(
                "{asked}, and no other gave an answer; the last one"
            )),
            None if self.is_home_known => {
                Some(format!("The instance that has {thing} gave no answer"))
            }
            None => None,
        }
    }

    fn none_of_the_asked(&self) -> Option<String> {
        let thing = self.thing.as_ref()?;
        match self.strangers {
            0 => None,
            1 => Some(format!("The instance that was asked does not have {thing}")),
            many => Some(format!(
                "{many} instances were asked and do not have {thing}"
            )),
        }
    }
}

/// Returns what a job is about or continues, in words; of several things that which instances said to lack.
pub(super) fn thing(job: Job<'_>, lacked: Option<&Foreign>) -> Option<String> {
    match job {
        Job::Call(call) => {
            let tie = call.ask.ties.first()?;
            let (kept, id) = match lacked {
                Some(Foreign::Item(id) | Foreign::Unstored(id)) => (Kept::Item, id),
                Some(Foreign::Encrypted) => (Kept::Encrypted, &tie.id),
                Some(
                    Foreign::Response
                    | Foreign::Previous
                    | Foreign::Conversation
                    | Foreign::Conversations,
                )
                | None => (tie.kept, &tie.id),
            };
            Some(match kept {
                Kept::Response => format!("the response `{id}`"),
                Kept::Conversation => format!("the conversation `{id}`"),
                Kept::Item => format!("the item `{id}`"),
                Kept::Encrypted => "the key to the encrypted content".to_owned(),
            })
        }
        Job::Errand(errand) => {
            let id = errand.id.as_ref()?;
            Some(match errand.action.is_of_conversations() {
                true => format!("the conversation `{id}`"),
                false => format!("the response `{id}`"),
            })
        }
    }
}

/// What an instance lacks because another one has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// The response that is asked for.
    Response,
    /// The response that is to be continued.
    Previous,
    /// The conversation that is asked for or to be continued.
    Conversation,
    /// Conversations at all.
    Conversations,
    /// An item to which the input refers, by its id as far as the instance says it.
    Item(String),
    /// The same, and the request says that nothing is to be kept.
    Unstored(String),
    /// The key to what was encrypted.
    Encrypted,
}

impl Foreign {
    /// Says whether an error answer means that another instance should be asked.
    pub(super) fn told(job: Job<'_>, declined: &Declined) -> Option<Self> {
        let status = declined.status.as_u16();
        let body = || serde_json::from_slice::<Value>(&declined.body).unwrap_or_default();
        match job {
            Job::Errand(errand) if status == 404 => Self::told_of(errand.action, &body()),
            Job::Call(call) if call.ask.endpoint.keeps_state() && matches!(status, 400 | 404) => {
                Self::told_in(&body())
            }
            Job::Errand(_) | Job::Call(_) => None,
        }
    }

    fn told_of(action: Action, body: &Value) -> Option<Self> {
        match action {
            Action::Begin => Some(Self::Conversations),
            // The conversation itself is there.
            _ if text(body, "/error/message").starts_with("Item with id") => None,
            _ if action.is_of_conversations() => Some(Self::Conversation),
            _ => Some(Self::Response),
        }
    }

    fn told_in(body: &Value) -> Option<Self> {
        match text(body, "/error/code") {
            "invalid_encrypted_content" => return Some(Self::Encrypted),
            "previous_response_not_found" => return Some(Self::Previous),
            _ => {}
        }
        let (what, rest) = text(body, "/error/message").split_once(" with id ")?;
        match what {
            "Previous response" => Some(Self::Previous),
            "Conversation" => Some(Self::Conversation),
            "Item" if rest.contains("not persisted") => {
                Some(Self::Unstored(quoted(rest).to_owned()))
            }
            "Item" => Some(Self::Item(quoted(rest).to_owned())),
            _ => None,
        }
    }

    /// Says whether the instance may have it all the same: what it has just made takes a moment to be kept.
    pub(super) fn may_be_late(&self, shared: &Shared, instance: InstanceId) -> bool {
        match self {
            Self::Item(id) => {
                let made = shared.makers.of(id);
                made.is_some_and(|made| made.by == instance)
            }
            Self::Response
            | Self::Previous
            | Self::Conversation
            | Self::Conversations
            | Self::Unstored(_)
            | Self::Encrypted => false,
        }
    }

    /// Builds the error for what none of several instances knew.
    pub(super) fn nobody(self, job: Job<'_>, asked: u32) -> ApiError {
        let gone = match job {
            Job::Call(_) => {
                "It may have expired or been deleted, or the instance that made it is no longer configured or does not \
                 serve the model."
            }
            Job::Errand(_) => {
                "It may have expired or been deleted, or the instance that made it is no longer configured."
            }
        };
        let unknown = |code: Code, what: &str, kept: Kept| {
            let id = id(job, kept);
            let message = format!("None of {asked} instances knows the {what} `{id}`. {gone}");
            ApiError::new(code, message)
        };
        let field = |name: &'static str| matches!(job, Job::Call(_)).then_some(name);
        match self {
            Self::Response => unknown(Code::ResponseNotFound, "response", Kept::Response),
            Self::Previous => {
                let code = Code::InvalidRequest("previous_response_not_found");
                let error = unknown(code, "previous response", Kept::Response);
                error.with_param(field("previous_response_id"))
            }
            Self::Conversation => {
                let code = Code::ConversationNotFound;
                let error = unknown(code, "conversation", Kept::Conversation);
                error.with_param(field("conversation"))
            }
            Self::Conversations => ApiError::new(
                Code::NotOfAzure,
                format!(
                    "None of {asked} instances has the Conversations API. `previous_response_id` continues a response \
                     without it."
                ),
            ),
            // In the service's words, by which clients know that they must send the items themselves.
            Self::Item(id) | Self::Unstored(id) => ApiError::new(
                Code::InvalidRequest("item_not_found"),
                format!(
                    "Item with id '{id}' not found. None of {asked} instances has every item that the input refers to: \
                     items are kept by the instance that made them, unless `store` was false. {gone}"
                ),
            )
            .with_param(field("input")),
            Self::Encrypted => ApiError::new(
                Code::InvalidRequest("invalid_encrypted_content"),
                format!(
                    "None of {asked} instances can read the encrypted content. The instance that made it may no \
                     longer be configured."
                ),
            )
            .with_param(field("input")),
        }
    }
}

/// Returns the id by which the job names what is kept.
fn id(job: Job<'_>, kept: Kept) -> &str {
    match job {
        Job::Call(call) => {
            let mut ties = call.ask.ties.iter();
            let tie = ties.find(|tie| tie.kept == kept);
            tie.map_or("", |tie| tie.id.as_str())
        }
        Job::Errand(errand) => errand.id.as_deref().unwrap_or_default(),
    }
}

fn text<'a>(body: &'a Value, place: &str) -> &'a str {
    let found = body.pointer(place).and_then(Value::as_str);
    found.unwrap_or_default()
}

/// Returns the id in quotes that a text begins with, `..` if it has none.
fn quoted(text: &str) -> &str {
    let mut parts = text.split('\'');
    let id = parts.nth(1).filter(|id| response_ids::is_legal(id));
    id.unwrap_or("..")
}
