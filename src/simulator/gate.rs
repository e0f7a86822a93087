//! What Azure refuses before it counts a token: keys, headers, versions, deployments, fields.
//!
//! Checks run in the order of the real service; the first that fails answers. Quota is left to `quota`.

use super::ask::Ask;
use super::errors;
use super::reply::Reply;
use super::resource::{Resource, SimDeployment};
use super::route::{Form, Route};
use super::wire::Head;
use crate::domain::Endpoint;

/// More custom headers than this is a 431 (Azure OpenAI limits, note 2).
const MAX_CUSTOM_HEADERS: usize = 10;

/// Headers that do not count as custom.
const STANDARD_HEADERS: [&str; 21] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "accept",
    "accept-encoding",
    "accept-language",
    "accept-charset",
    "user-agent",
    "connection",
    "keep-alive",
    "te",
    "expect",
    "authorization",
    "api-key",
    "date",
    "cache-control",
    "pragma",
    "origin",
    "referer",
    "via",
];

/// What Azure says to a call of the Responses API under an older version.
const TOO_OLD: &str =
    "Azure OpenAI Responses API is enabled only for api-version 2025-03-01-preview and later";

/// Fields and the first api-version date that knows them (Azure's API version lifecycle page).
const FIELD_SINCE: [(&str, &str); 12] = [
    ("tools", "2023-12-01"),
    ("tool_choice", "2023-12-01"),
    ("response_format", "2023-12-01"),
    ("seed", "2023-12-01"),
    ("stream_options", "2024-09-01"),
    ("max_completion_tokens", "2024-09-01"),
    ("parallel_tool_calls", "2024-09-01"),
    ("reasoning_effort", "2024-12-01"),
    ("store", "2024-12-01"),
    ("metadata", "2024-12-01"),
    ("prediction", "2025-01-01"),
    // No dated version has conversations.
    ("conversation", "v1"),
];

/// A request that passed every check.
#[derive(Debug)]
pub(super) struct Admissible<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) deployment: &'a SimDeployment,
    /// As the messages name it: the dated version, or `v1`.
    pub(super) api_version: String,
    pub(super) ask: Ask,
}

/// Checks the head and the body of a request.
pub(super) fn check<'a>(
    resource: &'a Resource,
    head: &Head,
    body: &[u8],
) -> Result<Admissible<'a>, Box<Reply>> {
    let route = Route::parse(&head.target).filter(|_| head.method == "POST");
    let Some(route) = route else {
        return Err(errors::not_found().into());
    };
    check_headers(resource, head, &route.form)?;
    let api_version = api_version(&route)?;
    let Some(ask) = Ask::of(head, body) else {
        let is_form = route.endpoint.takes_form();
        return Err(if is_form { bad_form() } else { bad_json() }.into());
    };
    let named = match &route.form {
        Form::Deployment(name) => name.as_str(),
        Form::V1 | Form::Dated => ask.text("model").unwrap_or_default(),
    };
    let Some(deployment) = resource.find(named) else {
        return Err(errors::deployment_not_found().into());
    };
    check_fields(route.endpoint, &api_version, &ask)?;
    check_model(route.endpoint, &deployment.model, &ask)?;
    let names_other = ask
        .text("model")
        .is_some_and(|name| name != deployment.model);
    let makes_images = route.endpoint.makes_images();
    if makes_images && names_other && matches!(route.form, Form::Deployment(_)) {
        let message = "The model in the body is not one that generates images.";
        return Err(errors::bad_request(message, Some("model"), Some("invalid_value")).into());
    }
    Ok(Admissible {
        endpoint: route.endpoint,
        deployment,
        api_version,
        ask,
    })
}

/// Checks the head of a call about a kept response.
pub(super) fn check_errand(resource: &Resource, head: &Head) -> Result<(), Box<Reply>> {
    let form = match head.target.contains("/openai/v1/") {
        true => Form::V1,
        false => Form::Dated,
    };
    check_headers(resource, head, &form)?;
    let route = Route {
        endpoint: Endpoint::Responses,
        form,
        api_version: Route::version(&head.target),
    };
    api_version(&route).map(drop)
}

fn check_headers(resource: &Resource, head: &Head, form: &Form) -> Result<(), Box<Reply>> {
    let key = resource.key.expose();
    let bearer = head
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    let by_bearer = *form == Form::V1 && bearer == Some(key);
    if head.header("api-key") != Some(key) && !by_bearer {
        // Azure answers a token that it does not know in another shape than a key.
        let reply = match (head.header("api-key"), bearer) {
            (None, Some(_)) => errors::token_denied(),
            (Some(_), _) | (None, None) => errors::access_denied(),
        };
        return Err(reply.into());
    }
    let custom = head
        .headers
        .iter()
        .filter(|(name, _)| !STANDARD_HEADERS.contains(&name.as_str()))
        .count();
    if custom > MAX_CUSTOM_HEADERS {
        return Err(errors::too_many_headers().into());
    }
    Ok(())
}

fn api_version(route: &Route) -> Result<String, Box<Reply>> {
    match (&route.form, route.api_version.as_deref()) {
        (Form::V1, None | Some("v1" | "preview")) => Ok("v1".to_owned()),
        (Form::V1, Some(_)) => {
            Err(errors::bad_request("API version not supported", None, Some("BadRequest")).into())
        }
        (Form::Dated, Some(version))
            if route
                .endpoint
                .known_since()
                .is_none_or(|since| version < since) =>
        {
            Err(errors::bad_request(TOO_OLD, None, Some("BadRequest")).into())
        }
        (Form::Deployment(_) | Form::Dated, Some(version)) if version.starts_with("20") => {
            Ok(version.to_owned())
        }
        (Form::Deployment(_) | Form::Dated, _) => Err(errors::not_found().into()),
    }
}

fn bad_json() -> Reply {
    let message = "We could not parse the JSON body of your request. (HINT: This likely means \
                   you aren't using your HTTP library correctly.)";
    errors::bad_request(message, None, None)
}

fn bad_form() -> Reply {
    let message = "Could not parse multipart form.";
    errors::bad_request(message, None, None)
}

fn check_fields(endpoint: Endpoint, api_version: &str, ask: &Ask) -> Result<(), Box<Reply>> {
    let is_dated = api_version != "v1";
    let unknown: Vec<&str> = FIELD_SINCE
        .iter()
        .filter(|(field, since)| is_dated && ask.get(field).is_some() && api_version < *since)
        .map(|(field, _)| *field)
        .collect();
    if !unknown.is_empty() {
        let plural = if unknown.len() > 1 { "s" } else { "" };
        let names = unknown.join(", ");
        let message = format!("Unrecognized request argument{plural} supplied: {names}");
        return Err(errors::bad_request(&message, None, None).into());
    }
    let required = match endpoint {
        Endpoint::ChatCompletions => "messages",
        Endpoint::Completions | Endpoint::ImageGenerations => "prompt",
        Endpoint::Embeddings
        | Endpoint::Responses
        | Endpoint::ResponsesInputTokens
        | Endpoint::Speech => "input",
        Endpoint::ImageEdits => "image",
        Endpoint::Transcriptions | Endpoint::Translations => "file",
        // The conversation may be named instead.
        Endpoint::ResponsesCompact => "model",
    };
    if !ask.has(required) {
        let message = format!("'{required}' is a required property");
        return Err(errors::bad_request(&message, None, None).into());
    }
    Ok(())
}

fn check_model(endpoint: Endpoint, model: &str, ask: &Ask) -> Result<(), Box<Reply>> {
    let made_for = |prefixes: &[&str]| prefixes.iter().any(|prefix| model.starts_with(prefix));
    let embeds = made_for(&["text-embedding"]) != (endpoint == Endpoint::Embeddings);
    let draws = made_for(&["gpt-image", "dall-e"]) != endpoint.makes_images();
    let reads_sound = endpoint.takes_form() && !endpoint.makes_images();
    let hears =
        made_for(&["whisper", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"]) != reads_sound;
    let speaks = made_for(&["tts", "gpt-4o-mini-tts"]) != (endpoint == Endpoint::Speech);
    if embeds || draws || hears || speaks {
        let operation = match endpoint {
            Endpoint::ChatCompletions => "chatCompletion",
            Endpoint::Completions => "completion",
            Endpoint::Embeddings => "embeddings",
            Endpoint::Responses | Endpoint::ResponsesCompact | Endpoint::ResponsesInputTokens => {
                "responses"
            }
            Endpoint::ImageGenerations => "imageGenerations",
            Endpoint::ImageEdits => "imageEdits",
            Endpoint::Speech => "speech",
            Endpoint::Transcriptions => "transcriptions",
            Endpoint::Translations => "translations",
        };
        let message = format!(
            "The {operation} operation does not work with the specified model, {model}. \
             Please choose different model and try again."
        );
        let code = Some("OperationNotSupported");
        return Err(errors::bad_request(&message, None, code).into());
    }
    let reasons = ["o1", "o3", "o4", "gpt-5", "gpt-6"]
        .iter()
        .any(|prefix| model.starts_with(prefix));
    if reasons && ask.has("max_tokens") {
        let message = "Unsupported parameter: 'max_tokens' is not supported with this model. \
                       Use 'max_completion_tokens' instead.";
        let reply = errors::bad_request(message, Some("max_tokens"), Some("unsupported_parameter"));
        return Err(reply.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Tokens;
    use crate::simulator::wire::BodyLength;

    const CHAT: &str = "/openai/deployments/chat/chat/completions?api-version=2024-10-21";
    const OLD_CHAT: &str =
        "/openai/deployments/chat/chat/completions?api-version=2023-07-01-preview";
    const BODY: &str = r#"{"model":"chat","messages":[{"role":"user","content":"hi"}]}"#;

    fn resource() -> Resource {
        Resource::new("test")
            .key("k")
            .deployment(SimDeployment::new("chat", "gpt-4o", Tokens(1_000)))
            .deployment(SimDeployment::new("o", "o4-mini", Tokens(1_000)))
    }

    fn head(target: &str, headers: &[(&str, &str)]) -> Head {
        Head {
            method: "POST".to_owned(),
            target: target.to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            keep_alive: true,
            body: BodyLength::Exact(0),
            expects_continue: false,
        }
    }

    fn refusal(head: &Head, body: &str) -> (u16, String) {
        let reply = check(&resource(), head, body.as_bytes()).unwrap_err();
        let text = String::from_utf8(reply.pieces[0].to_vec()).unwrap();
        (reply.status, text)
    }

    #[test]
    fn a_key_is_taken_as_bearer_in_the_v1_form_alone() {
        let v1 = "/openai/v1/chat/completions";
        let bearer = [("authorization", "Bearer k")];

        assert!(
            check(
                &resource(),
                &head(CHAT, &[("api-key", "k")]),
                BODY.as_bytes()
            )
            .is_ok()
        );
        assert!(check(&resource(), &head(v1, &bearer), BODY.as_bytes()).is_ok());
        let (status, text) = refusal(&head(CHAT, &bearer), BODY);
        assert_eq!(status, 401);
        assert!(text.starts_with(r#"{"statusCode":401"#));
        let (status, text) = refusal(&head(CHAT, &[("api-key", "wrong")]), BODY);
        assert_eq!(status, 401);
        assert!(text.starts_with(r#"{"error":{"code":"401","message":"Access denied"#));
    }

    #[test]
    fn the_eleventh_custom_header_is_one_too_many() {
        let names: Vec<String> = (0..11).map(|number| format!("x-custom-{number}")).collect();
        let mut headers = vec![("api-key", "k"), ("host", "h"), ("user-agent", "u")];
        headers.extend(names.iter().take(10).map(|name| (name.as_str(), "v")));

        assert!(check(&resource(), &head(CHAT, &headers), BODY.as_bytes()).is_ok());
        headers.push((names[10].as_str(), "v"));
        assert_eq!(refusal(&head(CHAT, &headers), BODY).0, 431);
    }

    #[test]
    fn an_old_version_names_every_field_that_it_does_not_know() {
        let body = r#"{"messages":[],"stream_options":{},"max_completion_tokens":5}"#;
        let known = head(CHAT, &[("api-key", "k")]);

        let (status, text) = refusal(&head(OLD_CHAT, &[("api-key", "k")]), body);

        assert_eq!(status, 400);
        assert!(text.contains(
            "Unrecognized request arguments supplied: stream_options, max_completion_tokens"
        ));
        assert!(check(&resource(), &known, body.as_bytes()).is_ok());
    }

    #[test]
    fn missing_things_have_their_own_errors() {
        let key = [("api-key", "k")];
        let no_version = head("/openai/deployments/chat/chat/completions", &key);
        let unknown = CHAT.replace("/chat/chat", "/nothing/chat");
        let embeddings = CHAT.replace("chat/completions", "embeddings");

        assert!(refusal(&no_version, BODY).1.contains("Resource not found"));
        assert!(
            refusal(&head(&unknown, &key), BODY)
                .1
                .contains("DeploymentNotFound")
        );
        assert!(
            refusal(&head(CHAT, &key), "{")
                .1
                .contains("could not parse the JSON")
        );
        assert!(
            refusal(&head(CHAT, &key), "{}")
                .1
                .contains("'messages' is a required")
        );
        let wrong_use = refusal(&head(&embeddings, &key), r#"{"input":"a"}"#).1;
        assert!(wrong_use.contains("OperationNotSupported"));
    }

    #[test]
    fn a_reasoning_model_refuses_max_tokens() {
        let target = CHAT.replace("/chat/chat", "/o/chat");
        let body = r#"{"messages":[],"max_tokens":5}"#;

        let (status, text) = refusal(&head(&target, &[("api-key", "k")]), body);

        assert_eq!(status, 400);
        assert!(text.contains("unsupported_parameter"));
    }
}
