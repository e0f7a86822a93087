//! Talking to Azure: addresses, keys, one request out, one answer's head back. The only file that speaks awc.
//!
//! A request is sent once more, to the same instance and over a new connection, only when a pooled one turned out to be
//! closed; everything else is reported, and `proxy` decides. Bodies are left to `relay`.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::{ParseError, PayloadError};
use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_http::{BoxedPayloadStream, Method, StatusCode};
use awc::error::{ConnectError, SendRequestError};
use awc::http::Uri;
use awc::{Client, ClientResponse, Connector};
use rustls::ClientConfig;

use super::connector::{UpstreamConnector, is_stale};
use super::outflow::{Outflow, Parcel};
use super::pieces::Pieces;
use crate::config::{ApiVersion, InstanceConfig, Timeouts};
use crate::domain::{Deployment, Endpoint};

/// Idle time after which a pooled connection is not used again: below what front ends commonly allow.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Age after which a pooled connection is not used again, so that changed DNS entries are noticed.
const LIFETIME: Duration = Duration::from_secs(300);

const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// What we call ourselves to upstreams.
const USER_AGENT: &str = concat!("azure-openai-proxy/", env!("CARGO_PKG_VERSION"));

/// Where an instance is and how to enter: all that does not change from request to request.
#[derive(Debug)]
pub(super) struct Target {
    /// Base address in the form that awc gets: always `http`, with the port where TLS is to be spoken.
    base: String,
    /// `host:port` if TLS is to be spoken.
    tls_authority: Option<String>,
    api_key: HeaderValue,
    /// Name of the instance, for the answer's headers.
    pub(super) name_value: HeaderValue,
    version: ApiVersion,
    /// Addresses that were asked for before: parsing one costs more than all else that a request asks of a target.
    known: RefCell<HashMap<(Endpoint, Deployment), Uri>>,
}

/// A smaller body is taken whole by the sockets, so that a break while it is sent has nothing to do with its size.
const BUFFERED_BY_THE_SYSTEM: usize = 64 * 1024;

/// Addresses remembered per instance; deployments may be invented by clients. `config` holds their names to letters that
/// a path takes as they are.
const MOST_KNOWN: usize = 256;

impl Target {
    /// Prepares the target of an instance; `None` if its key cannot be sent, which `config` has ruled out.
    pub(super) fn new(config: &InstanceConfig) -> Option<Self> {
        let base = &config.api_base;
        let host = base.host_str()?;
        let port = base.port_or_known_default()?;
        let authority = format!("{host}:{port}");
        let path = base.path().trim_end_matches('/');
        let mut api_key = HeaderValue::from_str(config.api_key.expose()).ok()?;
        api_key.set_sensitive(true);
        Some(Self {
            base: format!("http://{authority}{path}"),
            tls_authority: (base.scheme() == "https").then_some(authority),
            api_key,
            name_value: HeaderValue::from_str(config.name.as_str()).ok()?,
            version: config.api_version.clone(),
            known: RefCell::default(),
        })
    }

    /// Returns the deployment that must stand in the body, which is where all but the dated form of some calls has it.
    pub(super) fn model_in_body<'a>(
        &self,
        endpoint: Endpoint,
        deployment: &'a Deployment,
    ) -> Option<&'a Deployment> {
        match self.version {
            ApiVersion::Dated(_) if endpoint.is_under_deployment() => None,
            ApiVersion::V1 | ApiVersion::Dated(_) => Some(deployment),
        }
    }

    fn uri(&self, endpoint: Endpoint, deployment: &Deployment) -> Result<Uri, NoAnswer> {
        let place = (endpoint, deployment.clone());
        if let Some(uri) = self.known.borrow().get(&place) {
            return Ok(uri.clone());
        }
        let uri: Uri = self
            .url(endpoint, deployment)
            .parse()
            .map_err(|error| NoAnswer {
                kind: Failed::Broken,
                summary: format!("the address of the deployment cannot be formed: {error}"),
            })?;
        let mut known = self.known.borrow_mut();
        if known.len() < MOST_KNOWN {
            known.insert(place, uri.clone());
        }
        Ok(uri)
    }

    fn uri_of(&self, place: &Place<'_>) -> Result<Uri, NoAnswer> {
        match place {
            Place::Endpoint(endpoint, deployment) => self.uri(*endpoint, deployment),
            Place::Kept { path, query } => {
                let base = &self.base;
                let (form, version) = match &self.version {
                    ApiVersion::V1 => ("openai/v1", String::new()),
                    ApiVersion::Dated(version) => ("openai", format!("api-version={version}")),
                };
                let both = match query.is_empty() || version.is_empty() {
                    true => format!("{query}{version}"),
                    false => format!("{query}&{version}"),
                };
                let mark = if both.is_empty() { "" } else { "?" };
                let url = format!("{base}/{form}/{path}{mark}{both}");
                url.parse().map_err(|error| NoAnswer {
                    kind: Failed::Broken,
                    summary: format!("the address of what is kept cannot be formed: {error}"),
                })
            }
        }
    }

    fn url(&self, endpoint: Endpoint, deployment: &Deployment) -> String {
        let base = &self.base;
        let path = endpoint.path();
        match &self.version {
            ApiVersion::V1 => format!("{base}/openai/v1/{path}"),
            ApiVersion::Dated(version) if endpoint.is_under_deployment() => {
                format!("{base}/openai/deployments/{deployment}/{path}?api-version={version}")
            }
            ApiVersion::Dated(version) => format!("{base}/openai/{path}?api-version={version}"),
        }
    }
}

/// A request as one instance gets it.
pub(super) struct Outgoing<'a> {
    pub(super) method: Method,
    pub(super) place: Place<'a>,
    /// What may go up of the client's headers.
    pub(super) headers: &'a HeaderMap,
    pub(super) body: Parcel,
}

/// What is called at an instance.
pub(super) enum Place<'a> {
    /// An inference endpoint.
    Endpoint(Endpoint, &'a Deployment),
    /// What is kept there, by its path below the form of the api-version.
    Kept { path: String, query: &'a str },
}

/// An answer whose head has come.
pub(super) type Answer = ClientResponse<BoxedPayloadStream>;

/// Takes the headers out of an answer, which else keeps them for as long as its body lasts, and with them all that was
/// read from the connection when they came.
pub(super) fn take_headers(answer: Answer) -> (HeaderMap, Answer) {
    let mut headers = HeaderMap::new();
    let answer = answer.map_body(|head, body| {
        headers = std::mem::take(&mut head.headers);
        body
    });
    (headers, answer)
}

/// Why no answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// No connection in time: nothing was sent.
    Connecting,
    /// No connection: nothing was sent.
    Unreachable,
    /// No answer in time, or none that goes on: the request was sent.
    AfterSending,
    /// The connection broke while a large body went out: an early refusal, such as a 413, looks like this.
    Uploading,
    /// We could not read what was to be sent.
    Unreadable,
    /// The way there or the answer was broken.
    Broken,
}

impl Failed {
    /// Says whether time ran out.
    pub(super) fn is_timeout(self) -> bool {
        matches!(self, Self::Connecting | Self::AfterSending)
    }
}

/// No answer has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoAnswer {
    /// What kind of silence it is.
    pub(super) kind: Failed,
    /// One line, for the status page and the client.
    pub(super) summary: String,
}

/// The HTTP client of one worker thread.
pub(super) struct Upstream {
    client: RefCell<Client>,
    connector: UpstreamConnector,
    timeouts: Timeouts,
}

impl Upstream {
    /// Builds the client. Every worker needs its own, since awc's connections belong to a thread.
    pub(super) fn new(tls: Arc<ClientConfig>, timeouts: Timeouts, targets: &[Target]) -> Self {
        let tls_authorities: HashSet<String> = targets
            .iter()
            .filter_map(|target| target.tls_authority.clone())
            .collect();
        let connector = UpstreamConnector::new(tls, tls_authorities);
        Self {
            client: RefCell::new(client(connector.clone(), timeouts)),
            connector,
            timeouts,
        }
    }

    /// Lets go of all idle connections.
    ///
    /// awc has given back that of an answer whose end it cannot see, and what still comes over it would be taken for the
    /// answer to the next request, which may be another client's.
    fn let_go(&self) {
        self.client
            .replace(client(self.connector.clone(), self.timeouts));
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        &self,
        target: &Target,
        outgoing: Outgoing<'_>,
    ) -> Result<Answer, NoAnswer> {
        let uri = target.uri_of(&outgoing.place)?;
        let mut resent = false;
        loop {
            let client = match resent {
                false => self.client.borrow().clone(),
                // Where one kept connection was stale others are, as after a quiet hour behind a firewall.
                true => client(self.connector.clone(), self.timeouts),
            };
            let request = request(&client, target, &uri, &outgoing);
            let sent = match &outgoing.body {
                Parcel::Bytes(bytes) => request.send_body(Pieces(bytes.clone())),
                Parcel::Upload { content, edit } => {
                    request.send_body(Outflow::new(content, edit.as_ref()))
                }
            };
            match sent.await {
                Ok(answer) => {
                    if !has_end(&answer) {
                        self.let_go();
                    }
                    return check_length(answer).and_then(check_encoding);
                }
                Err(error) if !resent && stale(&error) => resent = true,
                Err(error) => return Err(self.explain(&error, outgoing.body.len())),
            }
        }
    }

    fn explain(&self, error: &SendRequestError, body_bytes: usize) -> NoAnswer {
        let seconds = self.timeouts.first_byte.as_secs_f64();
        let (kind, summary) = match error {
            SendRequestError::Timeout => (
                Failed::AfterSending,
                format!("no answer within {seconds} s"),
            ),
            SendRequestError::Connect(ConnectError::Timeout) => {
                (Failed::Connecting, "no connection in time".to_owned())
            }
            SendRequestError::Connect(inner) => {
                (Failed::Unreachable, format!("cannot connect: {inner}"))
            }
            SendRequestError::Send(inner) => (
                match body_bytes > BUFFERED_BY_THE_SYSTEM {
                    true => Failed::Uploading,
                    false => Failed::Broken,
                },
                format!("the connection broke while the request was sent: {inner}"),
            ),
            SendRequestError::Response(inner) => (
                Failed::Broken,
                format!("the connection broke before the answer: {inner}"),
            ),
            SendRequestError::Body(inner) => (
                Failed::Unreadable,
                format!("the stored upload cannot be read: {inner}"),
            ),
            other => (Failed::Broken, format!("the request failed: {other}")),
        };
        NoAnswer { kind, summary }
    }
}

fn client(connector: UpstreamConnector, timeouts: Timeouts) -> Client {
    let connector = Connector::new()
        .connector(connector)
        .timeout(timeouts.connect)
        // The limit would count requests in flight and queue the rest; admission is the windows' task.
        .limit(0)
        .conn_keep_alive(KEEP_ALIVE)
        .conn_lifetime(LIFETIME);
    Client::builder()
        .connector(connector)
        .no_default_headers()
        .disable_redirects()
        .timeout(timeouts.first_byte)
        .finish()
}

fn request(
    client: &Client,
    target: &Target,
    uri: &Uri,
    outgoing: &Outgoing<'_>,
) -> awc::ClientRequest {
    // The usage must be readable, and what comes is passed on byte for byte.
    let as_it_is = HeaderValue::from_static("identity");
    let mut request = client
        .request(outgoing.method.clone(), uri.clone())
        .insert_header((API_KEY, target.api_key.clone()))
        .insert_header((header::ACCEPT_ENCODING, as_it_is))
        .insert_header((header::USER_AGENT, HeaderValue::from_static(USER_AGENT)));
    for (name, value) in outgoing.headers {
        request = request.insert_header((name.clone(), value.clone()));
    }
    if !outgoing.headers.contains_key(header::CONTENT_TYPE) && outgoing.body.len() > 0 {
        let json = HeaderValue::from_static("application/json");
        request = request.insert_header((header::CONTENT_TYPE, json));
    }
    request
}

/// Says whether awc reads an answer of HTTP/1.1 to its end: one that only ends with its connection reaches us as an empty
/// one, and one that ends HTTP (101) as any.
fn has_end(answer: &Answer) -> bool {
    let headers = answer.headers();
    match answer.status() {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => true,
        status if status.is_informational() => false,
        _ => {
            headers.contains_key(header::CONTENT_LENGTH)
                || headers.contains_key(header::TRANSFER_ENCODING)
        }
    }
}

fn check_length(answer: Answer) -> Result<Answer, NoAnswer> {
    let status = answer.status();
    if has_end(&answer) || !(status.is_success() || status.is_informational()) {
        return Ok(answer);
    }
    let summary = "the answer says neither its length nor that it is chunked";
    Err(NoAnswer::broken(summary))
}

/// A compressed answer, though none was asked for, can neither be read for its usage nor be ended properly.
fn check_encoding(answer: Answer) -> Result<Answer, NoAnswer> {
    let encoding = answer.headers().get(header::CONTENT_ENCODING);
    let packed = encoding.filter(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    match packed {
        Some(encoding) if answer.status().is_success() => Err(NoAnswer {
            kind: Failed::Broken,
            summary: format!("the answer is encoded, which was not asked for: {encoding:?}"),
        }),
        _ => Ok(answer),
    }
}

fn stale(error: &SendRequestError) -> bool {
    match error {
        SendRequestError::Send(error)
        | SendRequestError::Response(ParseError::Io(error))
        | SendRequestError::Connect(ConnectError::Io(error)) => is_stale(error),
        _ => false,
    }
}

/// Says in one line why the body of an answer ended early.
pub(super) fn explain_cut(error: &PayloadError) -> String {
    match error {
        PayloadError::Incomplete(_) | PayloadError::EncodingCorrupted | PayloadError::Io(_) => {
            format!("the answer was cut off: {error}")
        }
        other => format!("the answer cannot be read: {other}"),
    }
}
