//! `chirm dm`: the direct channel with others, opened if there is none yet.

use super::connection::Connection;
use super::{output, send, tail};
use anyhow::{Context as _, ensure};
use chirm_client::Api;
use chirm_proto::v1;

/// Write to others directly, or follow what they write.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    /// One to nine users by name or id, joined by commas: `ann,bob`. Figures are an id; `@7` is the
    /// user named 7.
    users: String,
    /// The text; `-`: standard input, to its end. Left out: the channel is followed.
    text: Option<String>,
    /// End after so many messages; left out: go on until Ctrl-C.
    #[arg(long, value_name = "MESSAGES", conflicts_with = "text")]
    count: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let api = args.connection.authorized().await?;
    let mut member_ids = Vec::new();
    for user in args.users.split(',') {
        member_ids.push(user_id(&api, user.trim()).await?);
    }
    let request = v1::CreateChannelRequest {
        r#type: v1::ChannelType::Direct.into(),
        member_ids,
        request_id: uuid::Uuid::now_v7().to_string(),
        ..Default::default()
    };
    let opened = api.channels().create_channel(request).await?.into_inner();
    let channel = opened.channel.context("the server answered without one")?;
    match args.text {
        Some(text) => send::text(&api, channel.id, text, args.json).await,
        None => {
            eprintln!("channel {}", channel.id);
            let tail = tail::Args::of(args.connection, channel.id, args.count, args.json);
            Box::pin(tail::run(tail)).await
        }
    }
}

/// The id that a word means.
async fn user_id(api: &Api, word: &str) -> anyhow::Result<i64> {
    if let Ok(id) = word.parse() {
        return Ok(id);
    }
    let username = word.strip_prefix('@').unwrap_or(word).to_owned();
    ensure!(!username.is_empty(), "a user's name or id is missing");
    let request = v1::LookupUserRequest {
        username: username.clone(),
    };
    let found = api.users().lookup_user(request).await;
    let found = found.with_context(|| format!("looking for {}", output::printable(&username)))?;
    let user = found.into_inner().user;
    Ok(user.context("the server answered without a user")?.id)
}
