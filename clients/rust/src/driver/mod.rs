//! Runs the state machine: one task that owns the connection, the timers and what waits for the
//! program. `calls`: what goes beside the stream; `people`: what the user looks at besides
//! channels.

mod calls;
mod people;

use crate::{
    client::Readiness,
    config::{Config, Looking, Tapped},
    error::{Advice, Error},
    event::{Event, Holdings, Item, Stats},
    machine::{Action, Delay, Input, Machine, Rules, Timer},
    outbox::{OutboxEntry, OutboxStore},
    stream::{Connection, open, receive},
    timers::Timers,
    tokens,
    wire::Cutter,
};
use calls::{Called, PAGES_AT_ONCE, Renewed};
use chirm_proto::v1::{self, client_frame::Frame as Sent, server_frame::Frame as Received};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
    time::Instant,
};

/// Frames on their way out: sends under way, views and heartbeats.
const FRAMES_MAX: usize = 512;

/// What the program asks for.
pub(crate) enum Command {
    Send { entry: OutboxEntry, answer: Answer },
    View(Vec<i64>),
    Look(Looking),
    SetPresence(v1::PresenceStatus, Option<String>),
    SetTokens(v1::Tokens),
    Cut,
    Close,
}

/// Where the final answer to a send goes.
pub(crate) type Answer = oneshot::Sender<Result<v1::Message, Error>>;

/// What the task and the handles share.
pub(crate) struct Shared {
    pub(crate) readiness: watch::Sender<Readiness>,
    pub(crate) done: watch::Sender<bool>,
    pub(crate) holdings: Holdings,
    pub(crate) stats: Mutex<Stats>,
    pub(crate) outbox: Arc<dyn OutboxStore>,
}

struct Waiting {
    entry: OutboxEntry,
    answer: Option<Answer>,
}

struct Driver {
    config: Config,
    machine: Machine,
    shared: Arc<Shared>,
    connection: Connection,
    cutter: Arc<Cutter>,
    frames: Option<mpsc::Sender<v1::ClientFrame>>,
    timers: Timers,
    /// Pages, and sends by unary calls.
    calls: JoinSet<Called>,
    pages: Arc<Semaphore>,
    /// At most one, unless the program gives other tokens meanwhile.
    renewals: JoinSet<Renewed>,
    /// Counts tokens: what comes of an earlier one says nothing about the present one.
    token_run: u64,
    sends: HashMap<u64, Waiting>,
    /// Sends of an earlier run, by nonce.
    stored: HashMap<String, u64>,
    last_key: u64,
    /// The user's own words, once they were said.
    words: Option<String>,
    out: VecDeque<Item>,
    /// What the last actions led to at once.
    follow_ups: VecDeque<Input>,
    finished: Option<Error>,
}

/// Runs a client until it is closed.
pub(crate) async fn run(
    config: Config,
    mut commands: mpsc::Receiver<Command>,
    items: mpsc::Sender<Item>,
    shared: Arc<Shared>,
) {
    let mut driver = Driver::new(config, shared);
    driver.start().await;
    while driver.finished.is_none() {
        driver.hand_over(&items);
        // While the program has enough to do, nothing more is read: the server notices, and in
        // the end closes the connection.
        let is_full = !driver.out.is_empty();
        // A page keeps its place until it has been dealt with.
        let mut place = None;
        let input = tokio::select! {
            permit = items.reserve(), if is_full => {
                match permit {
                    Ok(permit) => {
                        if let Some(item) = driver.out.pop_front() {
                            permit.send(item);
                        }
                    }
                    Err(_) => driver.out.clear(),
                }
                continue;
            }
            command = commands.recv() => driver.command(command),
            timer = driver.timers.next() => driver.fired(timer, is_full),
            input = receive(&mut driver.connection), if !is_full => input,
            Some(called) = driver.calls.join_next(), if !is_full => {
                called.ok().map(|called| driver.called(called, &mut place))
            }
            Some(renewed) = driver.renewals.join_next() => driver.renewed(renewed),
        };
        if let Some(input) = input {
            driver.handle(input).await;
        }
    }
    driver.finish_renewals().await;
    driver.shared.done.send_replace(true);
    for (_, waiting) in driver.sends.drain() {
        if let (Some(answer), Some(error)) = (waiting.answer, &driver.finished) {
            answer.send(Err(error.clone())).ok();
        }
    }
    for item in driver.out {
        if items.send(item).await.is_err() {
            return;
        }
    }
}

impl Driver {
    fn new(config: Config, shared: Arc<Shared>) -> Self {
        let mutation = std::env::var("CHIRM_MUTATION")
            .ok()
            .filter(|_| cfg!(feature = "mutations"));
        let rules = Rules {
            viewed_only: config.delivery == v1::Delivery::Viewed,
            listen_only: config.listen_only,
            history: config.history,
            dedupe_off: mutation.as_deref() == Some("dedupe_off"),
            jump_check_off: mutation.as_deref() == Some("jump_check_off"),
            ..Rules::default()
        };
        let viewed = config.viewed.clone();
        let machine = Machine::new(rules, viewed, &config.positions, &config.last_ids);
        Self {
            config,
            machine,
            shared,
            connection: Connection::None,
            cutter: Arc::default(),
            frames: None,
            timers: Timers::default(),
            calls: JoinSet::new(),
            pages: Arc::new(Semaphore::new(PAGES_AT_ONCE)),
            renewals: JoinSet::new(),
            token_run: 0,
            sends: HashMap::new(),
            stored: HashMap::new(),
            last_key: 0,
            words: None,
            out: VecDeque::new(),
            follow_ups: VecDeque::new(),
            finished: None,
        }
    }

    async fn start(&mut self) {
        self.handle(self.token()).await;
        match self.shared.outbox.load().await {
            Ok(entries) => {
                for entry in entries {
                    let key = self.next_key();
                    let channel = entry.request.channel_id;
                    self.stored.insert(entry.nonce.clone(), key);
                    self.sends.insert(
                        key,
                        Waiting {
                            entry,
                            answer: None,
                        },
                    );
                    self.handle(Input::Send {
                        key,
                        channel,
                        stored: true,
                    })
                    .await;
                }
                self.handle(Input::Start).await;
            }
            Err(error) => {
                let lost = Error {
                    advice: Advice::Stop,
                    ..error
                };
                self.handle(Input::Start).await;
                self.handle(Input::Lost(lost)).await;
            }
        }
    }

    fn next_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    /// Gives the program what it takes at once.
    fn hand_over(&mut self, items: &mpsc::Sender<Item>) {
        while let Some(item) = self.out.pop_front() {
            match items.try_send(item) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(item)) => {
                    self.out.push_front(item);
                    return;
                }
                // The program only sends.
                Err(mpsc::error::TrySendError::Closed(_)) => self.out.clear(),
            }
        }
    }

    fn command(&mut self, command: Option<Command>) -> Option<Input> {
        match command {
            Some(Command::Send { entry, answer }) => {
                if let Some(key) = self.stored.get(&entry.nonce) {
                    // It came by way of the store, too, or the program repeats one of an earlier
                    // run: one message all the same.
                    if let Some(waiting) = self.sends.get_mut(key) {
                        waiting.answer = Some(answer);
                        return None;
                    }
                }
                let (key, channel) = (self.next_key(), entry.request.channel_id);
                self.sends.insert(
                    key,
                    Waiting {
                        entry,
                        answer: Some(answer),
                    },
                );
                Some(Input::Send {
                    key,
                    channel,
                    stored: false,
                })
            }
            Some(Command::View(channels)) => {
                self.config.viewed.clone_from(&channels);
                Some(Input::View(channels))
            }
            Some(Command::Look(looking)) => {
                self.config.looking = looking;
                Some(Input::View(self.config.viewed.clone()))
            }
            Some(Command::SetPresence(status, text)) => {
                self.set_presence(status, text);
                None
            }
            Some(Command::SetTokens(tokens)) => {
                self.keep_tokens(tokens);
                self.shared.readiness.send_if_modified(|readiness| {
                    let failed = matches!(readiness, Readiness::Failed(_));
                    if failed {
                        *readiness = Readiness::Pending;
                    }
                    failed
                });
                Some(self.token())
            }
            Some(Command::Cut) => {
                self.cutter.cut();
                Some(Input::Cut)
            }
            Some(Command::Close) | None => Some(Input::Close),
        }
    }

    fn fired(&mut self, timer: Timer, is_full: bool) -> Option<Input> {
        if timer == Timer::Heartbeat && is_full {
            // The acknowledgement may wait unread behind what the program doesn't take.
            self.follow_ups.push_back(Input::Fired(timer));
            return Some(Input::Frame(Received::HeartbeatAck(v1::HeartbeatAck {})));
        }
        Some(Input::Fired(timer))
    }

    async fn handle(&mut self, input: Input) {
        if matches!(input, Input::Frame(Received::Hello(_))) {
            self.greet();
        }
        self.follow_ups.push_front(input);
        while let Some(input) = self.follow_ups.pop_front() {
            for action in self.machine.handle(input) {
                self.act(action).await;
            }
        }
        *self
            .shared
            .stats
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = self.machine.stats();
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Connect { positions, view } => self.connect(positions, view),
            Action::Disconnect => {
                self.connection = Connection::None;
                self.frames = None;
                self.calls = JoinSet::new();
            }
            Action::Heartbeat => self.send_frame(0, Sent::Heartbeat(v1::Heartbeat {})),
            Action::View(channels) => {
                let view = self.view(channels);
                self.send_frame(0, Sent::View(view));
            }
            Action::Transmit {
                key,
                call_id,
                attempt,
            } => self.transmit(key, call_id, attempt),
            Action::Settle { key, result } => self.settle(key, result).await,
            Action::Renew => self.renew(),
            Action::Page {
                channel,
                after,
                run,
                failures,
            } => {
                self.page(channel, after, run, failures);
            }
            Action::Wait { timer, delay } => {
                let delay = self.delay(delay);
                self.timers.set(timer, Instant::now() + delay);
            }
            Action::Cancel(timer) => self.timers.cancel(timer),
            Action::Emit(event) => {
                self.note(&event);
                self.out.push_back(Item::Event(event));
            }
            Action::Hold(topic, held) => self.out.push_back(Item::Hold(topic, held)),
            Action::Finish(error) => self.finished = Some(error),
        }
    }

    /// Tells those who wait for the connection.
    fn note(&self, event: &Event) {
        let now = match event {
            Event::Ready(_) => Readiness::Ready,
            Event::Closed(error) => Readiness::Failed(error.clone()),
            Event::Disconnected { reason } if reason.advice == Advice::Reauthenticate => {
                Readiness::Failed(reason.clone())
            }
            _ => return,
        };
        self.shared.readiness.send_if_modified(|readiness| {
            let first = !matches!(readiness, Readiness::Ready);
            if first {
                *readiness = now;
            }
            first
        });
    }

    fn delay(&self, delay: Delay) -> Duration {
        let part_of = |whole: Duration| rand::random_range(Duration::ZERO..=whole);
        match delay {
            Delay::Exactly(time) => time,
            Delay::PartOf(time) => part_of(time),
            Delay::Backoff(failures) => part_of(self.config.backoff.ceiling(failures)),
            Delay::AtLeast(time, failures) => time + part_of(self.config.backoff.ceiling(failures)),
        }
    }

    fn connect(&mut self, positions: Vec<v1::TopicPosition>, view: Vec<v1::ViewedChannel>) {
        let identify = v1::Identify {
            token: self.config.token.clone(),
            delivery: self.config.delivery as i32,
            intents: self
                .config
                .intents
                .iter()
                .map(|intent| *intent as i32)
                .collect(),
            device: self.config.device.clone(),
            positions,
            view: Some(self.view(view)),
            presence: self.config.presence as i32,
            ..v1::Identify::default()
        };
        self.cutter = Arc::default();
        let (frames, sent) = mpsc::channel(FRAMES_MAX);
        self.frames = Some(frames);
        if self.config.listen_only {
            self.tap(&Sent::Identify(identify.clone()));
        } else {
            self.send_frame(0, Sent::Identify(identify.clone()));
        }
        let opening = open(self.config.clone(), identify, sent, self.cutter.clone());
        self.connection = Connection::Opening(Box::pin(opening));
    }

    /// Uses these tokens from now on, for calls on the open connection, too.
    fn keep_tokens(&mut self, tokens: v1::Tokens) {
        self.token_run += 1;
        self.config.set_tokens(tokens);
        if let Connection::Open(opened) = &self.connection
            && opened.api.set_token(&self.config.token).is_err()
        {
            // The next connection says so to the program.
            tracing::warn!("a token that can't be one");
        }
    }

    /// What the machine is to know of the token.
    fn token(&self) -> Input {
        Input::Token {
            renews: self.config.token_source.is_some() || !self.config.refresh_token.is_empty(),
            lifetime: tokens::lifetime(self.config.token_expires_at),
        }
    }

    fn tap(&self, frame: &Sent) {
        if let Some(tap) = &self.config.tap {
            tap(Tapped::Sent(frame));
        }
    }

    fn send_frame(&mut self, call_id: u32, frame: Sent) {
        self.tap(&frame);
        let Some(frames) = &self.frames else { return };
        if frames
            .try_send(v1::ClientFrame {
                call_id,
                frame: Some(frame),
            })
            .is_err()
        {
            let lost = Error::connection("the server doesn't take what is sent");
            self.follow_ups.push_back(Input::Lost(lost));
        }
    }

    async fn settle(&mut self, key: u64, result: Result<v1::Message, Error>) {
        let Some(waiting) = self.sends.remove(&key) else {
            return;
        };
        let nonce = waiting.entry.nonce;
        self.stored.remove(&nonce);
        if let Err(error) = self.shared.outbox.remove(&nonce).await {
            // The next run repeats it, and gets the same answer.
            tracing::warn!(%error, "a send that was answered stays in the outbox");
        }
        match (waiting.answer, result) {
            (Some(answer), result) => {
                answer.send(result).ok();
            }
            (None, Err(error)) => {
                self.out
                    .push_back(Item::Event(Event::SendRefused { nonce, error }));
            }
            (None, Ok(_)) => {}
        }
    }
}
