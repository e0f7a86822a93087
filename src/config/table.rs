//! Prints the configuration as a page of text, for `check`.
//!
//! Keys are masked by `Secret::masked`; nothing else of a key is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::{Config, InstanceConfig, Servers, Sharing, validate};
use crate::domain::{Deployment, ModelKey};

/// Returns everything an operator wants to see before a start: strategy, address, instances, models, keys, warnings.
pub fn table(config: &Config) -> String {
    let address = SocketAddr::new(config.server.host, config.server.port);
    let mut sections = vec![
        format!("strategy: {}\nlisten:   {address}\n", config.strategy),
        section("instances", &instances(&config.instances)),
        section("model map", &model_map(config)),
        section("client keys", &client_keys(config)),
        sharing(config.sharing.as_ref()),
        warnings(&config.warnings),
    ];
    sections.retain(|section| !section.is_empty());
    sections.join("\n").trim_end().to_owned() + "\n"
}

type Row = Vec<String>;

fn instances(instances: &[InstanceConfig]) -> Vec<Row> {
    let head = [
        "name", "base", "version", "priority", "weight", "max tpm", "max rpm", "models", "key",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for instance in instances {
        rows.push(vec![
            instance.name.to_string(),
            instance.api_base.as_str().trim_end_matches('/').to_owned(),
            instance.api_version.as_str().to_owned(),
            instance.priority.to_string(),
            instance.weight.to_string(),
            max_tpm(instance),
            instance
                .max_rpm
                .map_or_else(|| "-".to_owned(), |limit| limit.to_string()),
            instance
                .models
                .as_deref()
                .map_or_else(|| "all".to_owned(), joined),
            instance.api_key.masked(),
        ]);
    }
    rows
}

/// Returns the limit of an instance and, in brackets, those of its deployments.
fn max_tpm(instance: &InstanceConfig) -> String {
    let own: BTreeMap<&str, String> = instance
        .max_tpm_of
        .by_model()
        .map(|(model, limit)| (shown(model), limit.to_string()))
        .collect();
    let own: Vec<String> = own
        .into_iter()
        .map(|(model, limit)| format!("{model} {limit}"))
        .collect();
    match own.is_empty() {
        true => instance.max_tpm.to_string(),
        false => format!("{} ({})", instance.max_tpm, own.join(", ")),
    }
}

fn joined(models: &[ModelKey]) -> String {
    let names: Vec<&str> = models.iter().map(shown).collect();
    names.join(", ")
}

/// Returns the usual spelling of a model, or what it is compared by.
fn shown(model: &ModelKey) -> &str {
    validate::spelling(model).unwrap_or(model.as_str())
}

/// Lists each mapped model with its deployments and the instances that use them.
fn model_map(config: &Config) -> Vec<Row> {
    let mut users: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for instance in &config.instances {
        let map: BTreeSet<(&ModelKey, &Deployment)> = instance.model_map.iter().collect();
        for (model, deployment) in map {
            let of_instance = users
                .entry((shown(model), deployment.as_str()))
                .or_default();
            of_instance.push(instance.name.as_str());
        }
    }
    if users.is_empty() {
        return vec![vec!["none: every model is its own deployment".to_owned()]];
    }
    let mut rows = vec![
        ["model", "deployment", "instances"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for ((model, deployment), names) in users {
        let everywhere = names.len() == config.instances.len();
        let names = if everywhere {
            "all".to_owned()
        } else {
            names.join(", ")
        };
        rows.push(vec![model.to_owned(), deployment.to_owned(), names]);
    }
    rows
}

fn client_keys(config: &Config) -> Vec<Row> {
    let keys = &config.server.client_keys;
    if keys.is_empty() {
        return vec![vec!["none: anyone may call".to_owned()]];
    }
    let mut rows = vec![["name", "key"].map(str::to_owned).to_vec()];
    for client in keys {
        let name = client.name.as_deref().unwrap_or("-");
        rows.push(vec![name.to_owned(), client.key.masked()]);
    }
    rows
}

/// Names the servers; users and passwords are left out.
fn sharing(sharing: Option<&Sharing>) -> String {
    let Some(sharing) = sharing else {
        return String::new();
    };
    let mut rows = Vec::new();
    let kind = match &sharing.servers {
        Servers::One(_) => "server",
        Servers::Cluster(_) => "node of a cluster",
        Servers::Sentinels(_) => "sentinel",
    };
    let tls = if sharing.servers.is_tls() {
        ", TLS"
    } else {
        ""
    };
    for node in sharing.servers.nodes() {
        rows.push(vec![format!("{kind}{tls}"), node.addr().to_string()]);
    }
    if let Servers::Sentinels(sentinels) = &sharing.servers {
        rows.push(vec!["master".to_owned(), sentinels.name.clone()]);
    }
    rows.push(vec!["key prefix".to_owned(), sharing.prefix.clone()]);
    let timeout = sharing.timeout.as_millis();
    rows.push(vec!["timeout".to_owned(), format!("{timeout} ms")]);
    if let Some(replicas) = sharing.replicas {
        rows.push(vec!["replicas, at least".to_owned(), replicas.to_string()]);
    }
    section("shared through redis", &rows)
}

fn warnings(warnings: &[String]) -> String {
    if warnings.is_empty() {
        return String::new();
    }
    let rows: Vec<Row> = warnings.iter().map(|text| vec![text.clone()]).collect();
    section("warnings", &rows)
}

/// Lays rows out in columns as wide as their widest cell, under a title.
fn section(title: &str, rows: &[Row]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = format!("{title}\n");
    for row in rows {
        let mut line = String::from("  ");
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_vars;

    fn config(vars: &[(&str, &str)]) -> Config {
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        from_vars(vars).unwrap()
    }

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    const SETTINGS: [(&str, &str); 20] = [
        ("AZURE_INSTANCES", "primary,b"),
        ("AZURE_ROUTING_STRATEGY", "weighted"),
        ("PORT", "8080"),
        ("AZURE_INSTANCE_PRIMARY_API_KEY", KEY),
        ("AZURE_INSTANCE_PRIMARY_API_BASE", "https://a.test/"),
        ("AZURE_INSTANCE_PRIMARY_API_VERSION", "2024-10-21"),
        ("AZURE_INSTANCE_PRIMARY_MODELS", "gpt-4o,my model"),
        ("AZURE_INSTANCE_B_API_KEY", "short-key"),
        ("AZURE_INSTANCE_B_API_BASE", "https://b.test/gateway"),
        ("AZURE_INSTANCE_B_API_VERSION", "v1"),
        ("AZURE_INSTANCE_B_PRIORITY", "7"),
        ("AZURE_INSTANCE_B_MAX_TPM", "123456"),
        ("AZURE_INSTANCE_B_MAX_TPM_GPT4o", "9000"),
        ("AZURE_INSTANCE_B_MAX_RPM", "60"),
        ("AZURE_INSTANCE_B_MODEL_MAP_GPT4o", "own"),
        ("TOKEN_RATE_LIMIT", "40000"),
        ("MODEL_MAP_GPT4o", "shared"),
        ("MODEL_MAP_GPT35TURBO", "turbo"),
        (
            "PROXY_API_KEYS",
            "team:client-key-of-the-team,another-client-key",
        ),
        ("REDIS_URL", "redis://u:password@r"),
    ];

    #[test]
    fn the_table_shows_all_settings_that_matter_and_no_key() {
        let config = config(&SETTINGS);

        let expected = "\
strategy: weighted
listen:   0.0.0.0:8080

instances
  name     base                    version     priority  weight  max tpm               max rpm  models           key
  primary  https://a.test          2024-10-21  100       100     40000                 -        gpt-4o, mymodel  ****cdef
  b        https://b.test/gateway  v1          7         100     123456 (gpt-4o 9000)  60       all              ****

model map
  model          deployment  instances
  gpt-3.5-turbo  turbo       all
  gpt-4o         own         b
  gpt-4o         shared      primary

client keys
  name  key
  team  ****team
  -     ****-key

warnings
  REDIS_URL is not used, because USE_REDIS_RATE_LIMITER is not on
";
        assert_eq!(table(&config), expected);
    }

    #[test]
    fn the_servers_of_a_shared_quota_are_shown_without_their_password() {
        let more = [
            ("USE_REDIS_RATE_LIMITER", "true"),
            ("REDIS_URL", "rediss://user:password@redis.test:6380/2"),
            ("REDIS_REPLICAS", "3"),
        ];
        let mut settings = SETTINGS.to_vec();
        settings.retain(|(name, _)| *name != "REDIS_URL");

        let table = table(&config(&[settings.as_slice(), &more].concat()));

        let expected = "
shared through redis
  server, TLS         redis.test:6380
  key prefix          azure-openai-proxy
  timeout             50 ms
  replicas, at least  3
";
        assert!(table.ends_with(expected), "{table}");
    }

    #[test]
    fn what_is_not_set_is_said_in_words() {
        let config = config(&[
            ("AZURE_OPENAI_API_KEY", KEY),
            ("AZURE_OPENAI_API_BASE", "https://a.test"),
            ("AZURE_OPENAI_API_VERSION", "2024-10-21"),
            ("TOKEN_RATE_LIMIT", "60000"),
            ("HOST", "::1"),
        ]);

        let table = table(&config);

        assert!(table.contains("listen:   [::1]:3010\n"));
        assert!(table.contains("model map\n  none: every model is its own deployment\n"));
        assert!(table.ends_with("client keys\n  none: anyone may call\n"));
    }
}
