//! Servers.

use super::accounts::on_user;
use super::audit::server_changes;
use super::permissions::Action;
use super::{Caller, Domain, Error, Listed, Reason, pages};
use crate::model::{
    AuditAction, AuditEntry, Channel, ChannelType, EventBody, Id, Member, Metadata, Role, Server,
    TopicKey, Touched, limits,
};
use crate::store::NewEvent;
use std::sync::Arc;

/// The name of a server's first channel.
const GENERAL: &str = "general";

/// A server to make.
#[derive(Clone, Debug, Default)]
pub struct NewServer {
    /// 1 to 100 characters.
    pub name: String,
    /// At most 1,024 characters.
    pub description: String,
    /// Whether anyone may join by its id.
    pub open: bool,
    /// What the integrator attaches.
    pub metadata: Metadata,
    /// A UUID that makes a repeat safe, or empty.
    pub request_id: String,
}

/// Changes of a server: what is given.
#[derive(Clone, Debug, Default)]
pub struct ServerChanges {
    /// Its name.
    pub name: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Whether anyone may join by its id.
    pub open: Option<bool>,
    /// What the integrator attaches.
    pub metadata: Option<Metadata>,
}

impl Domain {
    /// Makes a server that the caller owns, with a channel "general". Answers that channel's id,
    /// too.
    pub async fn create_server(
        self: &Arc<Self>,
        caller: &Caller,
        new: NewServer,
    ) -> Result<(Server, Id), Error> {
        let name = self.check_name("name", &new.name)?;
        check_description(&new.description)?;
        self.check_metadata(&new.metadata)?;
        let request = check_request(caller, &new.request_id)?;
        self.throttle.create(caller)?;
        let caller = caller.clone();
        self.complete(
            |domain| async move { domain.write_server(&caller, name, new, request).await },
        )
        .await
    }

    async fn write_server(
        &self,
        caller: &Caller,
        name: String,
        new: NewServer,
        request: Option<(Id, String)>,
    ) -> Result<(Server, Id), Error> {
        let user = caller.user_id;
        let _held = self.hold_user(user).await;
        let most = self.servers_max(caller);
        let server = Server {
            id: self.mint()?,
            name,
            description: new.description,
            owner_id: user,
            open: new.open,
            member_count: 1,
            metadata: new.metadata,
        };
        let owner = Member {
            server_id: server.id,
            user_id: user,
            role: Role::Owner,
            joined_at: self.now(),
            timed_out_until: 0,
        };
        let general = Channel {
            id: self.mint()?,
            server_id: server.id,
            kind: ChannelType::Text,
            name: GENERAL.to_owned(),
            description: String::new(),
            rank: 0,
            member_ids: Vec::new(),
            metadata: Metadata::new(),
            slow_mode_s: 0,
        };
        let events = vec![on_user(
            user,
            EventBody::TopicAdded(TopicKey::server(server.id)),
        )];
        let (id, name) = (server.id, server.name.clone());
        let _changing = self.roles.changing([user]);
        let made = self
            .store
            .create_server(server, owner, general, request, most, events)
            .await;
        let made = made?;
        if made.0.id != id && made.0.name != name {
            return Err(request_reused());
        }
        Ok(made)
    }

    /// A server that the caller may see.
    pub async fn get_server(&self, caller: &Caller, server: Id) -> Result<Server, Error> {
        self.authorise_server(caller, server, Action::See).await?;
        self.server_of(server).await
    }

    /// A page of the caller's servers by id, after one.
    pub async fn list_servers(
        &self,
        caller: &Caller,
        after: Id,
        size: i32,
    ) -> Result<Listed<Server>, Error> {
        let size = pages::whole(size)?;
        let servers = self.store.servers_of(caller.user_id, after, size + 1);
        Ok(pages::cut(servers.await?, size))
    }

    /// Changes what is given of a server.
    pub async fn update_server(
        self: &Arc<Self>,
        caller: &Caller,
        id: Id,
        changes: ServerChanges,
    ) -> Result<Server, Error> {
        let caller = caller.clone();
        self.complete(|domain| async move {
            let _held = domain.hold(id).await;
            domain
                .authorise_server(&caller, id, Action::ManageServer)
                .await?;
            let before = domain.server_of(id).await?;
            let server = domain.changed_server(before.clone(), changes)?;
            let audit = AuditEntry {
                changes: server_changes(&before, &server),
                ..domain.audit(&caller, id, AuditAction::ServerUpdated)?
            };
            let events = vec![on_server(id, EventBody::ServerUpdated(server.clone()))];
            let updated = domain
                .store
                .update_server(server.clone(), events, Some(audit));
            updated.await?;
            Ok(server)
        })
        .await
    }

    fn changed_server(&self, mut server: Server, changes: ServerChanges) -> Result<Server, Error> {
        if let Some(name) = changes.name {
            server.name = self.check_name("server.name", &name)?;
        }
        if let Some(description) = changes.description {
            check_description(&description)?;
            server.description = description;
        }
        if let Some(metadata) = changes.metadata {
            self.check_metadata(&metadata)?;
            server.metadata = metadata;
        }
        server.open = changes.open.unwrap_or(server.open);
        Ok(server)
    }

    /// Deletes a server with all its channels.
    pub async fn delete_server(self: &Arc<Self>, caller: &Caller, id: Id) -> Result<(), Error> {
        let caller = caller.clone();
        self.complete(|domain| async move {
            let _held = domain.hold(id).await;
            domain
                .authorise_server(&caller, id, Action::OwnServer)
                .await?;
            let channels = domain.channels_of(id).await?;
            let _changing = (
                // Its members may be a hundred thousand: all are read anew.
                domain.roles.changing_all(),
                domain
                    .channels
                    .changing(channels.iter().map(|channel| channel.id)),
                domain.server_channels.changing([id]),
            );
            let deleted = on_server(id, EventBody::ServerDeleted(id));
            let audit = domain.audit(&caller, id, AuditAction::ServerDeleted)?;
            let deleted = domain.store.delete_server(id, vec![deleted], Some(audit));
            let done = deleted.await;
            domain.touch(Touched::Server(id));
            Ok(done?)
        })
        .await
    }

    pub(super) async fn server_of(&self, id: Id) -> Result<Server, Error> {
        self.store
            .server(id)
            .await?
            .ok_or_else(|| Error::not_found("server"))
    }

    /// In how many servers the caller may be.
    pub(super) fn servers_max(&self, caller: &Caller) -> u32 {
        self.favoured(caller, self.limits().servers_per_user)
    }

    pub(super) fn check_name(&self, path: &'static str, name: &str) -> Result<String, Error> {
        limits::name(name, self.limits().name_chars_max)
            .map_err(|problem| Error::field(path, problem))
    }

    pub(super) fn check_metadata(&self, metadata: &Metadata) -> Result<(), Error> {
        let limits = self.limits();
        limits::metadata(
            metadata,
            limits.metadata_keys_max,
            limits.metadata_bytes_max,
        )
        .map_err(|problem| Error::field("metadata", problem))
    }
}

pub(super) fn check_description(description: &str) -> Result<(), Error> {
    limits::text(description, limits::DESCRIPTION_CHARS_MAX)
        .map_err(|problem| Error::field("description", problem))
}

/// The caller's request id, if it gave one.
pub(super) fn check_request(
    caller: &Caller,
    request_id: &str,
) -> Result<Option<(Id, String)>, Error> {
    limits::uuid(request_id).map_err(|problem| Error::field("request_id", problem))?;
    Ok((!request_id.is_empty()).then(|| (caller.user_id, request_id.to_owned())))
}

pub(super) fn request_reused() -> Error {
    Error::new(
        Reason::NonceReused,
        "The request_id was used for something else; make a new one for each.",
    )
}

/// An event on a server's topic.
pub(super) fn on_server(server: Id, body: EventBody) -> NewEvent {
    NewEvent {
        topic: TopicKey::server(server),
        body,
    }
}
