//! Calls about what an instance keeps: responses, conversations, their items. They are read, changed and deleted there.
//!
//! They need no tokens and no model; which instance may be asked is `eligible`'s to say. A `Job` is either of what the
//! attempt loop carries, so that errands have the same limits on time, the same verdicts and the same log line as calls.

use actix_http::Method;
use actix_http::header::HeaderMap;
use bytes::Bytes;

use super::Call;
use super::outflow::{Parcel, Upload};
use super::relay::Dialect;
use super::upstream::{Outgoing, Place, Target};
use crate::actors::{Output, Want};
use crate::config::{ApiVersion, InstanceConfig};
use crate::correction::Basis;
use crate::domain::{Deployment, Endpoint, ModelKey, ModelName, Tokens};
use crate::openai::request::Kept;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `GET /v1/responses/{id}`
    Retrieve,
    /// `DELETE /v1/responses/{id}`
    Delete,
    /// `POST /v1/responses/{id}/cancel`
    Cancel,
    /// `GET /v1/responses/{id}/input_items`
    InputItems,
    /// `POST /v1/conversations`: at any instance, as nothing is kept yet.
    Begin,
    /// `GET /v1/conversations/{id}`
    RetrieveConversation,
    /// `POST /v1/conversations/{id}`
    UpdateConversation,
    /// `DELETE /v1/conversations/{id}`
    DeleteConversation,
    /// `GET /v1/conversations/{id}/items`
    Items,
    /// `POST /v1/conversations/{id}/items`
    AddItems,
    /// `GET /v1/conversations/{id}/items/{item}`
    RetrieveItem,
    /// `DELETE /v1/conversations/{id}/items/{item}`
    DeleteItem,
}

impl Action {
    /// Every action, for routes: those of one path beside each other.
    pub const ALL: [Self; 12] = [
        Self::Retrieve,
        Self::Delete,
        Self::Cancel,
        Self::InputItems,
        Self::Begin,
        Self::RetrieveConversation,
        Self::UpdateConversation,
        Self::DeleteConversation,
        Self::Items,
        Self::AddItems,
        Self::RetrieveItem,
        Self::DeleteItem,
    ];

    /// Returns the method by which it is called.
    pub fn method(self) -> Method {
        match self {
            Self::Retrieve
            | Self::InputItems
            | Self::RetrieveConversation
            | Self::Items
            | Self::RetrieveItem => Method::GET,
            Self::Delete | Self::DeleteConversation | Self::DeleteItem => Method::DELETE,
            Self::Cancel | Self::Begin | Self::UpdateConversation | Self::AddItems => Method::POST,
        }
    }

    /// Returns its path after `/v1/`, as routes spell it.
    pub fn path(self) -> &'static str {
        match self {
            Self::Retrieve | Self::Delete => "responses/{id}",
            Self::Cancel => "responses/{id}/cancel",
            Self::InputItems => "responses/{id}/input_items",
            Self::Begin => "conversations",
            Self::RetrieveConversation | Self::UpdateConversation | Self::DeleteConversation => {
                "conversations/{id}"
            }
            Self::Items | Self::AddItems => "conversations/{id}/items",
            Self::RetrieveItem | Self::DeleteItem => "conversations/{id}/items/{item}",
        }
    }

    /// Returns its name in the log and the metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Retrieve => "responses/retrieve",
            Self::Delete => "responses/delete",
            Self::Cancel => "responses/cancel",
            Self::InputItems => "responses/input_items",
            Self::Begin => "conversations/create",
            Self::RetrieveConversation => "conversations/retrieve",
            Self::UpdateConversation => "conversations/update",
            Self::DeleteConversation => "conversations/delete",
            Self::Items => "conversations/items/list",
            Self::AddItems => "conversations/items/create",
            Self::RetrieveItem => "conversations/items/retrieve",
            Self::DeleteItem => "conversations/items/delete",
        }
    }

    /// Says whether it brings a body.
    pub fn takes_body(self) -> bool {
        matches!(
            self,
            Self::Begin | Self::UpdateConversation | Self::AddItems
        )
    }

    /// Says whether it is about a conversation, which only the v1 form has, and not about a response.
    pub fn is_of_conversations(self) -> bool {
        self.path().starts_with("conversations")
    }
}

/// A call about what is kept.
pub struct Errand {
    /// What is to be done.
    pub action: Action,
    /// The response or the conversation, an id that can stand in a path; none if it is yet to be made.
    pub id: Option<String>,
    /// The item of it that is meant, likewise.
    pub item: Option<String>,
    /// The query without an api-version, which is the instance's own.
    pub query: String,
    /// Those of its headers that may go up.
    pub headers: HeaderMap,
    /// Its body as it came.
    pub body: Bytes,
    /// Name of the client key, for the log.
    pub client: Option<String>,
    /// It came in Azure's form.
    pub is_azure: bool,
}

impl Errand {
    /// Returns its path after `/v1/`.
    fn path(&self) -> String {
        let id = self.id.as_deref().unwrap_or_default();
        let item = self.item.as_deref().unwrap_or_default();
        let path = self.action.path();
        path.replace("{id}", id).replace("{item}", item)
    }

    /// Says what it needs of an instance: a place in its count, and no tokens.
    pub(super) fn want(&self) -> Want {
        Want {
            model: ModelKey::of(""),
            name: ModelName::new("-"),
            is_errand: true,
            prompt: Tokens::ZERO,
            basis: Basis::Counted,
            at_most: None,
            output: Output::Capped(Tokens::ZERO),
            charge: Tokens::ZERO,
        }
    }
}

fn continues_conversation(call: &Call) -> bool {
    let mut ties = call.ask.ties.iter();
    ties.any(|tie| tie.kept == Kept::Conversation)
}

/// What is carried to an instance.
#[derive(Clone, Copy)]
pub(super) enum Job<'a> {
    Call(&'a Call),
    Errand(&'a Errand),
}

impl<'a> Job<'a> {
    /// Returns what messages say that nobody serves.
    pub(super) fn subject(self) -> ModelName {
        match self {
            Self::Call(call) => call.ask.model.clone(),
            Self::Errand(errand) => {
                ModelName::new(errand.id.as_deref().unwrap_or(errand.action.label()))
            }
        }
    }

    /// Says whether the client speaks Azure's form, and so knows Azure's errors.
    pub(super) fn is_azure(self) -> bool {
        match self {
            Self::Call(call) => call.is_azure,
            Self::Errand(errand) => errand.is_azure,
        }
    }

    pub(super) fn dialect(self) -> Dialect {
        match self {
            Self::Call(call) => Dialect::of(call.ask.endpoint),
            Self::Errand(_) => Dialect::Responses,
        }
    }

    /// Says whether instances of an api-version know what is called.
    pub(super) fn is_known_to(self, version: &ApiVersion) -> bool {
        match self {
            Self::Call(call) if continues_conversation(call) => *version == ApiVersion::V1,
            Self::Call(call) => version.knows(call.ask.endpoint),
            Self::Errand(errand) if errand.action.is_of_conversations() => {
                *version == ApiVersion::V1
            }
            Self::Errand(_) => version.knows(Endpoint::Responses),
        }
    }

    /// Returns what is called, as its path after `/v1/`, and the dated api-version that has it first, if one has.
    pub(super) fn called(self) -> (&'static str, Option<&'static str>) {
        let endpoint = match self {
            Self::Call(call) if continues_conversation(call) => {
                return ("responses with `conversation`", None);
            }
            Self::Call(call) => call.ask.endpoint,
            Self::Errand(errand) if errand.action.is_of_conversations() => {
                return ("conversations", None);
            }
            Self::Errand(_) => Endpoint::Responses,
        };
        (endpoint.path(), endpoint.known_since())
    }

    /// Says whether the instance is to be asked for a usage that the client did not ask for.
    pub(super) fn adds_usage(self, config: &InstanceConfig) -> bool {
        match self {
            Self::Call(call) => {
                call.ask.leaves_usage_out() && config.api_version.knows_stream_usage()
            }
            Self::Errand(_) => false,
        }
    }

    /// Returns the request as one instance needs it.
    pub(super) fn outgoing(
        self,
        target: &Target,
        deployment: &'a Deployment,
        adds_usage: bool,
    ) -> Outgoing<'a> {
        match self {
            Self::Call(call) => {
                let model = target.model_in_body(call.ask.endpoint, deployment);
                // Azure holds it against the names of real models there, and takes none.
                let drops_model = model.is_none() && call.ask.endpoint.makes_images();
                let body = match &call.upload {
                    Some(Upload { fields, content }) => Parcel::Upload {
                        content: content.clone(),
                        edit: match drops_model {
                            true => fields.without_model(),
                            false => model.and_then(|model| fields.with_model(model)),
                        },
                    },
                    None if drops_model => Parcel::Bytes(call.ask.body_without_model(&call.body)),
                    None => Parcel::Bytes(call.ask.upstream_body(&call.body, model, adds_usage)),
                };
                Outgoing {
                    method: Method::POST,
                    place: Place::Endpoint(call.ask.endpoint, deployment),
                    headers: &call.headers,
                    body,
                }
            }
            Self::Errand(errand) => Outgoing {
                method: errand.action.method(),
                place: Place::Kept {
                    path: errand.path(),
                    query: &errand.query,
                },
                headers: &errand.headers,
                body: Parcel::Bytes(errand.body.clone()),
            },
        }
    }
}
