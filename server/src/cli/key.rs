//! `chirm key`: the keys of back ends and operators. The first one is made on the data folder.

use super::operator::Place;
use super::{folder, output};
use crate::model::{Session, SessionKind, UnixMs};
use anyhow::ensure;
use chirm_proto::v1;

/// Make, list and end the keys of back ends and operators.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Scope {
    /// Act as a back end: servers, channels, members, messages, sessions.
    Service,
    /// Also operate the server.
    Admin,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key. It is shown this once.
    Create {
        #[command(flatten)]
        place: Place,
        /// What it is for.
        #[arg(long, default_value = "key")]
        name: String,
        /// What it may do.
        #[arg(long, value_enum, default_value = "service")]
        scope: Scope,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the keys, without their secrets.
    List {
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a key. With --data, a server that runs notices within 30 seconds.
    Revoke {
        #[command(flatten)]
        place: Place,
        /// The key's id.
        key_id: i64,
    },
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Create {
            place,
            name,
            scope,
            json,
        } => create(&place, name, scope, json).await,
        Command::List { place, json } => list(&place, json).await,
        Command::Revoke { place, key_id } => revoke(&place, key_id).await,
    }
}

async fn create(place: &Place, name: String, scope: Scope, json: bool) -> anyhow::Result<()> {
    let answer = match &place.data {
        Some(data) => {
            let (domain, store) = folder::open_or_begin(data).await?;
            let made = domain
                .create_key(&name, matches!(scope, Scope::Admin), None)
                .await;
            store.close().await;
            let made = made?;
            v1::CreateKeyResponse {
                key: Some(described(&made.key)),
                token: made.token,
            }
        }
        None => {
            let scope = match scope {
                Scope::Service => v1::KeyScope::Service,
                Scope::Admin => v1::KeyScope::Admin,
            };
            let request = v1::CreateKeyRequest {
                name,
                scope: scope.into(),
                request_id: uuid::Uuid::now_v7().to_string(),
            };
            place.api()?.admin().create_key(request).await?.into_inner()
        }
    };
    if json {
        return output::json("CreateKeyResponse", &answer);
    }
    output::line(&answer.token)?;
    eprintln!(
        "key {}: keep it secret, it is shown this once",
        answer.key.unwrap_or_default().id
    );
    Ok(())
}

async fn list(place: &Place, json: bool) -> anyhow::Result<()> {
    let answer = match &place.data {
        Some(data) => {
            let (_, store) = folder::open(data).await?;
            let keys = store.keys(i64::MAX, u32::MAX).await;
            store.close().await;
            v1::ListKeysResponse {
                keys: keys?.iter().map(described).collect(),
                ..Default::default()
            }
        }
        None => list_over_the_wire(place).await?,
    };
    if json {
        return output::json("ListKeysResponse", &answer);
    }
    let row = |key: &v1::ServiceKey| {
        let scope = key
            .scope()
            .as_str_name()
            .trim_start_matches("KEY_SCOPE_")
            .to_lowercase();
        vec![key.id.to_string(), scope, key.name.clone()]
    };
    let rows = answer.keys.iter().map(row).collect();
    output::table(
        &["id", "scope", "name"],
        rows,
        "no keys yet: `chirm key create`",
    )
}

async fn list_over_the_wire(place: &Place) -> anyhow::Result<v1::ListKeysResponse> {
    let api = place.api()?;
    let mut all = v1::ListKeysResponse::default();
    loop {
        let request = v1::ListKeysRequest {
            page_token: all.next_page_token.clone(),
            ..Default::default()
        };
        let page = api.admin().list_keys(request).await?.into_inner();
        all.keys.extend(page.keys);
        all.next_page_token = page.next_page_token;
        if all.next_page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn revoke(place: &Place, key_id: i64) -> anyhow::Result<()> {
    match &place.data {
        Some(data) => {
            let (_, store) = folder::open(data).await?;
            let ended = end(&store, key_id).await;
            store.close().await;
            ensure!(
                ended?,
                "there is no key {key_id}; `chirm key list` shows those there are"
            );
        }
        None => {
            place
                .api()?
                .admin()
                .revoke_key(v1::RevokeKeyRequest { key_id })
                .await?;
        }
    }
    output::line("ended")
}

/// Ends the session if it is a key's: false if there is no such key.
async fn end(store: &crate::store::Handle, key_id: i64) -> Result<bool, crate::store::Error> {
    let session = store.session(key_id).await?;
    let key = |kind| matches!(kind, SessionKind::Service | SessionKind::Admin);
    if session.is_some_and(|session| key(session.kind)) {
        store.end_session(key_id).await
    } else {
        Ok(false)
    }
}

fn described(key: &Session) -> v1::ServiceKey {
    let scope = match key.kind {
        SessionKind::Admin => v1::KeyScope::Admin,
        _ => v1::KeyScope::Service,
    };
    v1::ServiceKey {
        id: key.id,
        name: key.name.clone(),
        scope: scope.into(),
        user_id: key.user_id,
        created_at: Some(timestamp(key.created_at)),
    }
}

fn timestamp(ms: UnixMs) -> prost_types::Timestamp {
    let nanos = i32::try_from(ms.rem_euclid(1_000)).unwrap_or(0) * 1_000_000;
    prost_types::Timestamp {
        seconds: ms.div_euclid(1_000),
        nanos,
    }
}
