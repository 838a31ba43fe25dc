//! The place of a message in its channel: its id, and whether it repeats another one.

use super::nonces::nonce_reused;
use super::turns::Latest;
use super::{Domain, Error, Reason};
use crate::bus::{Looked, Operation, OperationKind, Reserve, Reserved, Revise, Revised, Ticket};
use crate::model::{Id, Message};
use crate::mutation;
use crate::store::is_sealed;
use tokio::sync::MutexGuard;

/// How often a bus that forgets again and again is told what the store knows.
const LOOKS_MAX: usize = 4;

/// What a message finds in its channel.
pub(super) enum Place<'a> {
    /// This id, and the channel to itself until it is queued.
    New(Ticket, MutexGuard<'a, Latest>),
    /// The message that it repeats, which may have to be published still.
    Taken(Message, Option<Ticket>),
}

impl Domain {
    /// Gives a message its place. A repeat whose original isn't stored (yet) goes on under the
    /// original's id, or, where the store tells by the nonce who came first, gets a place of its
    /// own: neither is seen after what came later.
    pub(super) async fn place(&self, mut reserve: Reserve) -> Result<Place<'_>, Error> {
        for _ in 0..LOOKS_MAX {
            let latest = self.turns.hold(reserve.channel).await;
            let reserved = self.bus.reservations.reserve(reserve.clone()).await;
            count(match &reserved {
                Ok(Reserved::New(_)) => "new",
                Ok(Reserved::Existing { .. }) => "existing",
                Ok(Reserved::Look(_)) => "look",
                Err(_) => "failed",
            });
            match reserved? {
                Reserved::New(ticket) => return Ok(Place::New(ticket, latest)),
                Reserved::Look(epoch) => {
                    drop(latest);
                    reserve.looked = Some(self.look(&reserve, epoch).await?);
                }
                Reserved::Existing {
                    id,
                    content_hash,
                    ticket,
                    published,
                } => {
                    drop(latest);
                    let same = content_hash == reserve.content_hash;
                    if !same && !mutation::on("nonce_content_unchecked") {
                        return Err(nonce_reused());
                    }
                    if let Some(original) = self.store.get(reserve.channel, id).await? {
                        refuse_sealed(&original)?;
                        let ticket = ticket.filter(|_| !published && !original.deleted);
                        return Ok(Place::Taken(original, ticket));
                    }
                    if let Some(ticket) = ticket {
                        let latest = self.turns.hold(reserve.channel).await;
                        return Ok(Place::New(ticket, latest));
                    }
                    reserve.nonce = String::new();
                }
            }
        }
        Err(forgetful())
    }

    /// What the store knows of a nonce and of its channel.
    async fn look(&self, reserve: &Reserve, epoch: i64) -> Result<Looked, Error> {
        let channel = reserve.channel;
        let nonce = match reserve.nonce.as_str() {
            "" => None,
            nonce => self.store.nonce(channel, reserve.author, nonce).await?,
        };
        let newest = self.newest_of(channel).await?;
        Ok(Looked {
            epoch,
            nonce,
            newest,
        })
    }

    async fn newest_of(&self, channel: Id) -> Result<Id, Error> {
        let newest = self.store.newest(&[channel]).await?;
        Ok(newest.first().copied().unwrap_or_default())
    }

    /// Reserves a change of a message.
    pub(super) async fn reserve_change(
        &self,
        kind: OperationKind,
        message: &Message,
    ) -> Result<Operation, Error> {
        let mut revise = Revise {
            channel: message.channel_id,
            message: message.id,
            kind,
            above: message.id.max(message.revision),
            looked: None,
        };
        for _ in 0..LOOKS_MAX {
            let revised = self.bus.reservations.revise(revise.clone()).await;
            count(match &revised {
                Ok(Revised::New(_)) => "new",
                Ok(Revised::Look(_)) => "look",
                Err(_) => "failed",
            });
            match revised? {
                Revised::New(ticket) => {
                    return Ok(Operation {
                        kind,
                        channel: message.channel_id,
                        message: message.id,
                        revision: ticket.id,
                        author: 0,
                        nonce: String::new(),
                        epoch: ticket.epoch,
                        began: ticket.began,
                    });
                }
                Revised::Look(epoch) => {
                    revise.looked = Some(Looked {
                        epoch,
                        nonce: None,
                        newest: self.newest_of(message.channel_id).await?,
                    });
                }
            }
        }
        Err(forgetful())
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("chirm_reservations_total", "outcome" => outcome).increment(1);
}

/// The send of a message.
pub(super) fn send_of(message: &Message, ticket: Ticket) -> Operation {
    Operation {
        kind: OperationKind::Create,
        channel: message.channel_id,
        message: message.id,
        revision: 0,
        author: message.author_id,
        nonce: message.nonce.clone(),
        epoch: ticket.epoch,
        began: ticket.began,
    }
}

/// What was given up isn't acknowledged: the message must be sent anew.
fn refuse_sealed(original: &Message) -> Result<(), Error> {
    if is_sealed(original) {
        return Err(Error::new(
            Reason::NonceReused,
            "The earlier call with this nonce failed for good; send it anew with a new nonce.",
        ));
    }
    Ok(())
}

fn forgetful() -> Error {
    Error::new(
        Reason::Overloaded,
        "The bus is starting anew; nothing was done.",
    )
    .retry_after(super::error::RETRY_SOON)
}
