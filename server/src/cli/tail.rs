//! `chirm tail`: channels as messages come, over cuts and restarts of the server.

use super::connection::Connection;
use super::history::Printer;
use super::output;
use anyhow::bail;
use chirm_client::{Advice, Client, Event};
use chirm_proto::v1;
use std::time::Duration;
use tokio::time::timeout;

/// How long an author's name may take to be read.
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
    /// Print JSON: one message a line, edits and deletes as the message that it has become.
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
            Some(_) => {}
        }
    }
    client.close().await;
    Ok(())
}
