//! `chirm history`: a channel's past, oldest first.

use super::connection::Connection;
use super::output;
use chirm_client::Api;
use chirm_proto::v1;
use chirm_proto::v1::list_messages_request::Anchor;
use std::collections::HashMap;

/// The most messages that a page holds.
const PAGE_MAX: i32 = 100;
/// Names kept while printing; beyond it they are asked for anew.
const NAMES_MAX: usize = 10_000;

/// Read a channel's past.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    /// The channel's id.
    channel_id: i64,
    /// How many messages at most: 1 to 100.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=100))]
    limit: i32,
    /// Those before this message, by id.
    #[arg(long, value_name = "MESSAGE_ID", group = "place")]
    before: Option<i64>,
    /// Those after this message, by id.
    #[arg(long, value_name = "MESSAGE_ID", group = "place")]
    after: Option<i64>,
    /// Those around this message, by id.
    #[arg(long, value_name = "MESSAGE_ID", group = "place")]
    around: Option<i64>,
    /// The whole channel, from its first message on.
    #[arg(long, group = "place", conflicts_with = "limit")]
    all: bool,
    /// Print JSON: one message a line.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let api = args.connection.authorized().await?;
    let mut printer = Printer::new(api.clone(), args.json);
    let mut request = v1::ListMessagesRequest {
        channel_id: args.channel_id,
        limit: if args.all { PAGE_MAX } else { args.limit },
        anchor: if args.all {
            Some(Anchor::After(0))
        } else {
            let before = args.before.map(Anchor::Before);
            before
                .or(args.after.map(Anchor::After))
                .or(args.around.map(Anchor::Around))
        },
    };
    loop {
        let page = api.messages().list_messages(request).await?.into_inner();
        printer
            .learn(page.messages.iter().map(|message| message.author_id))
            .await?;
        for message in &page.messages {
            printer.print(message)?;
        }
        // A page's newest id may be one that was deleted.
        let newest = page
            .messages
            .iter()
            .map(|message| message.id)
            .chain(page.deleted_ids)
            .max();
        match newest {
            Some(id) if args.all && page.has_newer => request.anchor = Some(Anchor::After(id)),
            _ => return Ok(()),
        }
    }
}

/// Prints messages with their authors' names.
pub(super) struct Printer {
    api: Api,
    json: bool,
    names: HashMap<i64, String>,
}

impl Printer {
    /// As JSON, one message a line, or for people.
    pub(super) fn new(api: Api, json: bool) -> Self {
        Self {
            api,
            json,
            names: HashMap::new(),
        }
    }

    /// Reads the names of users that aren't known yet. JSON needs none.
    pub(super) async fn learn(&mut self, users: impl Iterator<Item = i64>) -> anyhow::Result<()> {
        if self.json {
            return Ok(());
        }
        let mut unknown: Vec<i64> = users.filter(|id| !self.names.contains_key(id)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        if self.names.len() + unknown.len() > NAMES_MAX {
            self.names.clear();
        }
        for some in unknown.chunks(100) {
            let request = v1::BatchGetUsersRequest {
                user_ids: some.to_vec(),
            };
            let users = self
                .api
                .users()
                .batch_get_users(request)
                .await?
                .into_inner()
                .users;
            self.names
                .extend(users.iter().map(|user| (user.id, shown_name(user))));
        }
        Ok(())
    }

    /// Prints one message.
    pub(super) fn print(&self, message: &v1::Message) -> anyhow::Result<()> {
        if self.json {
            return output::json("Message", message);
        }
        let unknown = message.author_id.to_string();
        let name = self.names.get(&message.author_id).unwrap_or(&unknown);
        let reply = match message.reply_to {
            0 => String::new(),
            id => format!(" (answers {id})"),
        };
        let edited = if message.edited_at.is_some() {
            " (edited)"
        } else {
            ""
        };
        let text = output::printable(&message.content);
        let marks = marks(message);
        output::line(&format!(
            "{}  {name}{reply}: {text}{edited}{marks}",
            message.id
        ))
    }

    /// Prints something that a user did to a message.
    pub(super) fn print_deed(&self, message: i64, user: i64, deed: &str) -> anyhow::Result<()> {
        let unknown = user.to_string();
        let name = self.names.get(&user).unwrap_or(&unknown);
        output::line(&format!("{message}  ({name} {deed})"))
    }
}

/// Whether it is pinned, and its reactions; the caller's own have a star.
fn marks(message: &v1::Message) -> String {
    let mut text = String::new();
    if message.pinned {
        text.push_str(" (pinned)");
    }
    let kinds = message.reactions.iter().map(|kind| {
        let own = if kind.own { "*" } else { "" };
        format!("{} {}{own}", output::printable(&kind.emoji), kind.count)
    });
    let kinds: Vec<String> = kinds.collect();
    if !kinds.is_empty() {
        text.push_str(&format!(" [{}]", kinds.join(", ")));
    }
    text
}

fn shown_name(user: &v1::User) -> String {
    let name = if user.display_name.is_empty() {
        &user.username
    } else {
        &user.display_name
    };
    output::printable(name)
}
