//! `chirm tail`: channels as messages come, over cuts and restarts of the server.

use super::connection::Connection;
use super::history::Printer;
use super::output;
use anyhow::bail;
use chirm_client::{Advice, Api, Client, Event};
use chirm_proto::v1::{self, event::Event as Body};
use std::time::Duration;
use tokio::time::timeout;

/// How long an author's name, or a message that was reacted to, may take to be read.
const NAME: Duration = Duration::from_secs(5);

/// Follow channels as messages come.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    /// The channels' ids: at most 100.
    #[arg(required = true, num_args = 1..=100)]
    channel_ids: Vec<i64>,
    /// End after so many messages; left out: go on until Ctrl-C.
    #[arg(long, value_name = "MESSAGES")]
    count: Option<u64>,
    /// Print JSON: one message a line; edits, deletes, reactions and pins as the message that it
    /// has become.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// For one channel.
    pub(super) fn of(
        connection: Connection,
        channel_id: i64,
        count: Option<u64>,
        json: bool,
    ) -> Self {
        Self {
            connection,
            channel_ids: vec![channel_id],
            count,
            json,
        }
    }
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let api = args.connection.authorized().await?;
    // A channel that can't be read is an error now, not a silence for ever.
    for &channel_id in &args.channel_ids {
        api.channels()
            .get_channel(v1::GetChannelRequest { channel_id })
            .await?;
    }
    let mut config = args.connection.config().await?;
    config.delivery = v1::Delivery::Viewed;
    config.viewed = args.channel_ids.clone();
    let (client, mut events) = Client::start(config);
    let mut printer = Printer::new(api.clone(), args.json);
    let mut left = args.count;
    while left != Some(0) {
        let event = tokio::select! {
            event = events.next() => event,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                break;
            }
        };
        match event {
            None => break,
            Some(Event::Closed(error)) => return Err(error.into()),
            Some(Event::TokensRenewed(tokens)) => api.set_token(&tokens.access_token)?,
            Some(Event::Disconnected { reason }) => {
                if reason.advice == Advice::Reauthenticate {
                    bail!("{reason}; sign in with `chirm user login`");
                }
                eprintln!("the connection ended ({reason}); connecting again");
            }
            Some(Event::Ready(_)) => eprintln!("connected; Ctrl-C ends it"),
            Some(Event::Message { message, .. }) => {
                if args.channel_ids.contains(&message.channel_id) {
                    let author = printer.learn(std::iter::once(message.author_id));
                    // A name that can't be read now is no reason to miss messages: its id does.
                    let _unknown = timeout(NAME, author).await;
                    printer.print(&message)?;
                    left = left.map(|left| left - 1);
                }
            }
            Some(Event::MessageUpdated(message)) => printer.print(&message)?,
            Some(Event::MessageDeleted(message)) if args.json => printer.print(&message)?,
            Some(Event::MessageDeleted(message)) => {
                output::line(&format!("{}  (deleted)", message.id))?;
            }
            Some(Event::Topic(event)) => {
                if let Some(mark) = event.event.and_then(Mark::of) {
                    mark.print(&api, &mut printer, args.json).await?;
                }
            }
            Some(_) => {}
        }
    }
    client.close().await;
    Ok(())
}

/// What a user did to a message: reacted, pinned it.
struct Mark {
    channel_id: i64,
    message_id: i64,
    /// 0: not told.
    user_id: i64,
    deed: String,
}

impl Mark {
    fn of(body: Body) -> Option<Self> {
        let (channel_id, message_id, user_id, deed) = match body {
            Body::ReactionAdded(r) => {
                let deed = format!("reacted {}: {}", output::printable(&r.emoji), r.count);
                (r.channel_id, r.message_id, r.user_id, deed)
            }
            Body::ReactionRemoved(r) => {
                let emoji = output::printable(&r.emoji);
                let deed = format!("no longer reacts {emoji}: {}", r.count);
                (r.channel_id, r.message_id, r.user_id, deed)
            }
            Body::ReactionsCleared(r) if r.emoji.is_empty() => {
                let deed = "reactions were cleared".to_owned();
                (r.channel_id, r.message_id, 0, deed)
            }
            Body::ReactionsCleared(r) => {
                let deed = format!("reactions {} were cleared", output::printable(&r.emoji));
                (r.channel_id, r.message_id, 0, deed)
            }
            Body::MessagePinned(p) => {
                let deed = "pinned it".to_owned();
                (p.channel_id, p.message_id, p.user_id, deed)
            }
            Body::MessageUnpinned(p) => {
                let deed = "unpinned it".to_owned();
                (p.channel_id, p.message_id, p.user_id, deed)
            }
            _ => return None,
        };
        Some(Self {
            channel_id,
            message_id,
            user_id,
            deed,
        })
    }

    async fn print(&self, api: &Api, printer: &mut Printer, json: bool) -> anyhow::Result<()> {
        if json {
            let request = v1::GetMessageRequest {
                channel_id: self.channel_id,
                message_id: self.message_id,
            };
            // One that can't be read now, or was deleted since, is no reason to miss others.
            let mut messages = api.messages();
            let got = timeout(NAME, messages.get_message(request)).await;
            let message = got.ok().and_then(Result::ok);
            return match message.and_then(|got| got.into_inner().message) {
                Some(message) => printer.print(&message),
                None => Ok(()),
            };
        }
        if self.user_id == 0 {
            return output::line(&format!("{}  ({})", self.message_id, self.deed));
        }
        let _unknown = timeout(NAME, printer.learn(std::iter::once(self.user_id))).await;
        printer.print_deed(self.message_id, self.user_id, &self.deed)
    }
}
