//! `AdminService`: on a listener of its own.

use super::caller::{caller, refused};
use super::pages;
use crate::clock::Clock;
use crate::domain::{Caller, Domain, Error, Reason};
use crate::frames;
use crate::gateway::Gateway;
use crate::model::{Id, Session, SessionKind};
use crate::store;
use crate::telemetry::Metrics;
use chirm_proto::v1::{self, admin_service_server::AdminService};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};

/// A drain is spread over this, where the caller doesn't say, and at most.
const DRAIN: Duration = Duration::from_secs(5);
const DRAIN_MAX: Duration = Duration::from_secs(600);
/// Word of a backup's progress that waits for the client; more is left out.
const PROGRESS_MAX: usize = 16;

/// What an operator's calls work on.
#[derive(Clone)]
pub struct Operations {
    /// Use cases.
    pub domain: Arc<Domain>,
    /// Live connections.
    pub gateway: Gateway,
    /// Durable state.
    pub store: store::Handle,
    /// The figures.
    pub metrics: Metrics,
    /// Tells how long the node has been up.
    pub clock: Arc<dyn Clock>,
}

/// The service over the use cases.
pub(super) struct Admin(pub(super) Operations);

impl Admin {
    async fn admin<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let caller = caller(&self.0.domain, request).await?;
        caller.require_admin().map_err(refused)?;
        Ok(caller)
    }
}

/// The sum of a metric over its labels, out of the text that /metrics gives.
fn figure(metrics: &str, name: &str) -> i64 {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let ours = rest.starts_with('{') || rest.starts_with(' ');
        ours.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())
            .flatten()
    });
    values.sum::<f64>() as i64
}

fn key(session: Session) -> v1::ServiceKey {
    let scope = match session.kind {
        SessionKind::Admin => v1::KeyScope::Admin,
        _ => v1::KeyScope::Service,
    };
    v1::ServiceKey {
        id: session.id,
        name: session.name,
        scope: scope.into(),
        user_id: session.user_id,
        created_at: frames::timestamp(session.created_at),
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn get_figures(
        &self,
        request: Request<v1::GetFiguresRequest>,
    ) -> Result<Response<v1::GetFiguresResponse>, Status> {
        self.admin(&request).await?;
        let figures = self.0.gateway.figures();
        let text = self.0.metrics.render();
        Ok(Response::new(v1::GetFiguresResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: prost_types::Duration::try_from(self.0.clock.elapsed()).ok(),
            sessions: i64::try_from(figures.sessions).unwrap_or(i64::MAX),
            connections: figure(&text, "chirm_net_connections"),
            topics: figure(&text, "chirm_hub_topics"),
            messages_sent: figure(&text, "chirm_messages_sent_total"),
            frames_delivered: figure(&text, "chirm_events_delivered_total"),
            draining: figures.draining,
        }))
    }

    async fn drain(
        &self,
        request: Request<v1::DrainRequest>,
    ) -> Result<Response<v1::DrainResponse>, Status> {
        self.admin(&request).await?;
        let over = match request.into_inner().over {
            None => DRAIN,
            Some(over) => Duration::try_from(over)
                .ok()
                .filter(|over| *over <= DRAIN_MAX)
                .map(|over| if over.is_zero() { DRAIN } else { over })
                .ok_or_else(|| refused(Error::field("over", "0 to 10 minutes is allowed")))?,
        };
        let sessions = i64::try_from(self.0.gateway.drain(over)).unwrap_or(i64::MAX);
        Ok(Response::new(v1::DrainResponse { sessions }))
    }

    type BackupStream = Pin<Box<dyn Stream<Item = Result<v1::BackupResponse, Status>> + Send>>;

    async fn backup(
        &self,
        request: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        self.admin(&request).await?;
        let path = PathBuf::from(request.into_inner().path);
        if !path.is_absolute() {
            let problem = "not absolute; a path on the server's machine is needed";
            return Err(refused(Error::field("path", problem)));
        }
        if path.exists() {
            let problem = "there already; a backup never overwrites";
            return Err(refused(Error::field("path", problem)));
        }
        let (said, progress) = mpsc::channel(PROGRESS_MAX);
        let store = self.0.store.clone();
        tokio::spawn(async move {
            let tell = said.clone();
            let copied = std::sync::atomic::AtomicU64::new(0);
            let note = move |bytes: u64| {
                copied.store(bytes, std::sync::atomic::Ordering::Relaxed);
                let bytes_copied = i64::try_from(bytes).unwrap_or(i64::MAX);
                // A client that doesn't read misses progress, not the end.
                let _ = tell.try_send(Ok(v1::BackupResponse {
                    bytes_copied,
                    done: false,
                }));
            };
            note(0);
            let done = store.backup(&path, &note).await;
            let last = match done {
                Ok(()) => {
                    let size = std::fs::metadata(&path).map(|file| file.len()).unwrap_or(0);
                    let bytes_copied = i64::try_from(size).unwrap_or(i64::MAX);
                    Ok(v1::BackupResponse {
                        bytes_copied,
                        done: true,
                    })
                }
                Err(error) => Err(refused(Error::new(
                    Reason::StoreUnavailable,
                    format!("The backup failed: {error}."),
                ))),
            };
            let _ = said.send(last).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(progress))))
    }

    async fn create_key(
        &self,
        request: Request<v1::CreateKeyRequest>,
    ) -> Result<Response<v1::CreateKeyResponse>, Status> {
        let caller = self.admin(&request).await?;
        let v1::CreateKeyRequest {
            name,
            scope,
            request_id,
        } = request.into_inner();
        let admin = match v1::KeyScope::try_from(scope) {
            Ok(v1::KeyScope::Unspecified | v1::KeyScope::Service) => false,
            Ok(v1::KeyScope::Admin) => true,
            Err(_) => {
                let problem = format!("{scope}; SERVICE or ADMIN is");
                return Err(refused(Error::field("scope", problem)));
            }
        };
        let new = self
            .0
            .domain
            .create_key_for(&caller, &name, admin, &request_id)
            .await
            .map_err(refused)?;
        let response = v1::CreateKeyResponse {
            key: Some(key(new.key)),
            token: new.token,
        };
        Ok(Response::new(response))
    }

    async fn list_keys(
        &self,
        request: Request<v1::ListKeysRequest>,
    ) -> Result<Response<v1::ListKeysResponse>, Status> {
        let caller = self.admin(&request).await?;
        let v1::ListKeysRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let before = pages::from(&page_token)?.unwrap_or(Id::MAX);
        let page = self.0.domain.list_keys(&caller, before, page_size).await;
        let page = page.map_err(refused)?;
        Ok(Response::new(v1::ListKeysResponse {
            next_page_token: pages::next(&page, |key| key.id),
            keys: page.items.into_iter().map(key).collect(),
        }))
    }

    async fn revoke_key(
        &self,
        request: Request<v1::RevokeKeyRequest>,
    ) -> Result<Response<v1::RevokeKeyResponse>, Status> {
        let caller = self.admin(&request).await?;
        let id = request.into_inner().key_id;
        self.0
            .domain
            .revoke_key(&caller, id)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::RevokeKeyResponse {}))
    }

    async fn erase_user(
        &self,
        request: Request<v1::EraseUserRequest>,
    ) -> Result<Response<v1::EraseUserResponse>, Status> {
        let caller = self.admin(&request).await?;
        let id = request.into_inner().user_id;
        let erased = self
            .0
            .domain
            .erase_user(&caller, id)
            .await
            .map_err(refused)?;
        let messages_erased = i64::try_from(erased).unwrap_or(i64::MAX);
        Ok(Response::new(v1::EraseUserResponse { messages_erased }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_summed_over_labels() {
        let text = "# TYPE a gauge\na 3\na{x=\"1\"} 4\nab 100\n";
        assert_eq!(figure(text, "a"), 7);
        assert_eq!(figure(text, "missing"), 0);
    }
}
