//! What is printed: proto3 JSON for scripts, tables for people, errors that say what to do.

use anyhow::Context as _;
use chirm_client::Error;
use chirm_proto::v1;
use comfy_table::{Table, presets};
use prost::Message;
use prost_reflect::DynamicMessage;
use std::io::{ErrorKind, Write as _};

/// Prints a message of `chirm.v1` as one line of proto3 JSON: what REST would answer.
pub(super) fn json(name: &str, message: &impl Message) -> anyhow::Result<()> {
    let descriptor = chirm_proto::pool()
        .get_message_by_name(&format!("chirm.v1.{name}"))
        .with_context(|| format!("the protocol has no message {name}"))?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;
    line(&serde_json::to_string(&dynamic)?)
}

/// Prints a line. A reader that has had enough (`| head`) ends the command without a complaint.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        result => Ok(result?),
    }
}

/// Prints rows under a heading, or `none` if there are none.
pub(super) fn table(heading: &[&str], rows: Vec<Vec<String>>, none: &str) -> anyhow::Result<()> {
    if rows.is_empty() {
        return line(none);
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(heading.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)).collect::<Vec<_>>());
    }
    line(&table.to_string())
}

/// Text of others without what would steer a terminal; line breaks stay.
pub(super) fn printable(text: &str) -> String {
    let steers = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if steers(c) { '\u{FFFD}' } else { c })
        .collect()
}

/// `name (display name)`, or the name alone where both are the same.
pub(super) fn who(user: &v1::User) -> String {
    let name = if user.deleted {
        "deleted user"
    } else {
        user.username.as_str()
    };
    if user.display_name.is_empty() || user.display_name == user.username {
        printable(name)
    } else {
        printable(&format!("{name} ({})", user.display_name))
    }
}

/// The error with its causes in one paragraph, and what to do about it.
pub(super) fn explain(error: &anyhow::Error) -> String {
    if let Some(error) = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Error>())
    {
        return of_call(error);
    }
    if let Some(status) = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<tonic::Status>())
    {
        let text = of_call(&Error::from(status));
        return match cause(status) {
            Some(cause) => format!("{text}\n  {}", printable(&cause)),
            None => text,
        };
    }
    format!("{error:#}")
}

/// What a connection failed of, where it did: a certificate that isn't trusted, a name that isn't
/// known.
fn cause(status: &tonic::Status) -> Option<String> {
    let first = std::error::Error::source(status)?;
    let last = std::iter::successors(Some(first), |error| error.source()).last()?;
    Some(last.to_string())
}

/// An answer of the server's, or the lack of one.
fn of_call(error: &Error) -> String {
    let nobody = error.reason.is_empty() || error.reason == "CONNECTION_LOST";
    let unreachable = matches!(error.code, tonic::Code::Unavailable | tonic::Code::Unknown);
    let mut text = if unreachable && nobody {
        "no server answers there. `chirm serve` starts one; --server or CHIRM_SERVER names another"
            .to_owned()
    } else if error.message.is_empty() {
        error.code.description().to_owned()
    } else {
        printable(&error.message)
    };
    for (field, description) in &error.fields {
        text.push_str(&format!("\n  {field}: {}", printable(description)));
    }
    if error.code == tonic::Code::Unauthenticated {
        text.push_str("\n  sign in (again) with `chirm user login NAME`, or give a valid --token");
    }
    if let Some(wait) = error.retry_after {
        text.push_str(&format!("\n  try again in {:.1} s", wait.as_secs_f64()));
    }
    if !error.reason.is_empty() && error.reason != "CONNECTION_LOST" {
        text.push_str(&format!("\n  ({})", error.reason));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_not_printed() {
        assert_eq!(
            printable("a\u{1b}[31mb\nc\u{202e}d"),
            "a\u{FFFD}[31mb\nc\u{FFFD}d"
        );
    }

    #[test]
    fn a_server_that_is_not_there_is_said_so() {
        let error = anyhow::Error::from(tonic::Status::unavailable("tcp connect error"));
        assert!(
            explain(&error).contains("chirm serve"),
            "{}",
            explain(&error)
        );
    }

    #[test]
    fn other_errors_are_told_with_their_causes() {
        let error = std::fs::read("/no/such/file")
            .context("reading the backup")
            .unwrap_err();
        assert!(
            explain(&error).starts_with("reading the backup: "),
            "{}",
            explain(&error)
        );
    }
}
