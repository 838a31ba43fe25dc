//! `chirm serve`: a node on its embedded default.

use super::output;
use super::settings::Settings;
use crate::telemetry;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Where operators connect, where nothing else was said.
const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7399);

/// Start a server. One line on standard output says when it is ready: `chirm ready on http://…`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    settings: Settings,
}

/// Runs the command: until SIGTERM or Ctrl-C, and then until clients have been asked to go.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let config = args.settings.load()?;
    telemetry::init_logs(&config.log)?;
    let metrics = telemetry::metrics()?;
    if !config.limits.enabled {
        eprintln!("WARNING: limits are OFF. Anyone who reaches this server can exhaust it.");
    }
    chirm_net::raise_open_files(config.limits.connections);
    let scheme = scheme_of(config.tls.is_some());
    let listener = bind(config.listen, "--listen").await?;
    let address = listener.local_addr()?;
    let admin = bind_admin(config.admin_listen).await?;
    if let Some(admin) = &admin {
        let address = admin.local_addr()?;
        let tls = config.admin_has_tls(address.ip());
        eprintln!("operators connect to {}://{address}", scheme_of(tls));
    }
    let shutdown = CancellationToken::new();
    chirm_net::stop_on_signals(shutdown.clone(), "clients")?;
    let ready = move || {
        if let Err(error) = output::line(&format!("chirm ready on {scheme}://{address}")) {
            tracing::warn!(%error, "standard output can't be written to");
        }
    };
    crate::node::run_announced(config, listener, admin, metrics, shutdown, ready).await
}

fn scheme_of(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// The listener for operators. Its default address is a convenience: where another process has it,
/// perhaps another server, this one does without.
async fn bind_admin(asked: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    if let Some(address) = asked {
        return bind(address, "--admin-listen").await.map(Some);
    }
    match TcpListener::bind(ADMIN_LISTEN).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) => {
            tracing::warn!(
                address = %ADMIN_LISTEN, %error,
                "operators can't connect; give them another place with --admin-listen"
            );
            Ok(None)
        }
    }
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let what_to_do = match error.kind() {
            ErrorKind::AddrInUse => format!(
                "{address} is in use by another process: stop it, or choose another with {flag}"
            ),
            ErrorKind::PermissionDenied => format!(
                "{address} isn't allowed to this user: choose a port above 1023 with {flag}"
            ),
            _ => format!("can't listen at {address}: choose another with {flag}"),
        };
        anyhow::Error::from(error).context(what_to_do)
    })
}
