//! The synthetic users: they sign in, join and are here, talk, answer, change their names and
//! leave.

use super::crowd::{Crowd, Stay};
use super::plan::{Act, LogPlan, Step};
use super::roll::{Rolls, Whereabouts};
use super::stage::{Signer, Stage};
use crate::history::{Record, Recorder, Seen, hash};
use crate::setup::authorized;
use anyhow::{Context, Result, bail};
use chirm_proto::v1::{
    JoinServerRequest, LeaveServerRequest, SendMessageRequest, UpdateProfileRequest, User,
    join_server_request::By, message_service_client::MessageServiceClient,
    server_service_client::ServerServiceClient, user_service_client::UserServiceClient,
};
use futures::{StreamExt, stream::FuturesUnordered};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, SetOnce};
use tokio::time::{Instant, Interval};
use tonic::{Code, Response, Status, transport::Channel};

/// How many steps of a log may be under way at once.
const STEPS_AT_ONCE: usize = 16;
/// A step that has no answer for so long is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
/// One attempt's time. A server that was killed answers nothing, and says so only now and then.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(10);
/// The longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// What all users of all logs share.
pub(super) struct Show {
    pub(super) recorder: std::sync::Arc<Recorder>,
    pub(super) signer: Signer,
    /// Connections that calls are spread over.
    pub(super) channels: Vec<Channel>,
    pub(super) progress: Progress,
    /// Steps begin one after another: at this pace, or as fast as can be. Who holds it holds
    /// them up.
    pub(super) turns: Mutex<Option<Interval>>,
    pub(super) crowd: Crowd,
    pub(super) rolls: Rolls,
}

/// How far the replay is.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) begun: AtomicU64,
    pub(super) done: AtomicU64,
    pub(super) acked: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// One user of a log. If it is here, it is until this is dropped.
#[derive(Default)]
pub(super) struct Actor {
    /// Once it has signed in.
    session: Mutex<Option<Session>>,
}

struct Session {
    token: String,
    user_id: i64,
    is_member: bool,
    /// Its stream, from its coming to its leaving.
    stay: Option<Stay>,
}

/// Plays one log to its end. Gives its users, of whom some are still here.
pub(super) async fn play(show: &Show, stage: &Stage, log: &LogPlan) -> Result<Vec<Actor>> {
    let actors: Vec<Actor> = log.users.iter().map(|_| Actor::default()).collect();
    let done: Vec<SetOnce<i64>> = log.steps.iter().map(|_| SetOnce::new()).collect();
    let mut under_way = FuturesUnordered::new();
    for (number, step) in log.steps.iter().enumerate() {
        while under_way.len() >= STEPS_AT_ONCE {
            under_way.next().await.transpose()?;
        }
        let turn = show.wait_turn();
        tokio::pin!(turn);
        loop {
            // What is under way must go on meanwhile.
            tokio::select! {
                () = &mut turn => break,
                Some(ended) = under_way.next() => ended?,
            }
        }
        let (actors, done) = (&actors, &done);
        under_way.push(async move {
            // What must be done before is an earlier step, so it is under way: no deadlock.
            if let Some(after) = step.after {
                done[after].wait().await;
            }
            let id = run_step(show, stage, log, step, &actors[step.user], done).await?;
            done[number].set(id).ok();
            show.progress.done.fetch_add(1, Ordering::Relaxed);
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(ended) = under_way.next().await {
        ended?;
    }
    drop(under_way);
    Ok(actors)
}

/// Gives the message's id, or 0.
async fn run_step(
    show: &Show,
    stage: &Stage,
    log: &LogPlan,
    step: &Step,
    actor: &Actor,
    done: &[SetOnce<i64>],
) -> Result<i64> {
    let mut session = actor.session.lock().await;
    if session.is_none() {
        let name = format!("{}/{}", log.log, step.user);
        let nick = &log.users[step.user];
        let signed = show.signer.sign_in(show.channel(), &name, nick).await?;
        *session = Some(Session {
            token: signed.token,
            user_id: signed.user_id,
            is_member: false,
            stay: None,
        });
    }
    let session = session.as_mut().context("it was signed in above")?;
    let is_coming = session.stay.is_none() && step.act != Act::Leave;
    if is_coming || step.act == Act::Join {
        show.come(stage, session).await?;
    }
    let token = &session.token;
    match &step.act {
        Act::Join => Ok(0),
        Act::Leave => {
            let stays_member = step.user % 2 == 1;
            show.go(stage, session, stays_member).await.map(|()| 0)
        }
        Act::Rename(name) => show.rename(token, name).await.map(|()| 0),
        Act::Send { text, reply_to } => {
            let reply_to = match reply_to {
                Some(step) => *done[*step].wait().await,
                None => 0,
            };
            show.send(stage, token, session.user_id, text, reply_to)
                .await
        }
    }
}

impl Show {
    /// Some connection.
    pub(super) fn channel(&self) -> Channel {
        let place = rand::random_range(0..self.channels.len());
        self.channels[place].clone()
    }

    async fn wait_turn(&self) {
        let mut turns = self.turns.lock().await;
        if let Some(turns) = turns.as_mut() {
            turns.tick().await;
        }
        self.progress.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Joins and is here from now on; a member that joins stays one.
    async fn come(&self, stage: &Stage, session: &mut Session) -> Result<()> {
        self.join(stage, &session.token).await?;
        session.is_member = true;
        if session.stay.is_none() {
            session.stay = Some(self.crowd.come(&session.token)?);
        }
        let (server, user) = (stage.server_id, session.user_id);
        self.rolls.note(server, user, Whereabouts::Here);
        Ok(())
    }

    /// Isn't here any more; every other one isn't a member any more either, the rest stay in the
    /// list as those who are away.
    async fn go(&self, stage: &Stage, session: &mut Session, stays_member: bool) -> Result<()> {
        session.stay = None;
        if !session.is_member {
            return Ok(());
        }
        let mut whereabouts = Whereabouts::Away;
        if !stays_member {
            self.leave(stage, &session.token).await?;
            session.is_member = false;
            whereabouts = Whereabouts::Gone;
        }
        let (server, user) = (stage.server_id, session.user_id);
        self.rolls.note(server, user, whereabouts);
        Ok(())
    }

    async fn join(&self, stage: &Stage, token: &str) -> Result<()> {
        let by = Some(By::ServerId(stage.server_id));
        persist("JoinServer", || async {
            let request = authorized_status(token, JoinServerRequest { by: by.clone() })?;
            ServerServiceClient::new(self.channel())
                .join_server(request)
                .await
        })
        .await
        .map(drop)
    }

    async fn leave(&self, stage: &Stage, token: &str) -> Result<()> {
        let mut again = false;
        persist("LeaveServer", || {
            let is_repeat = std::mem::replace(&mut again, true);
            async move {
                let server_id = stage.server_id;
                let request = authorized_status(token, LeaveServerRequest { server_id })?;
                match ServerServiceClient::new(self.channel())
                    .leave_server(request)
                    .await
                {
                    // The attempt before had no answer, but an effect.
                    Err(status) if is_repeat && status.code() == Code::NotFound => {
                        Ok(Response::new(Default::default()))
                    }
                    answer => answer,
                }
            }
        })
        .await
        .map(drop)
    }

    async fn rename(&self, token: &str, name: &str) -> Result<()> {
        persist("UpdateProfile", || async {
            let user = User {
                display_name: name.to_owned(),
                ..User::default()
            };
            let paths = vec!["display_name".to_owned()];
            let update_mask = Some(prost_types::FieldMask { paths });
            let request = UpdateProfileRequest {
                user: Some(user),
                update_mask,
            };
            let request = authorized_status(token, request)?;
            UserServiceClient::new(self.channel())
                .update_profile(request)
                .await
        })
        .await
        .map(drop)
    }

    /// Sends under one nonce until there is an answer. Gives the id, or 0 if there was none.
    async fn send(
        &self,
        stage: &Stage,
        token: &str,
        author: i64,
        text: &str,
        reply_to: i64,
    ) -> Result<i64> {
        let nonce = uuid::Uuid::now_v7().to_string();
        let channel = stage.channel_id;
        let hash = hash(text);
        let message = Seen {
            id: 0,
            channel,
            author,
            nonce: nonce.clone(),
            hash,
            reply_to,
        };
        self.recorder.record(Record::Invoke { message });
        let begun = Instant::now();
        for attempt in 0.. {
            let request = SendMessageRequest {
                channel_id: channel,
                content: text.to_owned(),
                nonce: nonce.clone(),
                reply_to,
                attempt,
                ..Default::default()
            };
            let call = MessageServiceClient::new(self.channel());
            match within(call.clone().send_message(authorized(token, request)?)).await {
                Ok(response) => {
                    let message = response
                        .into_inner()
                        .message
                        .context("no message came back")?;
                    self.recorder.record(Record::Ok {
                        nonce,
                        id: message.id,
                    });
                    self.progress.acked.fetch_add(1, Ordering::Relaxed);
                    return Ok(message.id);
                }
                Err(status) if is_unknown(&status) => {
                    self.recorder.record(Record::Unknown {
                        nonce: nonce.clone(),
                    });
                    if begun.elapsed() > GIVE_UP_AFTER {
                        return Ok(0);
                    }
                    wait(attempt).await;
                }
                Err(status) => {
                    let reason = format!("{:?}: {}", status.code(), status.message());
                    self.recorder.record(Record::Fail { nonce, reason });
                    self.progress.refused.fetch_add(1, Ordering::Relaxed);
                    return Ok(0);
                }
            }
        }
        Ok(0)
    }
}

/// An answer that leaves open whether the call had its effect.
pub(super) fn is_unknown(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::Internal
            | Code::Unknown
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::ResourceExhausted
    )
}

/// Repeats a call that has the same effect however often it is made.
pub(super) async fn persist<T, F>(what: &str, mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let begun = Instant::now();
    for attempt in 0.. {
        match within(call()).await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) if is_unknown(&status) && begun.elapsed() < GIVE_UP_AFTER => {
                wait(attempt).await;
            }
            Err(status) => bail!("{what}: {:?}: {}", status.code(), status.message()),
        }
    }
    bail!("{what} was tried too often")
}

pub(super) fn authorized_status<T>(token: &str, message: T) -> Result<tonic::Request<T>, Status> {
    authorized(token, message).map_err(|error| Status::invalid_argument(error.to_string()))
}

async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(ATTEMPT_WITHIN, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}

pub(super) async fn wait(attempt: i32) {
    let ceiling = Duration::from_millis(20 << attempt.clamp(0, 5)).min(WAIT_MAX);
    tokio::time::sleep(ceiling.mul_f64(rand::random_range(0.5..1.0))).await;
}
