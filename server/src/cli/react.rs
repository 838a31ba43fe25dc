//! `chirm react`: reactions to a message. `chirm pin`, `chirm pins`: a channel's pinned messages.

use super::connection::Connection;
use super::history::Printer;
use super::output;
use anyhow::Context as _;
use chirm_proto::v1;

/// React to a message, or take it back.
#[derive(Debug, clap::Args)]
pub(super) struct ReactArgs {
    #[command(flatten)]
    connection: Connection,
    /// The channel's id.
    channel_id: i64,
    /// The message's id.
    message_id: i64,
    /// An emoji, or a text of 1 to 64 characters without spaces.
    emoji: String,
    /// Take the reaction back.
    #[arg(long)]
    remove: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `react`.
pub(super) async fn react(args: ReactArgs) -> anyhow::Result<()> {
    let mut messages = args.connection.authorized().await?.messages();
    let (channel_id, message_id, emoji) = (args.channel_id, args.message_id, args.emoji);
    let reaction = if args.remove {
        let request = v1::RemoveReactionRequest {
            channel_id,
            message_id,
            emoji,
            user_id: 0,
        };
        messages
            .remove_reaction(request)
            .await?
            .into_inner()
            .reaction
    } else {
        let request = v1::AddReactionRequest {
            channel_id,
            message_id,
            emoji,
        };
        messages.add_reaction(request).await?.into_inner().reaction
    };
    let reaction = reaction.context("the server answered without one")?;
    if args.json {
        return output::json("Reaction", &reaction);
    }
    let emoji = output::printable(&reaction.emoji);
    output::line(&format!("{emoji} {}", reaction.count))
}

/// Pin a message, or unpin it.
#[derive(Debug, clap::Args)]
pub(super) struct PinArgs {
    #[command(flatten)]
    connection: Connection,
    /// The channel's id.
    channel_id: i64,
    /// The message's id.
    message_id: i64,
    /// Unpin it.
    #[arg(long)]
    remove: bool,
}

/// Runs `pin`.
pub(super) async fn pin(args: PinArgs) -> anyhow::Result<()> {
    let mut messages = args.connection.authorized().await?.messages();
    let (channel_id, message_id) = (args.channel_id, args.message_id);
    if args.remove {
        let request = v1::UnpinMessageRequest {
            channel_id,
            message_id,
        };
        messages.unpin_message(request).await?;
        return output::line("unpinned");
    }
    let request = v1::PinMessageRequest {
        channel_id,
        message_id,
    };
    messages.pin_message(request).await?;
    output::line("pinned")
}

/// Read a channel's pinned messages, the latest pin first.
#[derive(Debug, clap::Args)]
pub(super) struct PinsArgs {
    #[command(flatten)]
    connection: Connection,
    /// The channel's id.
    channel_id: i64,
    /// Print JSON: one pin a line.
    #[arg(long)]
    json: bool,
}

/// Runs `pins`.
pub(super) async fn pins(args: PinsArgs) -> anyhow::Result<()> {
    let api = args.connection.authorized().await?;
    let mut printer = Printer::new(api.clone(), false);
    let mut request = v1::ListPinsRequest {
        channel_id: args.channel_id,
        ..Default::default()
    };
    loop {
        let page = api
            .messages()
            .list_pins(request.clone())
            .await?
            .into_inner();
        if args.json {
            for pin in &page.pins {
                output::json("Pin", pin)?;
            }
        } else {
            let messages = page.pins.iter().filter_map(|pin| pin.message.as_ref());
            let authors = messages.clone().map(|message| message.author_id);
            printer.learn(authors).await?;
            for message in messages {
                printer.print(message)?;
            }
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}
