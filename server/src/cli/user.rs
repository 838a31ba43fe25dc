//! `chirm user`: accounts and who is signed in.

use super::connection::Connection;
use super::{output, prompt};
use anyhow::Context as _;
use chirm_proto::v1;

/// Register, sign in and out; look at users.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

/// Who may write to somebody directly.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Direct {
    /// Whoever isn't blocked.
    Everyone,
    /// Who is in a server with you.
    SharedServers,
    /// Nobody but service keys.
    Nobody,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an account and sign in. The password is asked for, or read from standard input.
    Register {
        /// The unique name.
        name: String,
        /// What people see; the name if left out.
        #[arg(long, default_value = "")]
        display_name: String,
        /// An invitation's code, where registration needs one; also joins its server.
        #[arg(long, default_value = "")]
        invite: String,
        /// Print the answer, tokens included, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Sign in. The password is asked for, or read from standard input.
    Login {
        /// The account's name.
        name: String,
        /// Print the answer, tokens included, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// End the session and forget it.
    Logout,
    /// Show a user, or who is signed in.
    Show {
        /// The user's id; left out: yourself.
        user_id: Option<i64>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Sign in with a JWT that an integrator signed, read from standard input.
    Exchange {
        /// Print the answer, tokens included, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show your settings, or change what is given.
    Settings {
        /// Who may write to you directly.
        #[arg(long, value_enum)]
        direct: Option<Direct>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Change the password; ends the other sessions. Asked for: the old one, then the new one.
    Password,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let connection = args.connection;
    match args.command {
        Command::Register {
            name,
            display_name,
            invite,
            json,
        } => register(&connection, name, display_name, invite, json).await,
        Command::Login { name, json } => login(&connection, name, json).await,
        Command::Logout => logout(&connection).await,
        Command::Show { user_id, json } => show(&connection, user_id, json).await,
        Command::Exchange { json } => exchange(&connection, json).await,
        Command::Settings { direct, json } => settings(&connection, direct, json).await,
        Command::Password => change_password(&connection).await,
    }
}

async fn register(
    connection: &Connection,
    username: String,
    display_name: String,
    invite_code: String,
    json: bool,
) -> anyhow::Result<()> {
    let api = connection.anonymous()?;
    let password = prompt::new_password("A password, 8 characters or more")?;
    let request = v1::RegisterRequest {
        username,
        password,
        display_name,
        invite_code,
        device: device(),
    };
    let answer = api.auth().register(request).await?.into_inner();
    signed_in(connection, answer.user.clone(), answer.tokens.clone())?;
    if json {
        output::json("RegisterResponse", &answer)
    } else {
        greet(answer.user.as_ref())
    }
}

async fn login(connection: &Connection, username: String, json: bool) -> anyhow::Result<()> {
    let api = connection.anonymous()?;
    let password = prompt::password("Password")?;
    let request = v1::LoginRequest {
        username,
        password,
        device: device(),
    };
    let answer = api.auth().login(request).await?.into_inner();
    signed_in(connection, answer.user.clone(), answer.tokens.clone())?;
    if json {
        output::json("LoginResponse", &answer)
    } else {
        greet(answer.user.as_ref())
    }
}

async fn exchange(connection: &Connection, json: bool) -> anyhow::Result<()> {
    let api = connection.anonymous()?;
    let jwt = prompt::password("The JWT")?;
    let request = v1::ExchangeTokenRequest {
        jwt,
        device: device(),
    };
    let answer = api.auth().exchange_token(request).await?.into_inner();
    signed_in(connection, answer.user.clone(), answer.tokens.clone())?;
    if json {
        output::json("ExchangeTokenResponse", &answer)
    } else {
        greet(answer.user.as_ref())
    }
}

async fn logout(connection: &Connection) -> anyhow::Result<()> {
    let api = connection.authorized().await?;
    match api.auth().logout(v1::LogoutRequest {}).await {
        // A session that has ended already is as good as ended now.
        Ok(_) => {}
        Err(status) if status.code() == tonic::Code::Unauthenticated => {}
        Err(status) => return Err(status.into()),
    }
    connection.forget()?;
    output::line("signed out")
}

async fn show(connection: &Connection, user_id: Option<i64>, json: bool) -> anyhow::Result<()> {
    let mut users = connection.authorized().await?.users();
    let user = match user_id {
        Some(user_id) => {
            users
                .get_user(v1::GetUserRequest { user_id })
                .await?
                .into_inner()
                .user
        }
        None => {
            users
                .get_self(v1::GetSelfRequest {})
                .await?
                .into_inner()
                .user
        }
    };
    let user = user.context("the server answered without a user")?;
    if json {
        output::json("User", &user)
    } else {
        output::line(&described(&user))
    }
}

async fn settings(
    connection: &Connection,
    direct: Option<Direct>,
    json: bool,
) -> anyhow::Result<()> {
    let api = connection.authorized().await?;
    let settings = match direct {
        None => api.settings().await?,
        Some(direct) => {
            let direct = match direct {
                Direct::Everyone => v1::DirectMessages::Everyone,
                Direct::SharedServers => v1::DirectMessages::SharedServers,
                Direct::Nobody => v1::DirectMessages::Nobody,
            };
            api.allow_direct(direct).await?
        }
    };
    if json {
        return output::json("UserSettings", &settings);
    }
    let direct = settings.direct_messages().as_str_name();
    let direct = direct.trim_start_matches("DIRECT_MESSAGES_");
    let direct = direct.to_lowercase().replace('_', "-");
    output::line(&format!("direct messages  {direct}"))
}

async fn change_password(connection: &Connection) -> anyhow::Result<()> {
    let api = connection.authorized().await?;
    let old_password = prompt::password("The password until now")?;
    let new_password = prompt::new_password("The new password, 8 characters or more")?;
    api.auth()
        .change_password(v1::ChangePasswordRequest {
            old_password,
            new_password,
        })
        .await?;
    output::line("the password is changed; other sessions have ended")
}

fn signed_in(
    connection: &Connection,
    user: Option<v1::User>,
    tokens: Option<v1::Tokens>,
) -> anyhow::Result<()> {
    let user = user.context("the server answered without a user")?;
    connection.keep(&user, tokens.context("the server answered without tokens")?)
}

fn greet(user: Option<&v1::User>) -> anyhow::Result<()> {
    let user = user.cloned().unwrap_or_default();
    output::line(&format!("signed in as {}", described(&user)))
}

fn described(user: &v1::User) -> String {
    format!(
        "{}  {}{}",
        user.id,
        output::who(user),
        if user.bot { "  bot" } else { "" }
    )
}

/// What the list of sessions shows for this command line.
fn device() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("chirm CLI {}", host.trim())
        .trim_end()
        .chars()
        .take(100)
        .collect()
}
