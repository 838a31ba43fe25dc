//! Which sentence of docs/protocol.md has which cases.

use crate::case::Case;
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::LazyLock;

static PROTOCOL: &str = include_str!("../../docs/protocol.md");
static UNCHECKED: &str = include_str!("../unchecked.yaml");

/// The table, and what is wrong with it.
pub(crate) struct Table {
    pub(crate) text: String,
    pub(crate) faults: Vec<String>,
}

/// A sentence, a row of a table, or what stands in a list.
#[derive(Debug, PartialEq, Eq)]
struct Sentence {
    section: String,
    text: String,
}

/// Sentences that no case of this suite checks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    /// Why: what checks it instead, or why nothing from outside can.
    why: String,
    sentences: Vec<String>,
}

pub(crate) fn table(protocol: Option<&Path>, cases: &[Case]) -> Result<Table> {
    let protocol = match protocol {
        Some(path) => std::fs::read_to_string(path)?,
        None => PROTOCOL.to_owned(),
    };
    let unchecked: Vec<Unchecked> =
        serde_yaml_ng::from_str(UNCHECKED).context("conformance/unchecked.yaml")?;
    Ok(tabled(&sentences(&protocol), cases, &unchecked))
}

fn tabled(sentences: &[Sentence], cases: &[Case], unchecked: &[Unchecked]) -> Table {
    let mut faults = Vec::new();
    let quotes = cases.iter().flat_map(|case| {
        let quotes = case.sentences.iter();
        quotes.map(|quote| (normal(quote), format!("`{}`", case.id)))
    });
    let excused = unchecked.iter().flat_map(|group| {
        let quotes = group.sentences.iter();
        quotes.map(|quote| (normal(quote), format!("– {}", group.why)))
    });
    let quotes: Vec<_> = quotes.chain(excused).collect();
    for (quote, by) in &quotes {
        if !sentences.iter().any(|sentence| fits(&sentence.text, quote)) {
            faults.push(format!(
                "{by} quotes what the protocol doesn't say: {quote}"
            ));
        }
    }
    let mut text = String::from(HEAD);
    let mut section = "";
    for sentence in sentences {
        if sentence.section != section {
            section = &sentence.section;
            let _ = write!(
                text,
                "\n## {section}\n| sentence | cases |\n| --- | --- |\n"
            );
        }
        let mut by: Vec<_> = quotes
            .iter()
            .filter(|(quote, _)| fits(&sentence.text, quote))
            .map(|(_, by)| by.clone())
            .collect();
        by.dedup();
        if by.is_empty() {
            faults.push(format!("no case checks ({section}): {}", sentence.text));
        }
        let shown = sentence.text.replace('|', "\\|").replace('<', "&lt;");
        let _ = writeln!(text, "| {shown} | {} |", by.join(" "));
    }
    Table { text, faults }
}

const HEAD: &str = "\
# What is checked
Each sentence of [protocol.md](protocol.md) that a server can keep or break, and the cases of the
conformance suite that check it. Made by `chirm-conformance sentences >docs/conformance.md`; a
sentence without a case fails the tests.
";

/// A quote is a part of a sentence, or has it whole.
fn fits(sentence: &str, quote: &str) -> bool {
    sentence.contains(quote) || quote.contains(sentence)
}

/// Words alone: no line breaks, no emphasis, no addresses of links.
fn normal(text: &str) -> String {
    static LINK: LazyLock<regex::Regex> = LazyLock::new(|| {
        regex::Regex::new(r"\[([^\]]*)\]\([^)]*\)").expect("a regular expression")
    });
    let text = LINK
        .replace_all(text, "$1")
        .replace("**", "")
        .replace('`', "");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn sentences(markdown: &str) -> Vec<Sentence> {
    let mut found = Vec::new();
    let mut section = String::new();
    let mut block = String::new();
    let flush = |block: &mut String, section: &str, found: &mut Vec<Sentence>| {
        // A lead-in in bold belongs to the sentence after it.
        for text in split(&normal(&block.replace(".**", ".\u{1}"))) {
            found.push(Sentence {
                section: section.to_owned(),
                text: text.replace('\u{1}', ""),
            });
        }
        block.clear();
    };
    let mut in_table = 0;
    for line in markdown.lines() {
        let trimmed = line.trim();
        in_table = if trimmed.starts_with('|') {
            in_table + 1
        } else {
            0
        };
        if let Some(heading) = trimmed.strip_prefix('#') {
            flush(&mut block, &section, &mut found);
            heading
                .trim_start_matches('#')
                .trim()
                .clone_into(&mut section);
        } else if in_table > 0 {
            flush(&mut block, &section, &mut found);
            if in_table > 2 {
                found.push(Sentence {
                    section: section.clone(),
                    text: row(trimmed),
                });
            }
        } else {
            let item = trimmed.strip_prefix("- ").or_else(|| numbered(trimmed));
            if trimmed.is_empty() || item.is_some() {
                flush(&mut block, &section, &mut found);
            }
            block.push(' ');
            block.push_str(item.unwrap_or(trimmed));
        }
    }
    flush(&mut block, &section, &mut found);
    found
}

fn numbered(line: &str) -> Option<&str> {
    let (number, rest) = line.split_once(". ")?;
    number.chars().all(|c| c.is_ascii_digit()).then_some(rest)
}

fn row(line: &str) -> String {
    let cells = line.trim_matches('|').split(" | ");
    let cells: Vec<_> = cells.map(normal).filter(|cell| !cell.is_empty()).collect();
    cells.join(": ")
}

/// Sentences end with a stop before a space and what begins one.
fn split(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    let mut from = 0;
    while let Some(stop) = rest[from..].find(['.', '!', '?']).map(|at| from + at) {
        let after = &rest[stop + 1..];
        let begins = after
            .strip_prefix(' ')
            .and_then(|after| after.chars().next());
        let ends = begins.is_some_and(|c| c.is_uppercase() || c == '/' || c == '<');
        if ends {
            found.push(rest[..=stop].to_owned());
            rest = after.trim_start();
            from = 0;
        } else {
            from = stop + 1;
        }
    }
    if !rest.is_empty() {
        found.push(rest.to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{self, Source};

    fn texts(markdown: &str) -> Vec<String> {
        sentences(markdown)
            .into_iter()
            .map(|one| one.text)
            .collect()
    }

    #[test]
    fn sentences_rows_and_items_are_found() {
        let markdown = "# T\n\
                        One `x` is. **Three.** **Two**\nis, [too](there.md).\n\n\
                        - Item 1.5 is one.\n  It goes on.\n\n\
                        | a | b |\n| --- | --- |\n| c | d; e |\n\n\
                        1. First.\n";
        let expected = [
            "One x is.",
            "Three. Two is, too.",
            "Item 1.5 is one.",
            "It goes on.",
            "c: d; e",
            "First.",
        ];
        assert_eq!(texts(markdown), expected);
    }

    #[test]
    fn a_sentence_without_a_case_is_a_fault() {
        let sentences = sentences("# T\nIt is so. It is not.");
        let unchecked = [Unchecked {
            why: "for the sake of it".to_owned(),
            sentences: vec!["It is so".to_owned(), "It never was".to_owned()],
        }];
        let faults = tabled(&sentences, &[], &unchecked).faults;
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("It never was"), "{faults:?}");
        assert!(faults[1].contains("It is not."), "{faults:?}");
    }

    #[test]
    fn every_sentence_of_the_protocol_has_a_case() {
        let cases = case::load(&Source::Embedded).expect("the cases can be read");
        let table = table(None, &cases).expect("the protocol can be read");
        assert!(table.faults.is_empty(), "{:#?}", table.faults);
        let written = include_str!("../../docs/conformance.md");
        assert!(
            table.text == written,
            "docs/conformance.md is old: chirm-conformance sentences >docs/conformance.md"
        );
    }

    #[test]
    fn the_schema_is_what_cases_are_read_by() {
        let schema = serde_json::to_string_pretty(&crate::report::schema()).expect("a schema");
        let written = include_str!("../case.schema.json");
        assert!(
            schema.trim() == written.trim(),
            "case.schema.json is old: chirm-conformance schema >conformance/case.schema.json"
        );
    }
}
