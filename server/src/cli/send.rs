//! `chirm send`: one message, repeated under its nonce until the server's answer is known.

use super::connection::Connection;
use super::output;
use anyhow::{Context as _, ensure};
use chirm_client::{Api, Error};
use chirm_proto::v1;
use std::io::Read as _;
use std::time::Duration;

/// How often a send is tried before the command gives up.
const ATTEMPTS_MAX: i32 = 5;
/// The first wait between attempts where the server names none; it doubles.
const WAIT_FIRST: Duration = Duration::from_millis(250);
/// The most that is read from standard input: the protocol's limit of a message's content, bytes.
const CONTENT_BYTES_MAX: u64 = 16 * 1024;

/// Send a message.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    /// The channel's id.
    channel_id: i64,
    /// The text; left out, or `-`: standard input, to its end.
    text: Option<String>,
    /// The message of the same channel that this one answers, by id.
    #[arg(
        long,
        default_value_t = 0,
        hide_default_value = true,
        value_name = "MESSAGE_ID"
    )]
    reply_to: i64,
    /// A UUID that names the message: sending it again is the same message. Made if left out.
    #[arg(long)]
    nonce: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let api = args.connection.authorized().await?;
    let request = v1::SendMessageRequest {
        channel_id: args.channel_id,
        content: content(args.text)?,
        nonce: args.nonce.unwrap_or_else(new_nonce),
        reply_to: args.reply_to,
        ..Default::default()
    };
    print(send(&api, request).await?, args.json)
}

/// Sends a text to a channel, `-` standing for standard input, as `chirm send` does.
pub(super) async fn text(
    api: &Api,
    channel_id: i64,
    text: String,
    json: bool,
) -> anyhow::Result<()> {
    let request = v1::SendMessageRequest {
        channel_id,
        content: content(Some(text))?,
        nonce: new_nonce(),
        ..Default::default()
    };
    print(send(api, request).await?, json)
}

fn content(text: Option<String>) -> anyhow::Result<String> {
    match text {
        Some(text) if text != "-" => Ok(text),
        _ => from_standard_input(),
    }
}

fn new_nonce() -> String {
    uuid::Uuid::now_v7().to_string()
}

fn print(sent: v1::SendMessageResponse, json: bool) -> anyhow::Result<()> {
    let message = sent.message.context("the server answered without one")?;
    if json {
        return output::json("Message", &message);
    }
    output::line(&message.id.to_string())
}

async fn send(
    api: &Api,
    mut request: v1::SendMessageRequest,
) -> anyhow::Result<v1::SendMessageResponse> {
    let mut wait = WAIT_FIRST;
    loop {
        let status = match api.messages().send_message(request.clone()).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => status,
        };
        request.attempt += 1;
        let error = Error::from(&status);
        let over = request.attempt == ATTEMPTS_MAX || status.code() == tonic::Code::Unauthenticated;
        if over || !error.is_retryable() {
            return Err(status.into());
        }
        tokio::time::sleep(error.retry_after.unwrap_or(wait)).await;
        wait *= 2;
    }
}

fn from_standard_input() -> anyhow::Result<String> {
    let mut content = String::new();
    std::io::stdin()
        .lock()
        .take(CONTENT_BYTES_MAX + 1)
        .read_to_string(&mut content)
        .context("reading the text from standard input (it must be UTF-8)")?;
    ensure!(
        content.len() as u64 <= CONTENT_BYTES_MAX,
        "the text is longer than 16 KiB"
    );
    Ok(content.trim_end_matches('\n').to_owned())
}
