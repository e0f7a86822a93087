//! The example of docs/api.md is held to what is served, field by field.
//!
//! Only names are compared: what stands in the fields of a served page is tested over HTTP.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

/// Where an object stands, such as `.instances[].deployments[]`, and the names of its fields.
type Shape = (String, BTreeSet<String>);

/// Collects the shapes of all objects in a value.
fn shapes(at: &str, value: &Value, found: &mut BTreeSet<Shape>) {
    match value {
        Value::Array(list) => {
            for one in list {
                shapes(&format!("{at}[]"), one, found);
            }
        }
        Value::Object(fields) => {
            found.insert((at.to_owned(), fields.keys().cloned().collect()));
            for (name, field) in fields {
                shapes(&format!("{at}.{name}"), field, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A page with everything that can be on it.
fn page() -> Status {
    Status {
        status: "success",
        timestamp: 0,
        instances: vec![full_instance()],
        total_instances: 1,
        healthy_instances: 1,
        routing_strategy: "failover",
        waiting: 1,
        queue: vec![Queued {
            model: String::new(),
            waiting: 1,
            longest_wait: 0.0,
        }],
        redis: Some(Redis {
            state: "shared",
            cause: None,
            replicas: 1,
        }),
    }
}

fn full_instance() -> Instance {
    Instance {
        name: String::new(),
        status: "healthy",
        current_tpm: 0,
        max_tpm: 1,
        tpm_usage_percent: 0.0,
        error_count: 0,
        last_error: None,
        rate_limited_until: None,
        priority: 1,
        weight: 1,
        last_used: None,
        in_flight: 0,
        available_in: 0.0,
        deployments: vec![full_deployment()],
        corrections: vec![Correction {
            model: String::new(),
            kind: "counted",
            factor: 1.0,
            offset: 0.0,
            answers: 1,
        }],
        expected_output: vec![ExpectedOutput {
            model: String::new(),
            tokens: 1,
            answers: 1,
        }],
    }
}

fn full_deployment() -> Deployment {
    Deployment {
        name: String::new(),
        limit: None,
        used: 0,
        reserved: 0,
        in_flight: 0,
        waiting: 0,
        requests_limit: None,
        azure_limit: None,
        azure_remaining: None,
        azure_age: None,
        drift: None,
        cooldown_reason: None,
        cooldown_from_tokens: None,
        cooldown_until: None,
    }
}

#[test]
fn the_example_of_the_documentation_has_the_fields_of_a_served_page() {
    let documentation = include_str!("../../../docs/api.md");
    let (_, after) = documentation.split_once("\n## Status\n").unwrap();
    let (_, after) = after.split_once("```json\n").unwrap();
    let (example, _) = after.split_once("```").unwrap();
    let mut shown = BTreeSet::new();
    let mut served = BTreeSet::new();

    shapes("", &serde_json::from_str(example).unwrap(), &mut shown);
    shapes("", &serde_json::to_value(page()).unwrap(), &mut served);

    assert_eq!(shown, served);
}

#[test]
fn usage_is_a_percentage_of_two_decimals() {
    assert_eq!(percent(Tokens(1_557), Tokens(30_000)), 5.19);
    assert_eq!(percent(Tokens(0), Tokens(30_000)), 0.0);
    assert_eq!(percent(Tokens(45_000), Tokens(30_000)), 150.0);
}
