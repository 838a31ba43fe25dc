//! `chirm audit`: what was done to a server, and by whom.

use super::connection::Connection;
use super::output;
use chirm_proto::v1;

/// Read a server's audit log, newest first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    /// The server's id.
    server_id: i64,
    /// Only what this user did, by id.
    #[arg(
        long,
        value_name = "USER_ID",
        default_value_t = 0,
        hide_default_value = true
    )]
    actor: i64,
    /// Only this action, as it is printed: member-kicked.
    #[arg(long, value_parser = action, value_name = "ACTION")]
    action: Option<v1::AuditAction>,
    /// How many entries at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print JSON: one entry a line.
    #[arg(long)]
    json: bool,
}

const PREFIX: &str = "AUDIT_ACTION_";

fn action(text: &str) -> Result<v1::AuditAction, String> {
    let name = format!("{PREFIX}{}", text.replace('-', "_").to_uppercase());
    v1::AuditAction::from_str_name(&name).ok_or_else(|| format!("{text:?} is no action"))
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let api = args.connection.authorized().await?;
    let mut left = args.limit as usize;
    let mut page_token = String::new();
    while left > 0 {
        let request = v1::ListAuditLogRequest {
            server_id: args.server_id,
            actor_id: args.actor,
            action: args.action.unwrap_or_default().into(),
            page_size: left.min(1_000) as i32,
            page_token,
        };
        let answer = api.moderation().list_audit_log(request).await?.into_inner();
        for entry in &answer.entries {
            if args.json {
                output::json("AuditEntry", entry)?;
            } else {
                output::line(&shown(entry))?;
            }
        }
        left = left.saturating_sub(answer.entries.len());
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    Ok(())
}

/// When, by whom, what, to what, why.
fn shown(entry: &v1::AuditEntry) -> String {
    let action = entry.action().as_str_name();
    let action = action.trim_start_matches(PREFIX).replace('_', "-");
    let at = entry.created_at.unwrap_or_default();
    let mut text = format!("{at}  {}  {}", entry.actor_id, action.to_lowercase());
    for (name, value) in [
        ("", entry.target_id),
        ("channel ", entry.channel_id),
        ("of ", entry.user_id),
        ("count ", i64::from(entry.count)),
    ] {
        if value != 0 && !(name == "channel " && value == entry.target_id) {
            text.push_str(&format!("  {name}{value}"));
        }
    }
    for change in &entry.changes {
        let (before, after) = (&change.old_value, &change.new_value);
        text.push_str(&format!("  {}: {before:?} -> {after:?}", change.field));
    }
    if !entry.reason.is_empty() {
        text.push_str(&format!("  ({})", entry.reason));
    }
    output::printable(&text).replace('\n', " ")
}
