//! Who is signed in where: one file, readable by its owner only.

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Servers that credentials are kept for, at most.
const SERVERS_MAX: usize = 1_000;

/// A session at one server. No `Debug`: it holds secrets.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Credential {
    /// The user's Snowflake, as text: JSON's numbers are too short for it.
    pub user_id: String,
    /// The user's unique name.
    pub username: String,
    /// Goes with every call.
    pub access_token: String,
    /// Buys new tokens, once; empty if there is none.
    pub refresh_token: String,
    /// When `access_token` ends: Unix milliseconds.
    pub access_expires_at_ms: i64,
}

#[derive(Default, Serialize, Deserialize)]
struct Contents {
    servers: BTreeMap<String, Credential>,
}

/// The file of credentials.
#[derive(Clone, Debug)]
pub(super) struct File {
    path: PathBuf,
}

impl File {
    /// `$XDG_CONFIG_HOME/chirm/credentials.json`, with the default `~/.config`.
    pub(super) fn of_user() -> anyhow::Result<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let folder = match (set("XDG_CONFIG_HOME"), set("HOME")) {
            (Some(folder), _) => PathBuf::from(folder),
            (None, Some(home)) => Path::new(&home).join(".config"),
            (None, None) => bail!("neither HOME nor XDG_CONFIG_HOME is set: give --token instead"),
        };
        Ok(Self {
            path: folder.join("chirm").join("credentials.json"),
        })
    }

    /// The credential kept for a server.
    pub(super) fn get(&self, server: &str) -> anyhow::Result<Option<Credential>> {
        Ok(self.read()?.servers.remove(server))
    }

    /// Waits until no other command changes the file, and then keeps others from it.
    pub(super) fn lock(&self) -> anyhow::Result<Locked> {
        let folder = self.folder()?;
        // A file of its own, for the other one is replaced.
        let path = folder.join(".credentials.lock");
        let locked = fs::create_dir_all(folder).and_then(|()| {
            let mut options = fs::OpenOptions::new();
            let options = options.create(true).truncate(false).write(true);
            let held = options.mode(0o600).open(&path)?;
            held.lock()?;
            Ok(held)
        });
        let held = locked.with_context(|| format!("locking {}", path.display()))?;
        Ok(Locked {
            file: self.clone(),
            _held: held,
        })
    }

    /// As [`Locked::put`].
    pub(super) fn put(&self, server: &str, credential: Credential) -> anyhow::Result<()> {
        self.lock()?.put(server, credential)
    }

    /// Forgets a server's credential.
    pub(super) fn remove(&self, server: &str) -> anyhow::Result<()> {
        let _locked = self.lock()?;
        let mut contents = self.read()?;
        if contents.servers.remove(server).is_some() {
            self.write(&contents)?;
        }
        Ok(())
    }

    fn folder(&self) -> anyhow::Result<&Path> {
        let folder = self.path.parent();
        folder.context("the file of credentials lies in a folder")
    }

    fn read(&self) -> anyhow::Result<Contents> {
        match fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged; remove it", self.path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Contents::default()),
            Err(error) => Err(error).with_context(|| format!("reading {}", self.path.display())),
        }
    }

    /// Writes a new file and renames it over the old: a crash leaves one or the other.
    fn write(&self, contents: &Contents) -> anyhow::Result<()> {
        let folder = self.folder()?;
        let new = folder.join(format!(".credentials.{}", std::process::id()));
        let written = fs::create_dir_all(folder).and_then(|()| {
            // A left-over of a process with this id would keep its own mode.
            let _absent = fs::remove_file(&new);
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(&serde_json::to_vec_pretty(contents)?)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        });
        written.with_context(|| format!("writing {}", self.path.display()))
    }
}

/// The file of credentials, as long as no other command may change it.
pub(super) struct Locked {
    file: File,
    _held: fs::File,
}

impl Locked {
    /// The credential kept for a server.
    pub(super) fn get(&self, server: &str) -> anyhow::Result<Option<Credential>> {
        self.file.get(server)
    }

    /// Keeps a credential for a server, in place of the earlier one.
    pub(super) fn put(&self, server: &str, credential: Credential) -> anyhow::Result<()> {
        let mut contents = self.file.read()?;
        contents.servers.insert(server.to_owned(), credential);
        if contents.servers.len() > SERVERS_MAX {
            bail!(
                "{} has {SERVERS_MAX} servers; remove some by hand",
                self.file.path.display()
            );
        }
        self.file.write(&contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn file_in(folder: &Path) -> File {
        File {
            path: folder.join("chirm").join("credentials.json"),
        }
    }

    #[test]
    fn a_credential_is_kept_for_its_server_and_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = file_in(folder.path());
        let credential = Credential {
            access_token: "v1.1.x".to_owned(),
            ..Default::default()
        };
        file.put("http://a", credential.clone()).unwrap();
        file.put("http://b", Credential::default()).unwrap();
        assert_eq!(
            file.get("http://a").unwrap().unwrap().access_token,
            "v1.1.x"
        );
        assert!(file.get("http://c").unwrap().is_none());
        let mode = fs::metadata(&file.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        file.remove("http://a").unwrap();
        assert!(file.get("http://a").unwrap().is_none());
        assert!(file.get("http://b").unwrap().is_some());
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = file_in(folder.path());
        file.put("http://a", Credential::default()).unwrap();
        fs::write(&file.path, "{").unwrap();
        let Err(error) = file.get("http://a") else {
            panic!("a damaged file was read")
        };
        assert!(format!("{error:#}").contains("credentials.json is damaged"));
    }
}
