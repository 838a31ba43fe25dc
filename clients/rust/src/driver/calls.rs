//! What goes beside the stream: pages, sends by unary calls, renewals of the token.

use super::Driver;
use crate::{
    error::{Advice, Error},
    event::{Event, Item},
    machine::{Delay, Input},
    stream::{Connection, FRAME_BYTES_MAX, answer},
    tokens,
};
use chirm_proto::v1::{self, client_frame::Frame as Sent};
use std::time::Duration;
use tokio::{
    sync::OwnedSemaphorePermit,
    task::JoinError,
    time::{sleep, timeout},
};

/// Messages a page.
const PAGE: i32 = 100;
/// Pages read at once, of all channels, and not dealt with.
pub(super) const PAGES_AT_ONCE: usize = 8;
/// How long the end of a client waits for a renewal: what it gives must reach the program.
const RENEWAL: Duration = Duration::from_secs(10);

/// What a call came to.
pub(super) struct Called {
    input: Input,
    token_run: u64,
    /// A page's, among those read at once.
    place: Option<OwnedSemaphorePermit>,
}

/// What a renewal came to, and which token it was of.
pub(super) type Renewed = (u64, Result<v1::Tokens, Error>);

impl Driver {
    /// What the machine is to make of a call's end.
    pub(super) fn called(&self, called: Called, place: &mut Option<OwnedSemaphorePermit>) -> Input {
        *place = called.place;
        let mut input = called.input;
        if let Input::PageFailed { error, .. }
        | Input::Answer {
            result: Err(error), ..
        } = &mut input
            && error.advice == Advice::Reauthenticate
            && called.token_run != self.token_run
        {
            // There is another token by now.
            error.advice = Advice::Retry;
        }
        input
    }

    pub(super) fn transmit(&mut self, key: u64, call_id: u32, attempt: i32) {
        let Some(waiting) = self.sends.get(&key) else {
            return;
        };
        let request = v1::SendMessageRequest {
            attempt,
            ..waiting.entry.request.clone()
        };
        if !self.config.listen_only {
            self.send_frame(call_id, Sent::SendMessage(request));
            return;
        }
        let Connection::Open(opened) = &self.connection else {
            return;
        };
        let mut messages = opened.api.messages();
        let token_run = self.token_run;
        self.calls.spawn(async move {
            let result = answer(messages.send_message(request))
                .await
                .and_then(|sent| {
                    let none = || tonic::Status::unknown("the answer has no message").into();
                    sent.message.ok_or_else(none)
                });
            Called {
                input: Input::Answer { key, result },
                token_run,
                place: None,
            }
        });
    }

    pub(super) fn page(&mut self, channel: i64, after: i64, run: u64, failures: u32) {
        let Connection::Open(opened) = &self.connection else {
            return;
        };
        let mut messages = opened
            .api
            .messages()
            .max_decoding_message_size(FRAME_BYTES_MAX);
        let wait = match failures {
            0 => Duration::ZERO,
            failures => self.delay(Delay::Backoff(failures)),
        };
        let (pages, token_run) = (self.pages.clone(), self.token_run);
        self.calls.spawn(async move {
            sleep(wait).await;
            // The semaphore is never closed.
            let place = pages.acquire_owned().await.ok();
            let request = v1::ListMessagesRequest {
                channel_id: channel,
                limit: PAGE,
                anchor: Some(v1::list_messages_request::Anchor::After(after)),
            };
            let input = match answer(messages.list_messages(request)).await {
                Ok(page) => Input::Page { channel, run, page },
                Err(error) => Input::PageFailed {
                    channel,
                    run,
                    error,
                },
            };
            Called {
                input,
                token_run,
                place,
            }
        });
    }

    pub(super) fn renew(&mut self) {
        let (config, token_run) = (self.config.clone(), self.token_run);
        self.renewals
            .spawn(async move { (token_run, tokens::renew(&config).await) });
    }

    /// What the machine is to know of a renewal's end.
    pub(super) fn renewed(&mut self, renewed: Result<Renewed, JoinError>) -> Option<Input> {
        let result = match renewed {
            // The program has given other tokens since.
            Ok((token_run, _)) if token_run != self.token_run => return None,
            Ok((_, result)) => result,
            Err(panicked) => Err(Error::config(panicked)),
        };
        Some(match result {
            Ok(tokens) => {
                self.keep_tokens(tokens.clone());
                let lifetime = tokens::lifetime(self.config.token_expires_at);
                Input::Renewed { tokens, lifetime }
            }
            Err(error) => {
                tracing::warn!(%error, "the token couldn't be renewed");
                Input::RenewFailed(error)
            }
        })
    }

    /// The client ends, but the old tokens may be spent: the program must get the new ones.
    pub(super) async fn finish_renewals(&mut self) {
        let renewed = timeout(RENEWAL, self.renewals.join_next()).await;
        if let Ok(Some(Ok((token_run, Ok(tokens))))) = renewed
            && token_run == self.token_run
        {
            let closed = self.out.pop_back();
            self.out
                .push_back(Item::Event(Event::TokensRenewed(tokens)));
            self.out.extend(closed);
        }
    }
}
