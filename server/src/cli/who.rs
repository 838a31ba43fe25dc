//! `chirm who`: a server's members, who is here first.

use super::connection::Connection;
use super::output;
use anyhow::{Context as _, bail};
use chirm_client::{Advice, Client, Event, Looking};
use chirm_proto::v1::{self, PresenceStatus, Role, member_list_item::Item, member_list_op::Kind};
use std::time::Duration;
use tokio::time::timeout;

/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The first places, as many as one range has.
const PLACES: i32 = 100;

/// Show who is here: the first 100 places of a server's member list, with their presence.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    /// The server's id.
    server_id: i64,
    /// The first place to show, from 0.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..))]
    from: i32,
    /// Go on, and show the places anew whenever something changes, until Ctrl-C.
    #[arg(long)]
    follow: bool,
    /// Print JSON: one place a line.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let api = args.connection.authorized().await?;
    // What can't be seen is an error now, not a silence for ever.
    let server_id = args.server_id;
    api.servers()
        .get_server(v1::GetServerRequest { server_id })
        .await?;
    let mut config = args.connection.config().await?;
    config.delivery = v1::Delivery::Viewed;
    // Looking on is no reason to be shown as here.
    config.presence = PresenceStatus::Invisible;
    let range = v1::MemberRange {
        start: args.from,
        count: PLACES,
    };
    config.looking = Looking {
        lists: vec![v1::MemberListView {
            server_id,
            ranges: vec![range],
        }],
        users: Vec::new(),
    };
    let (client, mut events) = Client::start(config);
    let within = if args.follow { Duration::MAX } else { ANSWER };
    let mut places = Vec::new();
    loop {
        let event = tokio::select! {
            event = timeout(within, events.next()) => {
                event.context("the server doesn't answer")?
            }
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                break;
            }
        };
        match event {
            None => break,
            Some(Event::Closed(error)) => return Err(error.into()),
            Some(Event::TokensRenewed(tokens)) => api.set_token(&tokens.access_token)?,
            Some(Event::Disconnected { reason }) if reason.advice == Advice::Reauthenticate => {
                bail!("{reason}; sign in with `chirm user login`");
            }
            Some(Event::MemberList(changed)) if changed.server_id == server_id => {
                apply(&mut places, args.from, &changed);
                print(&places, args.json)?;
                if !args.follow {
                    break;
                }
            }
            Some(_) => {}
        }
    }
    client.close().await;
    Ok(())
}

/// Brings the places up to date.
fn apply(places: &mut Vec<v1::MemberListItem>, from: i32, changed: &v1::MemberListChanged) {
    for op in &changed.ops {
        let at = usize::try_from(op.index - from).unwrap_or_default();
        let first = op.items.first().cloned();
        match (op.kind(), first) {
            (Kind::Sync, _) => places.clone_from(&op.items),
            (Kind::Insert, Some(item)) if at <= places.len() => places.insert(at, item),
            (Kind::Update, Some(item)) if at < places.len() => places[at] = item,
            (Kind::Delete, _) if at < places.len() => drop(places.remove(at)),
            _ => {}
        }
    }
}

fn print(places: &[v1::MemberListItem], json: bool) -> anyhow::Result<()> {
    for place in places {
        if json {
            output::json("MemberListItem", place)?;
            continue;
        }
        match place.item.as_ref() {
            Some(Item::Group(group)) => {
                let name = match group.role() {
                    Role::Unspecified => "offline".to_owned(),
                    role => lower(role.as_str_name(), "ROLE_"),
                };
                output::line(&format!("{name}: {}", group.count))?;
            }
            Some(Item::Member(member)) => member_line(member, place.presence.as_ref())?,
            None => {}
        }
    }
    Ok(())
}

fn member_line(member: &v1::Member, presence: Option<&v1::Presence>) -> anyhow::Result<()> {
    let name = member.user.as_ref().map(output::who).unwrap_or_default();
    let presence = presence.cloned().unwrap_or_default();
    let status = match presence.status() {
        PresenceStatus::Offline | PresenceStatus::Unspecified => String::new(),
        status => format!("  {}", lower(status.as_str_name(), "PRESENCE_STATUS_")),
    };
    let words = match presence.text.as_str() {
        "" => String::new(),
        text => format!("  “{}”", output::printable(text)),
    };
    output::line(&format!("  {}  {name}{status}{words}", member.user_id))
}

/// A name of the protocol as people read it.
fn lower(name: &str, prefix: &str) -> String {
    let name = name.trim_start_matches(prefix);
    name.to_lowercase().replace('_', " ")
}
