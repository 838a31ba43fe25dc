//! `chirm server`: communities, their members and invitations.

use super::connection::Connection;
use super::crowd;
use super::output;
use anyhow::Context as _;
use chirm_client::Api;
use chirm_proto::v1;

/// Make, find, join and leave servers.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a server, with a channel #general.
    Create {
        /// Its name.
        name: String,
        /// What it is about.
        #[arg(long, default_value = "")]
        description: String,
        /// Let everyone join by the server's id, without an invitation.
        #[arg(long)]
        open: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List your servers.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a server.
    Show {
        /// The server's id.
        server_id: i64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete a server with all its channels and messages. Its owner only.
    Delete {
        /// The server's id.
        server_id: i64,
    },
    /// Join: by an invitation's code, or by the id of an open server.
    Join {
        /// An invitation's code.
        #[arg(required_unless_present = "id")]
        code: Option<String>,
        /// The id of an open server, which needs no invitation.
        #[arg(long, conflicts_with = "code", value_name = "SERVER_ID")]
        id: Option<i64>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Leave a server.
    Leave {
        /// The server's id.
        server_id: i64,
    },
    /// List a server's members.
    Members {
        /// The server's id.
        server_id: i64,
        /// Print JSON: one member a line.
        #[arg(long)]
        json: bool,
    },
    /// Make many users members, with a service key; those that are new come to be.
    AddMembers {
        /// The server's id.
        server_id: i64,
        /// One user a line: its id in your own system and, after a tab, its name; `-` reads
        /// standard input. A file that was cut short may be read again from the start.
        file: std::path::PathBuf,
    },
    /// Make an invitation.
    Invite {
        /// The server's id.
        server_id: i64,
        /// How often it can be used; 0 is without end.
        #[arg(long, default_value_t = 0)]
        max_uses: i32,
        /// For how many seconds it is good; 0 is the server's default.
        #[arg(long, default_value_t = 0)]
        ttl_seconds: i32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let api = args.connection.authorized().await?;
    match args.command {
        Command::Create {
            name,
            description,
            open,
            json,
        } => create(&api, name, description, open, json).await,
        Command::List { json } => list(&api, json).await,
        Command::Show { server_id, json } => show(&api, server_id, json).await,
        Command::Delete { server_id } => {
            api.servers()
                .delete_server(v1::DeleteServerRequest { server_id })
                .await?;
            output::line("deleted")
        }
        Command::Join { code, id, json } => join(&api, code, id, json).await,
        Command::Leave { server_id } => {
            api.servers()
                .leave_server(v1::LeaveServerRequest { server_id })
                .await?;
            output::line("left")
        }
        Command::Members { server_id, json } => members(&api, server_id, json).await,
        Command::AddMembers { server_id, file } => crowd::add(&api, server_id, &file).await,
        Command::Invite {
            server_id,
            max_uses,
            ttl_seconds,
            json,
        } => {
            let request = v1::CreateInviteRequest {
                server_id,
                max_uses,
                ttl_seconds,
                request_id: uuid::Uuid::now_v7().to_string(),
            };
            let answer = api.servers().create_invite(request).await?.into_inner();
            if json {
                return output::json("CreateInviteResponse", &answer);
            }
            output::line(&answer.invite.unwrap_or_default().code)
        }
    }
}

async fn create(
    api: &Api,
    name: String,
    description: String,
    open: bool,
    json: bool,
) -> anyhow::Result<()> {
    let request = v1::CreateServerRequest {
        name,
        description,
        open,
        request_id: uuid::Uuid::now_v7().to_string(),
        ..Default::default()
    };
    let answer = api.servers().create_server(request).await?.into_inner();
    if json {
        return output::json("CreateServerResponse", &answer);
    }
    let server = answer.server.unwrap_or_default();
    output::line(&format!(
        "server   {}  {}",
        server.id,
        output::printable(&server.name)
    ))?;
    output::line(&format!("channel  {}  general", answer.general_channel_id))
}

async fn list(api: &Api, json: bool) -> anyhow::Result<()> {
    let mut answer = v1::ListServersResponse::default();
    loop {
        let request = v1::ListServersRequest {
            page_token: answer.next_page_token.clone(),
            ..Default::default()
        };
        let page = api.servers().list_servers(request).await?.into_inner();
        answer.servers.extend(page.servers);
        answer.next_page_token = page.next_page_token;
        if answer.next_page_token.is_empty() {
            break;
        }
    }
    if json {
        return output::json("ListServersResponse", &answer);
    }
    let rows = answer.servers.iter().map(row).collect();
    output::table(
        &["id", "name", "members", ""],
        rows,
        "no servers yet: `chirm server create`",
    )
}

async fn show(api: &Api, server_id: i64, json: bool) -> anyhow::Result<()> {
    let answer = api
        .servers()
        .get_server(v1::GetServerRequest { server_id })
        .await?
        .into_inner();
    if json {
        return output::json("GetServerResponse", &answer);
    }
    let server = answer.server.context("the server answered without one")?;
    output::table(&["id", "name", "members", ""], vec![row(&server)], "")?;
    if server.description.is_empty() {
        return Ok(());
    }
    output::line(&output::printable(&server.description))
}

async fn join(api: &Api, code: Option<String>, id: Option<i64>, json: bool) -> anyhow::Result<()> {
    let by_code = code.map(v1::join_server_request::By::InviteCode);
    let by = by_code.or(id.map(v1::join_server_request::By::ServerId));
    let request = v1::JoinServerRequest { by };
    let answer = api.servers().join_server(request).await?.into_inner();
    if json {
        return output::json("JoinServerResponse", &answer);
    }
    let server = answer.server.unwrap_or_default();
    output::line(&format!(
        "joined {}  {}",
        server.id,
        output::printable(&server.name)
    ))
}

async fn members(api: &Api, server_id: i64, json: bool) -> anyhow::Result<()> {
    let mut page_token = String::new();
    loop {
        let request = v1::ListMembersRequest {
            server_id,
            page_size: 1_000,
            page_token,
        };
        let answer = api.servers().list_members(request).await?.into_inner();
        for member in &answer.members {
            if json {
                output::json("Member", member)?;
            } else {
                let role = member
                    .role()
                    .as_str_name()
                    .trim_start_matches("ROLE_")
                    .to_lowercase();
                let name = member.user.as_ref().map(output::who).unwrap_or_default();
                output::line(&format!("{}  {role:<9}  {name}", member.user_id))?;
            }
        }
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

fn row(server: &v1::Server) -> Vec<String> {
    let open = if server.open { "open" } else { "" };
    vec![
        server.id.to_string(),
        server.name.clone(),
        server.member_count.to_string(),
        open.to_owned(),
    ]
}
