//! `chirm member`: what moderators do to members.

use super::connection::Connection;
use super::output;
use crate::clock::{Clock as _, SystemClock};
use chirm_client::Api;
use chirm_proto::v1;

/// Kick, ban, time out; delete what somebody wrote.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Take a member out; it may join again.
    Kick {
        #[command(flatten)]
        whom: Whom,
    },
    /// Take a user out and keep it out.
    Ban {
        #[command(flatten)]
        whom: Whom,
        /// Delete what it wrote in so many seconds before: at most 604800 (7 days).
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        delete_messages: i32,
    },
    /// Lift a ban.
    Unban {
        /// The server's id.
        server_id: i64,
        /// The user's id.
        user_id: i64,
    },
    /// Let a member read, and not write, for a while.
    Timeout {
        #[command(flatten)]
        whom: Whom,
        /// For how long: at most 2419200 (28 days); 0 lifts it.
        #[arg(value_parser = clap::value_parser!(i64).range(0..=2_419_200))]
        seconds: i64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete what a user wrote lately, in the channels that you moderate.
    Purge {
        #[command(flatten)]
        whom: Whom,
        /// In the last so many seconds: at most 1209600 (14 days).
        #[arg(value_parser = clap::value_parser!(i64).range(1..=1_209_600))]
        seconds: i64,
        /// In this channel alone, by id.
        #[arg(
            long,
            value_name = "CHANNEL_ID",
            default_value_t = 0,
            hide_default_value = true
        )]
        channel: i64,
    },
}

/// A user of a server, and why.
#[derive(Debug, clap::Args)]
struct Whom {
    /// The server's id.
    server_id: i64,
    /// The user's id.
    user_id: i64,
    /// Why, for the audit log.
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let api = args.connection.authorized().await?;
    match args.command {
        Command::Kick { whom } => {
            let request = v1::KickMemberRequest {
                server_id: whom.server_id,
                user_id: whom.user_id,
                reason: whom.reason,
            };
            api.servers().kick_member(request).await?;
            output::line("kicked")
        }
        Command::Ban {
            whom,
            delete_messages,
        } => {
            let request = v1::BanUserRequest {
                server_id: whom.server_id,
                user_id: whom.user_id,
                reason: whom.reason,
                delete_message_seconds: delete_messages,
            };
            api.servers().ban_user(request).await?;
            output::line("banned")
        }
        Command::Unban { server_id, user_id } => {
            let request = v1::UnbanUserRequest { server_id, user_id };
            api.servers().unban_user(request).await?;
            output::line("unbanned")
        }
        Command::Timeout {
            whom,
            seconds,
            json,
        } => time_out(&api, whom, seconds, json).await,
        Command::Purge {
            whom,
            seconds,
            channel,
        } => purge(&api, whom, seconds, channel).await,
    }
}

/// A time so many seconds from now, or before.
fn from_now(seconds: i64) -> prost_types::Timestamp {
    let at_ms = SystemClock::default().wall_ms() + seconds * 1_000;
    prost_types::Timestamp {
        seconds: at_ms.div_euclid(1_000),
        nanos: 0,
    }
}

async fn time_out(api: &Api, whom: Whom, seconds: i64, json: bool) -> anyhow::Result<()> {
    let request = v1::TimeOutMemberRequest {
        server_id: whom.server_id,
        user_id: whom.user_id,
        until: (seconds > 0).then(|| from_now(seconds)),
        reason: whom.reason,
    };
    let answer = api.moderation().time_out_member(request).await?;
    if json {
        return output::json("TimeOutMemberResponse", &answer.into_inner());
    }
    output::line(if seconds > 0 { "timed out" } else { "lifted" })
}

async fn purge(api: &Api, whom: Whom, seconds: i64, channel_id: i64) -> anyhow::Result<()> {
    let request = v1::BulkDeleteMessagesRequest {
        server_id: whom.server_id,
        channel_id,
        author_id: whom.user_id,
        since: Some(from_now(-seconds)),
        reason: whom.reason,
        ..Default::default()
    };
    let mut deleted = 0;
    loop {
        let mut moderation = api.moderation();
        let answer = moderation.bulk_delete_messages(request.clone()).await?;
        let answer = answer.into_inner();
        deleted += i64::from(answer.deleted_count);
        if !answer.more {
            return output::line(&format!("deleted {deleted} messages"));
        }
    }
}
