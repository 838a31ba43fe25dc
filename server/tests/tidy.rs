//! Holds what the compiler doesn't: the arrows between layers, the sizes of files, the width of
//! lines. (Functions are clippy's: `too_many_lines` at the threshold in `clippy.toml`.)
//!
//! The rules are functions of a file's path and text, so that the tests below can show them
//! failing.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't read the sources should stop"
)]

use std::path::{Path, PathBuf};

const LINES_A_FILE_MAX: usize = 500;
const COLUMNS_A_LINE_MAX: usize = 100;

/// What builds the parts and wires them: it may import everything.
const WIRING: &[&str] = &["lib", "main", "node", "backends"];

/// Which modules of the server each of its modules may import. All may import `mutation`, which is
/// empty but for tests of the checkers.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("clock", &[]),
    ("config", &["model"]),
    ("telemetry", &["config"]),
    ("traces", &["model", "clock", "config"]),
    ("hits", &[]),
    ("frames", &["model"]),
    ("store", &["model", "frames", "clock", "hits"]),
    // The store hands its numbered events on through a trait of its own, which the bus implements.
    (
        "bus",
        &["store", "model", "frames", "clock", "config", "hits"],
    ),
    ("mutation", &[]),
    ("outgoing", &[]),
    (
        "domain",
        &[
            "store", "bus", "outgoing", "frames", "model", "clock", "config", "traces", "hits",
        ],
    ),
    (
        "gateway",
        &[
            "domain", "store", "bus", "frames", "model", "clock", "config", "traces",
        ],
    ),
    (
        "webhooks",
        &[
            "domain", "store", "bus", "outgoing", "frames", "model", "clock", "config",
        ],
    ),
    (
        "rpc",
        &[
            "gateway",
            "domain",
            "store",
            "bus",
            "outgoing",
            "frames",
            "model",
            "clock",
            "config",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "domain",
            "store",
            "bus",
            "model",
            "clock",
            "config",
            "telemetry",
        ],
    ),
];

/// Crates that only some modules may name, with the prefixes of paths (under `server/src/`) that
/// may.
const CRATES: &[(&str, &[&str])] = &[
    (
        "chirm_proto",
        &[
            "rpc/",
            "frames/",
            "cli/",
            "gateway/",
            "lib.rs",
            "domain/tests/",
            "node/visibility/",
        ],
    ),
    ("chirm_client", &["cli/"]),
    ("chirm_bench", &["cli/"]),
    ("sqlx", &["store/"]),
    ("opentelemetry", &["traces/"]),
    ("opentelemetry_otlp", &["traces/"]),
    ("opentelemetry_sdk", &["traces/"]),
    ("async_nats", &["bus/redis/nats/", "bus/redis/tests/"]),
    ("tonic", &["rpc/", "cli/", "lib.rs"]),
];

#[test]
fn the_sources_are_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for folder in [
        "server",
        "net",
        "bridge-ws",
        "clients/rust",
        "bench",
        "conformance",
        "model",
        "proto",
    ] {
        collect(&root.join(folder), &mut files);
    }
    assert!(
        files.len() > 10,
        "the walk found hardly any sources: {files:?}"
    );
    let mut faults = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let path = file
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        faults.extend(size_faults(&path, &text));
        if let Some(inside) = path.strip_prefix("server/src/") {
            faults.extend(layer_faults(inside, &text));
        }
    }
    assert!(faults.is_empty(), "untidy:\n{}", faults.join("\n"));
}

/// Adds the Rust files under a path, but not build results and installed packages.
fn collect(path: &Path, into: &mut Vec<PathBuf>) {
    if path.is_file() {
        if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path.to_owned());
        }
        return;
    }
    let Ok(entries) = std::fs::read_dir(path) else {
        return;
    };
    for entry in entries {
        let entry = entry.unwrap();
        if !["target", "node_modules", "vendor"].contains(&entry.file_name().to_str().unwrap()) {
            collect(&entry.path(), into);
        }
    }
}

/// Files too long, lines too wide. A line with a URL may be as wide as the URL needs.
fn size_faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_A_FILE_MAX {
        faults.push(format!("{path}: {lines} lines; at most {LINES_A_FILE_MAX}"));
    }
    for (index, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_A_LINE_MAX && !line.contains("://") {
            faults.push(format!("{path}:{}: {columns} columns", index + 1));
        }
    }
    faults
}

/// Imports against the arrows, and crates named where they don't belong. `path` is under
/// `server/src/`.
fn layer_faults(path: &str, text: &str) -> Vec<String> {
    let code = without_comments_and_literals(text);
    let mut faults = Vec::new();
    for (name, places) in CRATES {
        if names_crate(&code, name) && !places.iter().any(|place| path.starts_with(place)) {
            faults.push(format!(
                "{path}: names {name}, which belongs to {}",
                places.join(", ")
            ));
        }
    }
    let module = path.split(['/', '.']).next().unwrap_or_default();
    if WIRING.contains(&module) {
        return faults;
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
        faults.push(format!("{path}: module {module} has no row in ARROWS"));
        return faults;
    };
    for target in imports(path, &code) {
        let known = ARROWS.iter().any(|(name, _)| *name == target);
        let free = target == module || target == "mutation";
        if known && !free && !allowed.contains(&target.as_str()) {
            faults.push(format!("{path}: {module} may not import {target}"));
        }
    }
    faults
}

/// The top-level modules that the code names, by `crate::…` or by enough `super::`.
fn imports(path: &str, code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if !code[..at].ends_with(is_word) {
            heads(&code[at + "crate::".len()..], &mut found);
        }
    }
    let depth = module_depth(path);
    let to_root = "super::".repeat(depth);
    for (at, _) in code.match_indices(&to_root) {
        let before = &code[..at];
        if !before.ends_with(is_word) && !before.ends_with("::") {
            heads(&code[at + to_root.len()..], &mut found);
        }
    }
    found.sort();
    found.dedup();
    found
}

/// How deep a file's module lies: `rpc/mod.rs` is 1, `rpc/status.rs` 2.
fn module_depth(path: &str) -> usize {
    let segments = path.split('/').count();
    if path.ends_with("/mod.rs") {
        segments - 1
    } else {
        segments
    }
}

/// The first name of a path, or of each path in a `{…}` group.
fn heads(path: &str, into: &mut Vec<String>) {
    let word = |text: &str| text.chars().take_while(|c| is_word(*c)).collect::<String>();
    let Some(group) = path.strip_prefix('{') else {
        into.push(word(path));
        return;
    };
    let mut depth = 0;
    let mut item = String::new();
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => into.push(word(std::mem::take(&mut item).trim_start())),
            _ => {}
        }
        if depth == 0 && character != ',' {
            item.push(character);
        }
    }
    into.push(word(item.trim_start()));
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = &code[..at];
        let path_before = before.ends_with("::") && !before.ends_with(" ::");
        code[at + name.len()..].starts_with("::") && !before.ends_with(is_word) && !path_before
    })
}

/// The code with comments, strings and characters blanked, so that only code is searched.
fn without_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let skipped = skipped_len(rest, code.ends_with(is_word));
        if skipped > 0 {
            code.push(' ');
            rest = &rest[skipped..];
        } else {
            code.push(character);
            rest = &rest[character.len_utf8()..];
        }
    }
    code
}

/// The length of the comment or literal that the text starts with; 0 if it starts with neither.
fn skipped_len(text: &str, after_word: bool) -> usize {
    let until = |end: &str, from: usize| {
        text[from..]
            .find(end)
            .map_or(text.len(), |at| from + at + end.len())
    };
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return until("*/", 2);
    }
    if text.starts_with("r\"") && !after_word {
        return until("\"", 2);
    }
    if text.starts_with("r#") && !after_word {
        let hashes = text[1..].chars().take_while(|c| *c == '#').count();
        if text[1 + hashes..].starts_with('"') {
            return until(&format!("\"{}", "#".repeat(hashes)), 2 + hashes);
        }
        return 0;
    }
    if text.starts_with('"') {
        return quoted_len(text);
    }
    // A character, not a lifetime: 'x', '\n', '\u{1F600}'.
    let mut characters = text.chars();
    if characters.next() == Some('\'') {
        return match characters.next() {
            Some('\\') => until("'", 3),
            Some(inner) if characters.next() == Some('\'') => 2 + inner.len_utf8(),
            _ => 0,
        };
    }
    0
}

fn quoted_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[test]
fn an_arrow_against_the_layers_is_found() {
    let bad = [
        ("model/user.rs", "use crate::store::Users;"),
        ("store/mod.rs", "use crate::{model::{Id, User}, domain};"),
        ("domain/servers.rs", "fn f() { crate::rpc::status::map() }"),
        ("domain/servers.rs", "use crate::gateway::Hub;"),
        ("store/sqlite/mod.rs", "use crate::bus::Topics;"),
        ("bus/local/mod.rs", "use super::super::gateway;"),
        ("frames/convert.rs", "use super::super::{model, bus};"),
        ("cli/serve.rs", "let x = crate::rpc::routes();"),
        ("surprise.rs", "fn f() {}"),
    ];
    for (path, text) in bad {
        assert_eq!(layer_faults(path, text).len(), 1, "{path}: {text}");
    }
}

#[test]
fn an_arrow_along_the_layers_passes() {
    let good = [
        (
            "rpc/server.rs",
            "use crate::{domain::Caller, gateway, model::{Id, Role}};",
        ),
        (
            "rpc/status.rs",
            "// crate::cli\nlet x = \"crate::cli::run\";",
        ),
        (
            "rpc/status.rs",
            "const Q: char = '\"'; use crate::domain; // \" crate::cli",
        ),
        (
            "store/sqlite/writer.rs",
            "use super::super::Error; use sqlx::Row;",
        ),
        ("domain/mod.rs", "use crate::store; fn f<'a>(x: &'a str) {}"),
        (
            "domain/mod.rs",
            "let a = r#\"say \"crate::rpc::x\" \"#; use crate::bus;",
        ),
        ("lib.rs", "use crate::rpc;"),
    ];
    for (path, text) in good {
        assert_eq!(
            layer_faults(path, text),
            Vec::<String>::new(),
            "{path}: {text}"
        );
    }
}

#[test]
fn a_crate_in_the_wrong_place_is_found() {
    for (path, text) in [
        ("domain/users.rs", "use chirm_proto::v1;"),
        ("domain/users.rs", "fn f(e: sqlx::Error) {}"),
        ("rpc/user.rs", "use ::sqlx::Row;"),
        ("model/mod.rs", "fn f(s: tonic::Status) {}"),
    ] {
        assert_eq!(layer_faults(path, text).len(), 1, "{path}: {text}");
    }
    assert!(layer_faults("rpc/user.rs", "use chirm_proto::v1;").is_empty());
    assert!(layer_faults("domain/users.rs", "// chirm_proto::v1 stays outside").is_empty());
}

#[test]
fn a_file_too_long_and_a_line_too_wide_are_found() {
    assert!(size_faults("a.rs", &"x\n".repeat(LINES_A_FILE_MAX)).is_empty());
    assert_eq!(
        size_faults("a.rs", &"x\n".repeat(LINES_A_FILE_MAX + 1)).len(),
        1
    );
    assert!(size_faults("a.rs", &"é".repeat(COLUMNS_A_LINE_MAX)).is_empty());
    assert_eq!(
        size_faults("a.rs", &"é".repeat(COLUMNS_A_LINE_MAX + 1)).len(),
        1
    );
    assert!(size_faults("a.rs", &format!("// https://x{}", "y".repeat(200))).is_empty());
}
