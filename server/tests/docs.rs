//! Holds docs/operations.md and docs/errors.md to the code: every metric has its line there, every
//! line its metric, every setting that is named exists, the example of a file of settings loads,
//! and the tables of reasons and close codes are those of the code.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't read the sources should stop"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;

use chirm_server::config::Config;
use chirm_server::domain::Reason;
use chirm_server::gateway::Close;
use chirm_server::rpc::rest::http_status;
use chirm_server::rpc::status::{EdgeReason, code_name};

const MACROS: [&str; 3] = ["counter!(", "gauge!(", "histogram!("];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn operations() -> String {
    fs::read_to_string(root().join("docs/operations.md")).unwrap()
}

/// The names of metrics that a source uses, but for its tests.
fn metrics_of(source: &str) -> BTreeSet<String> {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut names = BTreeSet::new();
    for name in MACROS {
        for rest in source.split(name).skip(1) {
            if let Some(literal) = rest.trim_start().strip_prefix('"') {
                names.insert(literal.split('"').next().unwrap().to_owned());
            }
        }
    }
    names
}

fn metrics_in(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(metrics_in(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(metrics_of(&fs::read_to_string(path).unwrap()));
        }
    }
    names
}

/// What stands between backticks, in the lines of a page outside its code blocks.
fn quoted(page: &str) -> Vec<&str> {
    let prose = page.split("```").step_by(2);
    prose
        .flat_map(|part| part.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn the_table_of_metrics_is_that_of_the_code() {
    let page = operations();
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `chirm_"));
    let listed: BTreeSet<String> = rows
        .map(|row| format!("chirm_{}", row.split('`').next().unwrap()))
        .collect();
    let folders = ["server/src", "net/src", "bridge-ws"];
    let used: BTreeSet<_> = folders
        .iter()
        .flat_map(|folder| metrics_in(&root().join(folder)))
        .collect();
    assert!(used.len() > 5, "the search found hardly any: {used:?}");
    let unlisted: Vec<_> = used.difference(&listed).collect();
    let unused: Vec<_> = listed.difference(&used).collect();
    assert!(
        unlisted.is_empty() && unused.is_empty(),
        "docs/operations.md lacks {unlisted:?}, and lists {unused:?}, which the code lacks"
    );
}

/// The first three columns of a table of docs/errors.md, row by row; `begins` tells its rows.
fn errors(begins: fn(char) -> bool) -> BTreeSet<Vec<String>> {
    let page = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows
        .filter(|row| row.starts_with(begins))
        .map(|row| row.split(" | ").map(str::to_owned).collect::<Vec<_>>());
    // The table of carriers has two columns.
    cells
        .filter(|cells| cells.len() > 3)
        .map(|mut cells| cells.drain(..3).collect())
        .collect()
}

#[test]
fn the_table_of_reasons_is_that_of_the_code() {
    let domain = Reason::ALL.iter().map(|r| (r.as_str(), r.code().into()));
    let edge = EdgeReason::ALL.iter().map(|r| (r.as_str(), r.code()));
    let used: BTreeSet<_> = domain
        .chain(edge)
        .map(|(reason, code)| {
            let http = http_status(code, reason).as_u16().to_string();
            vec![reason.to_owned(), code_name(code).to_owned(), http]
        })
        .collect();
    let listed = errors(|c| c.is_ascii_uppercase());
    assert!(listed.len() > 25, "the search found hardly any: {listed:?}");
    assert_eq!(listed, used);
}

#[test]
fn the_table_of_close_codes_is_that_of_the_code() {
    let used: BTreeSet<_> = Close::ALL
        .iter()
        .map(|close| {
            let advice = close.advice().as_str_name().trim_start_matches("ADVICE_");
            let reason = close.reason().to_owned();
            vec![close.code().to_string(), reason, advice.to_lowercase()]
        })
        .collect();
    let listed = errors(|c| c.is_ascii_digit());
    assert!(listed.len() > 10, "the search found hardly any: {listed:?}");
    assert_eq!(listed, used);
    assert_eq!(used.len(), Close::ALL.len(), "a code stands twice");
}

/// What describes a metric to Prometheus stands in one place.
#[test]
fn every_metric_is_described() {
    let source = fs::read_to_string(root().join("server/src/telemetry.rs")).unwrap();
    for name in metrics_in(&root().join("server/src")) {
        assert!(source.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn every_setting_that_is_named_exists() {
    let page = operations();
    let config = include_str!("../config.default.toml");
    let mut checked = 0;
    for name in quoted(&page) {
        let Some((section, key)) = name.rsplit_once('.') else {
            continue;
        };
        if !config.contains(&format!("[{section}]\n")) {
            continue;
        }
        let key = key.split(" = ").next().unwrap();
        let (_, rest) = config.split_once(&format!("[{section}]\n")).unwrap();
        let body = rest.split("\n[").next().unwrap();
        let found = body
            .lines()
            .any(|line| line.starts_with(&format!("{key} = ")));
        let list = config.contains(&format!("[[{name}]]"));
        assert!(found || list, "docs/operations.md names {name}");
        checked += 1;
    }
    assert!(checked > 10, "the search found hardly any: {checked}");
}

#[test]
fn the_example_of_settings_loads() {
    let page = operations();
    let example = page.split("```toml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(example.as_bytes()).unwrap();
    let config = Config::load(Some(file.path()), &[]).unwrap();
    assert!(config.tls.is_some() && config.admin_listen.is_some());
}

#[test]
fn the_search_finds_what_it_should() {
    let source = "counter!(\"a_total\"); ::metrics::gauge!(\n  \"b\").set(1);\n#[cfg(test)]\nmod \
                  tests { counter!(\"c\") }";
    let names: Vec<_> = metrics_of(source).into_iter().collect();
    assert_eq!(names, ["a_total", "b"]);
    assert_eq!(quoted("`a` b `c`\n```\n`d`\n```\n`e`"), ["a", "c", "e"]);
}
