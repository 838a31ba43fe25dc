//! The flags that settings come from.

use crate::config::Config;
use anyhow::Context as _;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where the settings come from; flags win over the environment, that over the file.
#[derive(Debug, clap::Args)]
pub(super) struct Settings {
    /// Where clients connect; port 0 takes a free one [default: 127.0.0.1:7300]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The data folder; made if it isn't there [default: chirm-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Switch limits off, to try things out on one's own machine. Never in public.
    #[arg(long)]
    dev: bool,
    /// Where operators connect: AdminService. Keep it on loopback [default:
    /// 127.0.0.1:7399, if it is free]
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
    /// A file of settings; `chirm config --default` prints one to start from.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Settings {
    /// The settings, all sources together.
    pub(super) fn load(&self) -> anyhow::Result<Config> {
        let data = self.data.as_deref().map(|data| {
            data.to_str()
                .context("--data isn't UTF-8: name the folder in a file (--config)")
        });
        let (listen, data) = (self.listen.map(|at| at.to_string()), data.transpose()?);
        let admin = self.admin_listen.map(|at| at.to_string());
        let mut overrides = Vec::new();
        overrides.extend(listen.as_deref().map(|value| ("listen", value)));
        overrides.extend(data.map(|value| ("data", value)));
        overrides.extend(admin.as_deref().map(|value| ("admin_listen", value)));
        if self.dev {
            overrides.push(("dev", "true"));
        }
        Ok(Config::load(self.config.as_deref(), &overrides)?)
    }
}
