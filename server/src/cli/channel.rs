//! `chirm channel`: where messages go.

use super::connection::Connection;
use super::output;
use anyhow::Context as _;
use chirm_client::Api;
use chirm_proto::v1;

/// Make and list channels, direct ones too.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

/// Who may read and write.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    /// All members read and write.
    Text,
    /// All members read; moderators and above write.
    Announcement,
    /// Named members only.
    Private,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a channel in a server.
    Create {
        /// The server's id.
        server_id: i64,
        /// The channel's name.
        name: String,
        /// Who may read and write.
        #[arg(long, value_enum, default_value = "text")]
        kind: Kind,
        /// What it is about.
        #[arg(long, default_value = "")]
        description: String,
        /// A member of a private channel, by id; repeat for more.
        #[arg(long = "member", value_name = "USER_ID")]
        members: Vec<i64>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Open the direct channel with one to nine other users.
    Direct {
        /// The others' ids.
        #[arg(required = true)]
        user_ids: Vec<i64>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List a server's channels, or your direct ones.
    List {
        /// The server's id; left out: direct channels.
        #[arg(default_value_t = 0, hide_default_value = true)]
        server_id: i64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a channel.
    Show {
        /// The channel's id.
        channel_id: i64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete a channel with its messages.
    Delete {
        /// The channel's id.
        channel_id: i64,
    },
    /// Let each user send one message in so many seconds; moderators aren't held back.
    SlowMode {
        /// The channel's id.
        channel_id: i64,
        /// At most 21600 (6 hours); 0 ends it.
        #[arg(value_parser = clap::value_parser!(i32).range(0..=21_600))]
        seconds: i32,
    },
    /// Add a member to a private channel.
    Add {
        /// The channel's id.
        channel_id: i64,
        /// The user's id.
        user_id: i64,
    },
    /// Take a member out of a private channel; or yourself, out of a direct one of three or more.
    Remove {
        /// The channel's id.
        channel_id: i64,
        /// The user's id.
        user_id: i64,
    },
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let api = args.connection.authorized().await?;
    let mut channels = api.channels();
    match args.command {
        Command::Create {
            server_id,
            name,
            kind,
            description,
            members,
            json,
        } => {
            let request = v1::CreateChannelRequest {
                server_id,
                r#type: kind.as_protocol().into(),
                name,
                description,
                member_ids: members,
                ..Default::default()
            };
            create(&api, request, json).await
        }
        Command::Direct { user_ids, json } => {
            let request = v1::CreateChannelRequest {
                r#type: v1::ChannelType::Direct.into(),
                member_ids: user_ids,
                ..Default::default()
            };
            create(&api, request, json).await
        }
        Command::List { server_id, json } => list(&api, server_id, json).await,
        Command::Show { channel_id, json } => show(&api, channel_id, json).await,
        Command::Delete { channel_id } => {
            channels
                .delete_channel(v1::DeleteChannelRequest { channel_id })
                .await?;
            output::line("deleted")
        }
        Command::SlowMode {
            channel_id,
            seconds,
        } => slow_mode(&api, channel_id, seconds).await,
        Command::Add {
            channel_id,
            user_id,
        } => {
            let request = v1::AddChannelMemberRequest {
                channel_id,
                user_id,
            };
            channels.add_channel_member(request).await?;
            output::line("added")
        }
        Command::Remove {
            channel_id,
            user_id,
        } => {
            let request = v1::RemoveChannelMemberRequest {
                channel_id,
                user_id,
            };
            channels.remove_channel_member(request).await?;
            output::line("removed")
        }
    }
}

async fn slow_mode(api: &Api, channel_id: i64, seconds: i32) -> anyhow::Result<()> {
    let request = v1::UpdateChannelRequest {
        channel_id,
        channel: Some(v1::Channel {
            slow_mode_seconds: seconds,
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["slow_mode_seconds".to_owned()],
        }),
    };
    api.channels().update_channel(request).await?;
    output::line(&format!("{seconds} s between two messages of a user"))
}

async fn list(api: &Api, server_id: i64, json: bool) -> anyhow::Result<()> {
    let mut answer = v1::ListChannelsResponse::default();
    loop {
        let request = v1::ListChannelsRequest {
            server_id,
            page_token: answer.next_page_token.clone(),
            ..Default::default()
        };
        let page = api.channels().list_channels(request).await?.into_inner();
        answer.channels.extend(page.channels);
        answer.next_page_token = page.next_page_token;
        if answer.next_page_token.is_empty() {
            break;
        }
    }
    if json {
        return output::json("ListChannelsResponse", &answer);
    }
    let rows = answer.channels.iter().map(row).collect();
    output::table(&HEADING, rows, "no channels")
}

async fn show(api: &Api, channel_id: i64, json: bool) -> anyhow::Result<()> {
    let request = v1::GetChannelRequest { channel_id };
    let answer = api.channels().get_channel(request).await?.into_inner();
    if json {
        return output::json("GetChannelResponse", &answer);
    }
    let channel = answer
        .channel
        .context("the server answered without a channel")?;
    output::table(&HEADING, vec![row(&channel)], "")
}

async fn create(
    api: &Api,
    mut request: v1::CreateChannelRequest,
    json: bool,
) -> anyhow::Result<()> {
    request.request_id = uuid::Uuid::now_v7().to_string();
    let answer = api.channels().create_channel(request).await?.into_inner();
    if json {
        return output::json("CreateChannelResponse", &answer);
    }
    let channel = answer
        .channel
        .context("the server answered without a channel")?;
    output::line(&row(&channel).join("  "))
}

const HEADING: [&str; 3] = ["id", "kind", "name"];

fn row(channel: &v1::Channel) -> Vec<String> {
    let kind = channel
        .r#type()
        .as_str_name()
        .trim_start_matches("CHANNEL_TYPE_")
        .to_lowercase();
    let name = if channel.name.is_empty() {
        let members: Vec<_> = channel.member_ids.iter().map(ToString::to_string).collect();
        members.join(" ")
    } else {
        output::printable(&channel.name)
    };
    vec![channel.id.to_string(), kind, name]
}

impl Kind {
    fn as_protocol(self) -> v1::ChannelType {
        match self {
            Kind::Text => v1::ChannelType::Text,
            Kind::Announcement => v1::ChannelType::Announcement,
            Kind::Private => v1::ChannelType::Private,
        }
    }
}
