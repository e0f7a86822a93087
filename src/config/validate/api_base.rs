//! Parses `_API_BASE`: the part of an instance's URLs before `/openai`.
//!
//! What people have at hand is often a whole URL from the portal or a sample, so each common form gets its own advice.
//! A text that is not a plain URL is not quoted: with swapped lines it is the key.

use url::Url;

use super::findings::Findings;
use super::setting::Setting;

const EXAMPLE: &str = "a URL such as https://my-resource.openai.azure.com";

/// Parses a base, or reports why there is none.
pub(super) fn parse(setting: &Setting, findings: &mut Findings) -> Option<Url> {
    let Some(text) = setting.value() else {
        setting.wrong(EXAMPLE, findings);
        return None;
    };
    match parsed(text) {
        Ok(url) => Some(url),
        Err((found, expected)) => {
            findings.problem(setting.variable(), found, expected);
            None
        }
    }
}

/// Returns the URL, or what was found and what was expected.
fn parsed(text: &str) -> Result<Url, (String, String)> {
    let example = || EXAMPLE.to_owned();
    // The parser of the URL standard forgives `https:host` and drops line breaks; nobody means those.
    let scheme_end = text.find("://").map(|end| text.split_at(end).0);
    let is_http = scheme_end.is_some_and(|scheme| {
        scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
    });
    if !is_http {
        return Err(("no http:// or https:// URL".to_owned(), example()));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(("a URL with white space in it".to_owned(), example()));
    }
    let mut url = Url::parse(text)
        .map_err(|error| (format!("a URL that cannot be parsed: {error}"), example()))?;
    if !url.username().is_empty() || url.password().is_some() {
        let expected = "a URL without them; the key belongs in the API_KEY variable";
        return Err(("a user name or password".to_owned(), expected.to_owned()));
    }
    // First, since who pastes a whole URL pastes its query too.
    if let Some(fault) = full_url_fault(&url) {
        return Err(fault);
    }
    if url.query().is_some() || url.fragment().is_some() {
        let expected = "a URL without `?` and `#`; the version belongs in the API_VERSION variable";
        return Err(("a query or fragment".to_owned(), expected.to_owned()));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// Finds the part that the proxy adds itself, and says what to write instead.
fn full_url_fault(url: &Url) -> Option<(String, String)> {
    let segments: Vec<&str> = url.path_segments()?.collect();
    let lower = |segment: &&str| segment.to_ascii_lowercase();
    for (index, segment) in segments.iter().enumerate() {
        if lower(segment) != "openai" {
            continue;
        }
        let mut after = segments.iter().skip(index + 1).filter(|s| !s.is_empty());
        let next = after.next().map(lower);
        let (found, more) = match next.as_deref() {
            None => ("a URL that ends with /openai", ""),
            Some("v1") => (
                "a URL with /openai/v1",
                ", and `v1` in the API_VERSION variable",
            ),
            Some("deployments") => (
                "a URL with /openai/deployments",
                ", and the deployment in a MODEL_MAP_<MODEL> variable",
            ),
            // A gateway may use the word in a prefix of its own.
            Some(_) => continue,
        };
        let mut base = url.clone();
        let kept: Vec<&str> = segments.iter().take(index).copied().collect();
        base.set_path(&kept.join("/"));
        base.set_query(None);
        base.set_fragment(None);
        let base = base.as_str().trim_end_matches('/').to_owned();
        return Some((found.to_owned(), format!("{base}{more}")));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_keeps_its_prefix_and_loses_its_slash() {
        let cases = [
            ("https://a.openai.azure.com", "https://a.openai.azure.com/"),
            ("https://a.openai.azure.com/", "https://a.openai.azure.com/"),
            ("HTTPS://A.openai.azure.com", "https://a.openai.azure.com/"),
            ("https://gw.test/team/", "https://gw.test/team"),
            ("https://gw.test/openai/team", "https://gw.test/openai/team"),
            ("http://127.0.0.1:8080//x//", "http://127.0.0.1:8080//x"),
            ("http://[::1]:9", "http://[::1]:9/"),
        ];
        for (text, url) in cases {
            assert_eq!(parsed(text).unwrap().as_str(), url, "{text}");
        }
    }

    #[test]
    fn a_whole_url_is_answered_with_the_base_to_write() {
        let cases = [
            ("https://a.test/openai", "https://a.test"),
            ("https://a.test/x/OpenAI/", "https://a.test/x"),
            ("https://a.test/openai/v1", "https://a.test, and `v1`"),
            (
                "https://a.test/x/openai/v1/chat/completions",
                "https://a.test/x, and `v1`",
            ),
            (
                "https://a.test/openai/deployments/d/chat/completions",
                "https://a.test, and the dep",
            ),
            (
                "https://a.test/openai/deployments/d/completions?api-version=2024-10-21#x",
                "https://a.test, and the dep",
            ),
        ];
        for (text, advice) in cases {
            let (_, expected) = parsed(text).unwrap_err();

            assert!(expected.starts_with(advice), "{text}: {expected}");
        }
    }

    #[test]
    fn what_is_no_plain_url_is_refused_and_not_quoted() {
        let cases = [
            "topsecret",
            "topsecret.openai.azure.com",
            "ftp://topsecret.test",
            "https:topsecret.test",
            "https://",
            "https://:80",
            "https://top secret.test",
            "https://topsecret@a.test",
            "https://u:topsecret@a.test",
            "https://a.test/?api-key=topsecret",
            "https://a.test/?",
            "https://a.test/#topsecret",
            "https://a.test/openai/v1?api-key=topsecret",
            "https://topsecret.test:port",
            "https://a.test/top\nsecret",
        ];
        for text in cases {
            let (found, expected) = parsed(text).unwrap_err();

            assert!(
                !found.contains("secret") && !expected.contains("secret"),
                "{text}"
            );
        }
    }
}
