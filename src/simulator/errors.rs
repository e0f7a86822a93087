//! The errors of Azure OpenAI other than throttling, each with the exact body that was seen in the wild.
//!
//! Which request deserves which is decided by `gate`, or by a script.

use serde_json::json;

use super::reply::Reply;

const ACCESS_DENIED: &str = r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource."}}"#;
const TOKEN_DENIED: &str = r#"{"statusCode":401,"message":"Unauthorized. Access token is missing, invalid, audience is incorrect (https://cognitiveservices.azure.com), or have expired."}"#;
const FIREWALL: &str =
    r#"{"error":{"code":"403","message":"Access denied due to Virtual Network/Firewall rules."}}"#;
// The blank after the colon is Azure's.
const NOT_FOUND: &str = r#"{"error":{"code":"404","message": "Resource not found"}}"#;
const NO_DEPLOYMENT: &str = r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again."}}"#;
const TIMEOUT: &str = r#"{"error":{"code":"Timeout","message":"The operation was timeout."}}"#;
const TOO_LARGE: &str =
    r#"{"error":{"code":"413","message":"The request body is larger than the limit."}}"#;
const SERVER_ERROR: &str = r#"{"error":{"message":"The server had an error processing your request. Sorry about that! You can retry your request, or contact us through an Azure support request if you keep seeing this error. (Please include the request ID in your email.)","type":"server_error","param":null,"code":null}}"#;
const UNAVAILABLE_PAGE: &str = "<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n<body>\r\n<center><h1>503 Service Temporarily Unavailable</h1></center>\r\n</body>\r\n</html>\r\n";
const FILTERED: &str = r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your prompt and retry. To learn more about our content filtering policies please read our documentation: https://go.microsoft.com/fwlink/?linkid=2198766","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":false,"severity":"safe"},"jailbreak":{"detected":false,"filtered":false},"self_harm":{"filtered":false,"severity":"safe"},"sexual":{"filtered":false,"severity":"safe"},"violence":{"filtered":true,"severity":"medium"}}}}}"#;
const TOO_LONG: &str = r#"{"error":{"message":"This model's maximum context length is 8192 tokens. However, your messages resulted in 9012 tokens. Please reduce the length of the messages.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#;
/// The event that a stream carries instead of content when the service fails after 200 was sent.
pub(super) const ERROR_EVENT: &str = r#"{"error":{"message":"The server had an error processing your request. Sorry about that!","type":"server_error","param":null,"code":"server_error"}}"#;

pub(super) fn access_denied() -> Reply {
    Reply::json(401, ACCESS_DENIED)
}

pub(super) fn token_denied() -> Reply {
    Reply::json(401, TOKEN_DENIED)
}

pub(super) fn firewall() -> Reply {
    Reply::json(403, FIREWALL)
}

pub(super) fn not_found() -> Reply {
    Reply::json(404, NOT_FOUND)
}

pub(super) fn deployment_not_found() -> Reply {
    Reply::json(404, NO_DEPLOYMENT)
}

pub(super) fn timeout() -> Reply {
    Reply::json(408, TIMEOUT)
}

pub(super) fn too_large() -> Reply {
    Reply::json(413, TOO_LARGE)
}

pub(super) fn server_error() -> Reply {
    Reply::json(500, SERVER_ERROR)
}

pub(super) fn unavailable_page() -> Reply {
    Reply::whole(503, "text/html", UNAVAILABLE_PAGE)
}

pub(super) fn content_filter() -> Reply {
    Reply::json(400, FILTERED)
}

pub(super) fn context_length() -> Reply {
    Reply::json(400, TOO_LONG)
}

pub(super) fn unprocessable() -> Reply {
    Reply::json(
        422,
        invalid("Input should be a valid list", Some("messages"), None),
    )
}

pub(super) fn too_many_headers() -> Reply {
    Reply::whole(431, "text/plain", "Request Header Fields Too Large")
}

/// 404 for a response that this resource does not have.
pub(super) fn response_not_found(id: &str) -> Reply {
    let message = format!("Response with id '{id}' not found.");
    Reply::json(404, invalid(&message, None, None))
}

/// 400 for a response that cannot be continued here.
pub(super) fn previous_response_not_found(id: &str) -> Reply {
    let message = format!("Previous response with id '{id}' not found.");
    bad_request(
        &message,
        Some("previous_response_id"),
        Some("previous_response_not_found"),
    )
}

/// 404 for a conversation that this resource does not have.
pub(super) fn conversation_not_found(id: &str) -> Reply {
    let message = format!("Conversation with id '{id}' not found.");
    Reply::json(404, invalid(&message, None, None))
}

/// 404 for an item that a conversation does not have.
pub(super) fn item_not_in_conversation(id: &str) -> Reply {
    let message = format!("Item with id '{id}' not found in conversation.");
    Reply::json(404, invalid(&message, None, None))
}

/// 400 for an item that this resource does not have; what was not to be stored gets a hint.
pub(super) fn item_not_found(id: &str, is_unstored: bool) -> Reply {
    let hint = match is_unstored {
        true => {
            " Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this \
             item from your input."
        }
        false => "",
    };
    let message = format!("Item with id '{id}' not found.{hint}");
    bad_request(&message, Some("input"), None)
}

/// 400 for reasoning that another resource has encrypted.
pub(super) fn invalid_encrypted_content() -> Reply {
    let message = "The encrypted content could not be verified. Reason: Encrypted content could not be decrypted or \
                   parsed.";
    bad_request(message, None, Some("invalid_encrypted_content"))
}

/// Builds a 400 that names what is wrong with the body.
pub(super) fn bad_request(message: &str, param: Option<&str>, code: Option<&str>) -> Reply {
    Reply::json(400, invalid(message, param, code))
}

fn invalid(message: &str, param: Option<&str>, code: Option<&str>) -> String {
    let error = json!({
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    });
    json!({ "error": error }).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_json_error_parses_and_says_its_message() {
        for reply in [
            access_denied(),
            firewall(),
            not_found(),
            deployment_not_found(),
            timeout(),
            too_large(),
            server_error(),
            content_filter(),
            context_length(),
            unprocessable(),
            bad_request("no", None, None),
        ] {
            let body: Value = serde_json::from_slice(&reply.pieces[0]).unwrap();

            assert!(body["error"]["message"].is_string(), "{}", reply.status);
        }
        let token: Value = serde_json::from_slice(&token_denied().pieces[0]).unwrap();
        assert_eq!(token["statusCode"], 401);
        serde_json::from_str::<Value>(ERROR_EVENT).unwrap();
    }
}
