//! `chirm unread` and `chirm ack`: what is new, and what has been read.

use super::connection::Connection;
use super::output;
use anyhow::Context as _;
use chirm_client::Api;
use chirm_proto::v1;

/// Channels whose names are read for a list.
const NAMES_MAX: usize = 100;

/// List channels with something unread.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    /// Muted channels with nothing unread, too.
    #[arg(long)]
    muted: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Mark a channel as read.
#[derive(Debug, clap::Args)]
pub(super) struct AckArgs {
    #[command(flatten)]
    connection: Connection,
    /// The channel's id.
    channel_id: i64,
    /// Up to which message, by id; left out: all of it.
    message_id: Option<i64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `chirm unread`.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let api = args.connection.authorized().await?;
    let read_states = api.unread(args.muted).await?;
    if args.json {
        let answer = v1::ListUnreadResponse {
            read_states,
            ..Default::default()
        };
        return output::json("ListUnreadResponse", &answer);
    }
    let mut rows = Vec::new();
    for (at, state) in read_states.iter().enumerate() {
        let name = if at < NAMES_MAX {
            name(&api, state.channel_id).await?
        } else {
            String::new()
        };
        rows.push(vec![
            state.channel_id.to_string(),
            name,
            state.mention_count.to_string(),
            state.last_message_id.to_string(),
            if state.muted { "muted" } else { "" }.to_owned(),
        ]);
    }
    let heading = ["channel", "name", "mentions", "last message", ""];
    output::table(&heading, rows, "nothing unread")
}

/// Runs `chirm ack`.
pub(super) async fn ack(args: AckArgs) -> anyhow::Result<()> {
    let api = args.connection.authorized().await?;
    let message_id = match args.message_id {
        Some(id) => Some(id),
        None => newest(&api, args.channel_id).await?,
    };
    let Some(message_id) = message_id else {
        return output::line("the channel has no messages");
    };
    let state = api.ack(args.channel_id, message_id).await?;
    if args.json {
        return output::json("ReadState", &state);
    }
    let left = if state.last_message_id > state.last_read_id {
        "; there is more"
    } else {
        ""
    };
    output::line(&format!("read up to {}{left}", state.last_read_id))
}

/// The channel's newest message, deleted or not.
async fn newest(api: &Api, channel_id: i64) -> anyhow::Result<Option<i64>> {
    let request = v1::ListMessagesRequest {
        channel_id,
        limit: 1,
        anchor: None,
    };
    let page = api.messages().list_messages(request).await?.into_inner();
    let ids = page.messages.iter().map(|message| message.id);
    Ok(ids.chain(page.deleted_ids.iter().copied()).max())
}

/// What people call a channel; of a direct one its members.
async fn name(api: &Api, channel_id: i64) -> anyhow::Result<String> {
    let request = v1::GetChannelRequest { channel_id };
    let channel = api.channels().get_channel(request).await?.into_inner();
    let channel = channel.channel.context("the server answered without one")?;
    if !channel.name.is_empty() {
        return Ok(channel.name);
    }
    let request = v1::BatchGetUsersRequest {
        user_ids: channel.member_ids,
    };
    let users = api
        .users()
        .batch_get_users(request)
        .await?
        .into_inner()
        .users;
    Ok(users.iter().map(output::who).collect::<Vec<_>>().join(", "))
}
