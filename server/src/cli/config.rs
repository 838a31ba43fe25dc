//! `chirm config`: what a server would start with.

use super::output;
use super::settings::Settings;
use crate::config::DEFAULTS;
use serde_json::Value;

/// Print the settings that a server would start with.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    settings: Settings,
    /// Print the file of defaults instead, with what each key means: a start for one's own.
    #[arg(long, conflicts_with = "json")]
    default: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    if args.default {
        return output::line(DEFAULTS.trim_end());
    }
    let settings = serde_json::to_value(args.settings.load()?)?;
    if args.json {
        return output::line(&settings.to_string());
    }
    let mut lines = Vec::new();
    flatten("", &settings, &mut lines);
    output::line(&lines.join("\n"))
}

/// TOML with dotted keys: a line a setting. Absent ones are left out.
fn flatten(prefix: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let dot = if prefix.is_empty() { "" } else { "." };
                flatten(&format!("{prefix}{dot}{key}"), value, lines);
            }
        }
        Value::Null => {}
        _ => lines.push(format!("{prefix} = {}", inline(value))),
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!(
                "[{}]",
                items.iter().map(inline).collect::<Vec<_>>().join(", ")
            )
        }
        Value::Object(entries) => {
            let present = entries.iter().filter(|(_, value)| !value.is_null());
            let pairs: Vec<_> = present
                .map(|(k, v)| format!("{k} = {}", inline(v)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        // TOML's strings, numbers and booleans are written as JSON's.
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_printed_loads_again_and_hides_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chirm.toml");
        let given = "listen = '127.0.0.1:1'\n[gateway]\nheartbeat_ms = 7000\n[auth.jwt]\n\
                     audience = 'a'\nkeys = [{kid = 'k', algorithm = 'HS256', key = 'hush'}]";
        std::fs::write(&file, given).unwrap();
        let mut lines = Vec::new();
        let config = Config::load(Some(&file), &[]).unwrap();
        flatten("", &serde_json::to_value(config).unwrap(), &mut lines);
        let printed = lines.join("\n");
        assert!(!printed.contains("hush"), "{printed}");
        std::fs::write(&file, printed).unwrap();
        let again = Config::load(Some(&file), &[]).unwrap();
        assert_eq!(again.gateway.heartbeat.as_millis(), 7_000);
        assert_eq!(again.auth.jwt.keys[0].kid, "k");
    }
}
