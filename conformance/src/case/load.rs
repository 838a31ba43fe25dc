//! Cases from the files that are compiled in, or from a folder.

use super::Case;
use anyhow::{Context as _, Result, bail, ensure};
use include_dir::{Dir, include_dir};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

static CASES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/cases");
static VECTORS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/vectors");
static PROFILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/profiles");

/// Where cases come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Embedded,
    Folder(PathBuf),
}

/// All cases, by id. A file holds one case or a list of them.
pub(crate) fn load(source: &Source) -> Result<Vec<Case>> {
    let mut files = Vec::new();
    match source {
        Source::Embedded => embedded(&CASES, &mut files)?,
        Source::Folder(folder) => on_disk(folder, folder, &mut files)?,
    }
    let mut cases = Vec::new();
    for (name, text) in files {
        let found = parse(&text).with_context(|| format!("cases/{name}.yaml"))?;
        for case in found {
            let fits = case.id == name || case.id.starts_with(&format!("{name}/"));
            ensure!(
                fits,
                "cases/{name}.yaml: the id {} isn't of this file",
                case.id
            );
            ensure!(!case.sentences.is_empty(), "{} names no sentence", case.id);
            cases.push(case);
        }
    }
    cases.sort_by(|a, b| a.id.cmp(&b.id));
    let ids: BTreeSet<_> = cases.iter().map(|case| &case.id).collect();
    ensure!(ids.len() == cases.len(), "two cases have the same id");
    Ok(cases)
}

fn embedded(folder: &Dir<'_>, files: &mut Vec<(String, String)>) -> Result<()> {
    for file in folder.files() {
        if file
            .path()
            .extension()
            .is_some_and(|ending| ending == "yaml")
        {
            let text = file.contents_utf8().context("a case is UTF-8")?;
            files.push((name(file.path()), text.to_owned()));
        }
    }
    folder.dirs().try_for_each(|folder| embedded(folder, files))
}

fn on_disk(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            on_disk(root, &path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            let text = std::fs::read_to_string(&path)?;
            files.push((name(path.strip_prefix(root)?), text));
        }
    }
    Ok(())
}

fn name(path: &Path) -> String {
    path.with_extension("").to_string_lossy().replace('\\', "/")
}

fn parse(text: &str) -> Result<Vec<Case>> {
    let value: Value = serde_yaml_ng::from_str(text)?;
    let values = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    let parsed = values.into_iter().map(|value| {
        let id = value["id"]
            .as_str()
            .unwrap_or("a case without an id")
            .to_owned();
        serde_path_to_error::deserialize(value).with_context(|| id)
    });
    parsed.collect()
}

/// The entries of a file of `vectors/`.
pub(crate) fn vectors(name: &str) -> Result<Vec<Value>> {
    let file = VECTORS.get_file(format!("{name}.json"));
    let file = file.with_context(|| format!("there is no vectors/{name}.json"))?;
    Ok(serde_json::from_slice(file.contents())?)
}

/// What a kind of server has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    #[allow(dead_code, reason = "for readers of the file")]
    about: String,
    /// Areas of cases that are left out.
    without: BTreeSet<String>,
}

/// The areas that a profile is without.
pub(crate) fn profile(name: &str) -> Result<BTreeSet<String>> {
    let Some(file) = PROFILES.get_file(format!("{name}.yaml")) else {
        let known = PROFILES.files().map(|file| self::name(file.path()));
        let known: Vec<_> = known.collect();
        bail!(
            "there is no profile {name}; there are: {}",
            known.join(", ")
        );
    };
    let profile: Profile = serde_yaml_ng::from_slice(file.contents())?;
    Ok(profile.without)
}
