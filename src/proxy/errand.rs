//! Calls about a response that an instance keeps: read, delete, cancel, list its input.
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
use crate::config::InstanceConfig;
use crate::correction::Basis;
use crate::domain::{Deployment, Endpoint, ModelKey, ModelName, Tokens};

/// What is to be done with a kept response.
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
}

impl Action {
    /// Every action, for routes.
    pub const ALL: [Self; 4] = [Self::Retrieve, Self::Delete, Self::Cancel, Self::InputItems];

    /// Returns the method by which it is called.
    pub fn method(self) -> Method {
        match self {
            Self::Retrieve | Self::InputItems => Method::GET,
            Self::Delete => Method::DELETE,
            Self::Cancel => Method::POST,
        }
    }

    /// Returns what follows the id in its path.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Retrieve | Self::Delete => "",
            Self::Cancel => "/cancel",
            Self::InputItems => "/input_items",
        }
    }

    /// Returns its name in the log and the metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Retrieve => "responses/retrieve",
            Self::Delete => "responses/delete",
            Self::Cancel => "responses/cancel",
            Self::InputItems => "responses/input_items",
        }
    }
}

/// A call about a kept response.
pub struct Errand {
    /// What is to be done.
    pub action: Action,
    /// The response, an id that can stand in a path.
    pub id: String,
    /// The query without an api-version, which is the instance's own.
    pub query: String,
    /// Those of its headers that may go up.
    pub headers: HeaderMap,
    /// Name of the client key, for the log.
    pub client: Option<String>,
    /// It came in Azure's form.
    pub is_azure: bool,
}

impl Errand {
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
            Self::Errand(errand) => ModelName::new(errand.id.as_str()),
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

    pub(super) fn endpoint(self) -> Endpoint {
        match self {
            Self::Call(call) => call.ask.endpoint,
            Self::Errand(_) => Endpoint::Responses,
        }
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
                    id: &errand.id,
                    suffix: errand.action.suffix(),
                    query: &errand.query,
                },
                headers: &errand.headers,
                body: Parcel::Bytes(Bytes::new()),
            },
        }
    }
}
