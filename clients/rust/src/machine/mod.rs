//! What a client does, without doing it: inputs in, actions out, no I/O, no clock, no randomness.
//!
//! `conformance/client-state-machine.yaml` has the same as a table, which the tests run against
//! this code; clients in other languages follow it.
//!
//! - here: the connection. `step`: inputs and actions. `token`: renewing it. `topic`: topics.
//!   `channel`: a channel's position and gaps; `paging`: what closes them. `seen`: what the program
//!   has had. `sends`: sends until they are answered; `pace`: how fast they go.

mod channel;
#[cfg(test)]
mod memory;
mod pace;
mod paging;
mod seen;
mod sends;
#[cfg(test)]
mod simulation;
mod step;
#[cfg(test)]
mod table;
mod token;
mod topic;

use crate::{
    error::{Advice, Error},
    event::{Event, Held, Stats},
};
use channel::Channel;
use chirm_proto::v1::{self, server_frame::Frame};
use sends::Sends;
use std::{collections::HashMap, time::Duration};
pub(crate) use step::{Action, Delay, Input, Rules, State, Timer};
use token::Token;

/// Most positions that an Identify may carry.
const POSITIONS_MAX: usize = 4096;
/// How long a connection may take until Hello.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// A connection that lasts so long after Ready has come up.
const STEADY: Duration = Duration::from_secs(10);
/// The heartbeat if Hello names none.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// The client's state machine.
#[derive(Debug)]
pub(crate) struct Machine {
    rules: Rules,
    state: State,
    failures: u32,
    heartbeat: Duration,
    heartbeat_unanswered: bool,
    token: Token,
    viewed: Vec<i64>,
    /// Those in view that were removed since the connection began.
    removed: Vec<i64>,
    channels: HashMap<i64, Channel>,
    /// Servers and users.
    others: HashMap<v1::Topic, v1::Position>,
    sends: Sends,
    runs: u64,
    stats: Stats,
    actions: Vec<Action>,
}

/// A channel's topic.
pub(crate) fn channel_topic(id: i64) -> v1::Topic {
    v1::Topic {
        kind: v1::TopicKind::Channel as i32,
        id,
    }
}

impl Machine {
    /// A machine that holds these positions, and of these channels all up to these messages.
    pub(crate) fn new(
        rules: Rules,
        viewed: Vec<i64>,
        positions: &[v1::TopicPosition],
        last_ids: &[(i64, i64)],
    ) -> Self {
        let mut machine = Self {
            rules,
            state: State::Idle,
            failures: 0,
            heartbeat: HEARTBEAT,
            heartbeat_unanswered: false,
            token: Token::default(),
            viewed,
            removed: Vec::new(),
            channels: HashMap::new(),
            others: HashMap::new(),
            sends: Sends::default(),
            runs: 0,
            stats: Stats::default(),
            actions: Vec::new(),
        };
        for held in positions {
            let (Some(topic), Some(position)) = (held.topic, held.position) else {
                continue;
            };
            if topic.kind() == v1::TopicKind::Channel {
                machine.channel(topic.id).hold(position);
            } else {
                machine.others.insert(topic, position);
            }
        }
        for (channel, last_id) in last_ids {
            machine.channel(*channel).seen.start_at(*last_id);
        }
        machine
    }

    /// What is to be done about an input, in order.
    pub(crate) fn handle(&mut self, input: Input) -> Vec<Action> {
        if self.state == State::Closed {
            return Vec::new();
        }
        match input {
            Input::Start if self.state == State::Idle => self.connect(),
            Input::Start => {}
            Input::Frame(frame) => {
                // A frame that was under way when the connection was given up.
                if self.is_connected() {
                    // Whatever the server sends shows that it lives.
                    self.heartbeat_unanswered = false;
                    self.frame(frame);
                }
            }
            Input::Lost(error) => {
                if self.is_connected() {
                    self.lost(error);
                }
            }
            Input::Fired(timer) => self.fired(timer),
            Input::Page { channel, run, page } => self.page(channel, run, page),
            Input::PageFailed {
                channel,
                run,
                error,
            } => self.page_failed(channel, run, error),
            Input::Send {
                key,
                channel,
                stored,
            } => self.send(key, channel, stored),
            Input::Answer { key, result } => self.answer(key, result),
            Input::View(channels) => self.view(channels),
            Input::Token { renews, lifetime } => self.token(renews, lifetime),
            Input::Renewed { tokens, lifetime } => self.renewed(tokens, lifetime),
            Input::RenewFailed(error) => self.renew_failed(error),
            Input::Cut => {
                if self.is_connected() {
                    self.lost(Error::connection("the program cut the connection"));
                }
            }
            Input::Close => self.finish(Error::closed()),
        }
        std::mem::take(&mut self.actions)
    }

    /// Where the connection is.
    #[cfg(test)]
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Counts so far.
    pub(crate) fn stats(&self) -> Stats {
        self.stats
    }

    fn is_connected(&self) -> bool {
        matches!(self.state, State::Connecting | State::Syncing | State::Live)
    }

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn emit(&mut self, event: Event) {
        self.actions.push(Action::Emit(event));
    }

    /// Tells the program what it holds of a topic from here on.
    fn tell_held(&mut self, topic: v1::Topic) {
        let held = if topic.kind() == v1::TopicKind::Channel {
            let channel = self.channels.get(&topic.id);
            Held {
                position: channel.and_then(Channel::held),
                last_id: channel.and_then(|channel| channel.seen.last_id()),
            }
        } else {
            Held {
                position: self.others.get(&topic).copied(),
                last_id: None,
            }
        };
        self.act(Action::Hold(topic, held));
    }

    fn channel(&mut self, id: i64) -> &mut Channel {
        let dedupe_off = self.rules.dedupe_off;
        self.channels.entry(id).or_insert_with(|| {
            let mut channel = Channel::default();
            channel.seen.dedupe_off = dedupe_off;
            channel
        })
    }

    fn connect(&mut self) {
        self.state = State::Connecting;
        self.heartbeat_unanswered = false;
        let mut positions: Vec<_> = self
            .others
            .iter()
            .map(|(topic, position)| (*topic, *position))
            .chain(
                self.channels
                    .iter()
                    .filter_map(|(id, c)| Some((channel_topic(*id), c.held()?))),
            )
            .map(|(topic, position)| v1::TopicPosition {
                topic: Some(topic),
                position: Some(position),
            })
            .collect();
        // Users and servers first: of what doesn't fit, channels are the cheapest to page.
        positions.sort_by_key(|p| p.topic.map(|t| (-t.kind, t.id)));
        positions.truncate(POSITIONS_MAX);
        let view = self.viewed_channels();
        self.act(Action::Connect { positions, view });
        self.act(Action::Wait {
            timer: Timer::Handshake,
            delay: Delay::Exactly(HANDSHAKE),
        });
    }

    fn viewed_channels(&self) -> Vec<v1::ViewedChannel> {
        let position = |id| self.channels.get(id).and_then(Channel::held);
        let viewed = self.viewed.iter();
        viewed
            .map(|id| v1::ViewedChannel {
                channel_id: *id,
                position: position(id),
            })
            .collect()
    }

    /// Gives up the connection and all that depended on it.
    fn drop_connection(&mut self) {
        self.act(Action::Disconnect);
        for timer in [Timer::Handshake, Timer::Heartbeat, Timer::Steady] {
            self.act(Action::Cancel(timer));
        }
        self.removed.clear();
        for channel in self.channels.values_mut() {
            channel.stop_paging();
        }
        self.interrupt_sends();
    }

    /// The connection ended by itself or by our will: by its advice, go on.
    fn lost(&mut self, error: Error) {
        if error.advice == Advice::Stop {
            self.finish(error);
            return;
        }
        self.drop_connection();
        if error.advice == Advice::Reauthenticate {
            self.signed_out(error);
            return;
        }
        let delay = Delay::Backoff(self.failures);
        self.wait_to_connect(delay);
        self.emit(Event::Disconnected { reason: error });
    }

    fn wait_to_connect(&mut self, delay: Delay) {
        self.state = State::Waiting;
        self.failures = self.failures.saturating_add(1);
        self.act(Action::Wait {
            timer: Timer::Connect,
            delay,
        });
    }

    fn finish(&mut self, error: Error) {
        self.drop_connection();
        self.act(Action::Cancel(Timer::Connect));
        self.act(Action::Cancel(Timer::Renew));
        self.state = State::Closed;
        self.emit(Event::Closed(error.clone()));
        self.act(Action::Finish(error));
    }

    fn fired(&mut self, timer: Timer) {
        match (timer, self.state) {
            (Timer::Connect, State::Waiting) => self.connect(),
            (Timer::Handshake, State::Connecting) => {
                self.lost(Error::connection("the server didn't say Hello in time"));
            }
            (Timer::Heartbeat, State::Syncing | State::Live) => {
                if self.heartbeat_unanswered {
                    self.lost(Error::connection(
                        "the server answered nothing since a heartbeat",
                    ));
                } else {
                    self.heartbeat_unanswered = true;
                    self.act(Action::Heartbeat);
                    let delay = Delay::Exactly(self.heartbeat);
                    self.act(Action::Wait {
                        timer: Timer::Heartbeat,
                        delay,
                    });
                }
            }
            (Timer::Renew, _) => self.renew_in_time(),
            (Timer::Steady, _) => self.failures = 0,
            (Timer::Answer(key), _) => self.retry_send(key),
            (Timer::Resend(channel), _) => self.resume_channel(channel),
            (Timer::Pace, _) => self.resume_stream(),
            _ => {}
        }
    }

    fn frame(&mut self, frame: Frame) {
        let is_first = matches!(
            frame,
            Frame::Hello(_) | Frame::Closing(_) | Frame::Reconnect(_)
        );
        if self.state == State::Connecting && !is_first {
            return;
        }
        match frame {
            Frame::Hello(hello) => self.hello(&hello),
            Frame::Ready(ready) => self.ready(ready),
            Frame::HeartbeatAck(_) => {}
            Frame::Result(result) => self.result(result),
            Frame::Event(event) => self.event(event),
            Frame::Snapshot(snapshot) => self.snapshot(snapshot),
            Frame::Gap(gap) => self.gap(gap),
            Frame::TopicRemoved(removed) => {
                if let Some(topic) = removed.topic {
                    self.remove(topic);
                    self.emit(Event::TopicRemoved(topic));
                }
            }
            Frame::ChannelActivity(activity) => self.emit(Event::Activity(activity)),
            Frame::PresenceChanged(changed) => self.emit(Event::Presence(changed)),
            Frame::TypingStarted(typing) => self.emit(Event::Typing(typing)),
            Frame::MemberListChanged(changed) => self.emit(Event::MemberList(changed)),
            Frame::CustomEvent(event) => self.emit(Event::Custom(event)),
            Frame::Reconnect(reconnect) => self.reconnect(reconnect),
            Frame::Closing(closing) => self.lost(closing.into()),
        }
    }

    fn hello(&mut self, hello: &v1::Hello) {
        if self.state != State::Connecting {
            return;
        }
        self.state = State::Syncing;
        self.act(Action::Cancel(Timer::Handshake));
        let interval = hello
            .heartbeat_interval
            .and_then(|d| Duration::try_from(d).ok());
        self.heartbeat = interval.filter(|d| !d.is_zero()).unwrap_or(HEARTBEAT);
        if !self.rules.listen_only {
            let delay = Delay::PartOf(self.heartbeat);
            self.act(Action::Wait {
                timer: Timer::Heartbeat,
                delay,
            });
        }
    }

    fn ready(&mut self, ready: v1::Ready) {
        if self.state != State::Syncing {
            return;
        }
        self.state = State::Live;
        // Not before it has lasted do failures count no more: a server that closes each connection
        // would be asked all the time.
        self.act(Action::Wait {
            timer: Timer::Steady,
            delay: Delay::Exactly(STEADY),
        });
        self.stats.connects += 1;
        self.emit(Event::Ready(ready));
        self.flush_sends();
    }

    /// The server is about to go.
    fn reconnect(&mut self, reconnect: v1::Reconnect) {
        let after = reconnect
            .after
            .and_then(|d| Duration::try_from(d).ok())
            .unwrap_or_default();
        self.drop_connection();
        let delay = Delay::AtLeast(after, self.failures);
        self.wait_to_connect(delay);
        self.emit(Event::Disconnected {
            reason: Error::connection("the server asked for it"),
        });
    }

    fn view(&mut self, channels: Vec<i64>) {
        self.viewed = channels;
        self.removed.retain(|id| self.viewed.contains(id));
        match self.state {
            State::Connecting | State::Syncing | State::Live if self.rules.listen_only => {
                // A stream that only listens can't say so: it listens anew.
                self.drop_connection();
                self.connect();
            }
            // While connecting, the Identify may have gone out with the view before.
            State::Connecting | State::Syncing | State::Live => {
                let view = self.viewed_channels();
                self.act(Action::View(view));
            }
            _ => {}
        }
    }
}
