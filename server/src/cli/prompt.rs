//! Secrets, asked for on a terminal without an echo, or read from standard input. Never arguments:
//! those are seen by every user of the machine, and kept in the shell's history.

use anyhow::{Context as _, ensure};
use std::io::{BufRead as _, IsTerminal as _, Read as _};

/// Secrets longer than this are refused: bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// A password that exists: asked for once, or the first line of standard input.
pub(super) fn password(question: &str) -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        ask(question)
    } else {
        first_line(question)
    }
}

/// A new password: asked for twice, or the first line of standard input.
pub(super) fn new_password(question: &str) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        return first_line(question);
    }
    let password = ask(question)?;
    ensure!(
        password == ask("The same again")?,
        "the two differ; nothing was changed"
    );
    Ok(password)
}

fn ask(question: &str) -> anyhow::Result<String> {
    let terminal = console::Term::stderr();
    terminal.write_str(&format!("{question}: "))?;
    let secret = terminal.read_secure_line()?;
    ensure!(
        !secret.is_empty(),
        "nothing was entered; nothing was changed"
    );
    Ok(secret)
}

fn first_line(question: &str) -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .take(SECRET_BYTES_MAX)
        .read_line(&mut line)
        .with_context(|| format!("reading from standard input: {question}"))?;
    let secret = line.trim_end_matches(['\r', '\n']).to_owned();
    ensure!(
        !secret.is_empty(),
        "standard input has no line with it ({question}); run it in a terminal, or pipe one in"
    );
    Ok(secret)
}
