//! How long a throttled instance asks to be left alone.
//!
//! Azure says it in up to four places, and at times in none (azure-protocol: 2.5, 2.6). They are asked in the order
//! of how exact they are; what is negative, not a number or unreadable counts as not said, and the next is asked.
//! Capping a wait to what routing can bear is left to `health`.

use std::time::{Duration, SystemTime};

use actix_http::header::HeaderMap;

/// Nothing that asks for longer means it differently, and sums with an instant stay far from overflow.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Reset headers; the third is a misspelling that Azure has sent.
const RESETS: [&str; 3] = [
    "x-ratelimit-reset-tokens",
    "x-ratelimit-reset-requests",
    "x-rate-limit-reset-tokens",
];

/// The wordings of Azure's and OpenAI's messages, lower-case, up to the number.
const PHRASES: [&str; 4] = [
    "retry after ",
    "try again in ",
    "retry in ",
    "try again after ",
];

/// Returns the wait that an answer asks for, from `retry-after-ms`, `Retry-After`, the reset headers or `message`.
pub fn wait(headers: &HeaderMap, message: &str, wall_clock: SystemTime) -> Option<Duration> {
    milliseconds(headers)
        .or_else(|| retry_after(headers, wall_clock))
        .or_else(|| reset(headers))
        .or_else(|| in_text(message))
}

fn milliseconds(headers: &HeaderMap) -> Option<Duration> {
    let count: f64 = text(headers, "retry-after-ms")?.parse().ok()?;
    seconds(count / 1000.0)
}

/// Reads whole or fractional seconds, or an HTTP date; a date that has passed says nothing.
fn retry_after(headers: &HeaderMap, wall_clock: SystemTime) -> Option<Duration> {
    let value = text(headers, "retry-after")?;
    if let Ok(count) = value.parse() {
        return seconds(count);
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let wait = date.duration_since(wall_clock).ok()?;
    Some(wait.min(LONGEST))
}

/// Takes the longest reset: which limit was hit is rarely said, and coming back early earns the next 429.
fn reset(headers: &HeaderMap) -> Option<Duration> {
    let mut longest = None;
    for name in RESETS {
        let wait = text(headers, name).and_then(reset_value);
        longest = longest.max(wait);
    }
    longest
}

/// Reads Azure's bare seconds or OpenAI's `6m0s`. Zero is how Azure says that it does not know.
fn reset_value(value: &str) -> Option<Duration> {
    let (wait, rest) = span(value)?;
    (rest.is_empty() && !wait.is_zero()).then_some(wait)
}

fn in_text(message: &str) -> Option<Duration> {
    let message = message.to_ascii_lowercase();
    for phrase in PHRASES {
        for (_, after) in message
            .match_indices(phrase)
            .filter_map(|(at, _)| message.split_at_checked(at + phrase.len()))
        {
            if let Some((wait, _)) = span(after.trim_start()) {
                return Some(wait);
            }
        }
    }
    None
}

/// Reads `22`, `22 seconds`, `17ms`, `1.5 minutes` or `6m0s` from the start of `text`, and returns what follows.
fn span(text: &str) -> Option<(Duration, &str)> {
    let mut total = 0.0;
    let mut rest = text;
    let mut has_unit = true;
    while has_unit && rest.starts_with(|c: char| c.is_ascii_digit()) {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(digits)?;
        let count: f64 = number.trim_end_matches('.').parse().ok()?;
        let (factor, after) = unit(after);
        total += count * factor.unwrap_or(1.0);
        has_unit = factor.is_some();
        rest = after;
    }
    let is_nothing = rest.len() == text.len();
    if is_nothing {
        None
    } else {
        Some((seconds(total)?, rest))
    }
}

/// Reads a unit of time, after at most one space, as seconds; without one, returns `text` as it is.
fn unit(text: &str) -> (Option<f64>, &str) {
    let word_start = text.strip_prefix(' ').unwrap_or(text);
    let letters = word_start
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(word_start.len());
    let (word, after) = word_start
        .split_at_checked(letters)
        .unwrap_or((word_start, ""));
    let factor = match word {
        "ms" | "millisecond" | "milliseconds" => 0.001,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86400.0,
        _ => return (None, text),
    };
    (Some(factor), after)
}

/// Turns seconds into a duration: `None` if negative or not a number, at most [`LONGEST`].
fn seconds(count: f64) -> Option<Duration> {
    if !count.is_finite() || count < 0.0 {
        return None;
    }
    Some(Duration::from_secs_f64(count.min(LONGEST.as_secs_f64())))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use actix_http::header::{HeaderName, HeaderValue};

    use super::*;

    fn asked(pairs: &[(&str, &str)], message: &str) -> Option<u128> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        // Sun, 06 Nov 1994 08:49:37 GMT
        let wall_clock = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        wait(&headers, message, wall_clock).map(|wait| wait.as_millis())
    }

    const WEEK: u128 = 7 * 24 * 3600 * 1000;

    #[test]
    fn each_header_form_is_read() {
        for (name, value, expected) in [
            ("retry-after-ms", "1234", Some(1234)),
            ("retry-after-ms", "0", Some(0)),
            ("retry-after-ms", " 12.5 ", Some(12)),
            ("retry-after-ms", "-5", None),
            ("retry-after-ms", "NaN", None),
            ("retry-after-ms", "inf", None),
            ("retry-after-ms", "soon", None),
            ("retry-after", "22", Some(22_000)),
            ("retry-after", "0", Some(0)),
            ("retry-after", "1.5", Some(1500)),
            ("retry-after", "-1", None),
            ("retry-after", "nan", None),
            ("retry-after", "1e400", None),
            ("retry-after", "99999999999999999999", Some(WEEK)),
            ("retry-after", "Sun, 06 Nov 1994 08:50:00 GMT", Some(23_000)),
            (
                "retry-after",
                "Sunday, 06-Nov-94 08:50:00 GMT",
                Some(23_000),
            ),
            ("retry-after", "Sun Nov  6 08:50:00 1994", Some(23_000)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT", None),
            ("retry-after", "Fri, 06 Nov 2093 08:49:00 GMT", Some(WEEK)),
            ("retry-after", "tomorrow", None),
            ("retry-after", "", None),
            ("x-ratelimit-reset-tokens", "7", Some(7000)),
            ("x-ratelimit-reset-tokens", "0", None),
            ("x-ratelimit-reset-tokens", "-1", None),
            ("x-ratelimit-reset-tokens", "6m0s", Some(360_000)),
            ("x-ratelimit-reset-tokens", "17ms", Some(17)),
            ("x-ratelimit-reset-tokens", "1h2m3.5s", Some(3_723_500)),
            ("x-ratelimit-reset-tokens", "1d", Some(86_400_000)),
            ("x-ratelimit-reset-tokens", "7 bananas", None),
            ("x-ratelimit-reset-tokens", "1.2.3", None),
            ("x-ratelimit-reset-requests", "9", Some(9000)),
            ("x-rate-limit-reset-tokens", "11", Some(11_000)),
        ] {
            assert_eq!(asked(&[(name, value)], ""), expected, "{name}: {value}");
        }
    }

    #[test]
    fn each_wording_is_read() {
        for (message, expected) in [
            (
                "... pricing tier. Please retry after 22 seconds. Please go here: x",
                Some(22_000),
            ),
            (
                "Rate limit is exceeded. Try again in 4 seconds.",
                Some(4000),
            ),
            ("Please retry after 1 second.", Some(1000)),
            ("please retry after 86400 seconds", Some(86_400_000)),
            ("Please try again in 20s. Visit", Some(20_000)),
            ("Please try again in 6m0s.", Some(360_000)),
            ("Please try again in 1.292s.", Some(1292)),
            ("Retry after 300 milliseconds", Some(300)),
            ("Try again in 17ms.", Some(17)),
            ("Try again in 2 minutes.", Some(120_000)),
            ("Try again in 5.", Some(5000)),
            ("Retry after 5 attempts", Some(5000)),
            ("do not retry after a while; try again in 3 s", Some(3000)),
            ("retry after -3 seconds", None),
            ("retry after a minute", None),
            ("retry after ", None),
            ("Wärme ohne Ende", None),
            ("", None),
        ] {
            assert_eq!(asked(&[], message), expected, "{message}");
        }
    }

    #[test]
    fn the_most_exact_source_that_says_something_wins() {
        let text = "retry after 4 seconds";
        let milliseconds = ("retry-after-ms", "1000");
        let seconds = ("retry-after", "2");
        let reset = ("x-ratelimit-reset-tokens", "3");

        assert_eq!(asked(&[reset, seconds, milliseconds], text), Some(1000));
        assert_eq!(asked(&[reset, seconds], text), Some(2000));
        assert_eq!(asked(&[reset], text), Some(3000));
        assert_eq!(asked(&[], text), Some(4000));
        let bad = [
            ("retry-after-ms", "-1"),
            ("retry-after", "x"),
            ("x-ratelimit-reset-tokens", "0"),
        ];
        assert_eq!(asked(&bad, text), Some(4000));
    }

    #[test]
    fn of_two_resets_the_longer_counts() {
        let resets = [
            ("x-ratelimit-reset-tokens", "3"),
            ("x-ratelimit-reset-requests", "8"),
        ];

        assert_eq!(asked(&resets, ""), Some(8000));
    }
}
