//! What happens to a server's people while its members are being read, step by step.

use super::list::List;
use super::load::Loaded;
use super::name::NameKey;
use super::task::Task;
use super::*;
use crate::bus::{Batch, Device};
use crate::gateway::outbox::{Outbox, OutboxLimits};
use crate::gateway::tests::{User, World};
use crate::model::{Presence, Role, Status};
use chirm_proto::v1::{self, PresenceStatus, server_frame::Frame};
use prost::Message as _;

/// A task whose list of one server's members is being read for a session of `ann`'s.
struct Reading {
    world: World,
    task: Task,
    server: Id,
    ann: User,
    bob: User,
    session: Arc<SessionHandle>,
}

impl Reading {
    async fn new() -> Self {
        let world = World::new(|_| {}).await;
        let (ann, bob) = (world.user("ann").await, world.user("bob").await);
        let (server, _) = world.server(&ann, &[&bob]).await;
        let mut task = Task::new(world.presences.clone(), world.store.clone());
        let limits = OutboxLimits {
            frames: 64,
            bytes: 1 << 20,
        };
        let outbox = Arc::new(Outbox::new(limits));
        let user = ann.caller.user_id;
        let session = Arc::new(SessionHandle::new(1, user, 1, String::new(), outbox));
        let interest = Interest {
            servers: vec![server],
            ..Interest::default()
        };
        task.follow(&session, interest);
        Self {
            world,
            task,
            server,
            ann,
            bob,
            session,
        }
    }

    /// Bob is here from now on, and the bus says so.
    async fn bob_comes(&mut self) {
        let batch = Batch {
            position: (1, 1),
            presences: vec![self.bob_opens().await],
            touched: Vec::new(),
        };
        self.task.batch(&batch).await;
    }

    /// Bob is here from now on. What the bus will say.
    async fn bob_opens(&self) -> Presence {
        let user = self.bob.caller.user_id;
        let device = Device {
            user,
            serial: 2,
            credential: 2,
            name: String::new(),
        };
        let opened = self.world.presences.open(device, Status::Online).await;
        opened.expect("opens");
        Presence {
            status: Status::Online,
            ..Presence::offline(user)
        }
    }

    /// What was read is both members, nobody here.
    async fn ends(&mut self) {
        let mut list = List::of(2);
        let member = |user: &User, role| (user.caller.user_id, role, NameKey::of("n"), false);
        list.add([
            member(&self.ann, Role::Owner),
            member(&self.bob, Role::Member),
        ]);
        let loaded = Ok(Loaded::List(list.sort()));
        self.task.loaded(self.server, loaded).await;
        while self.task.go_on(1).await {}
    }

    /// How the session is told that bob is.
    async fn told_of_bob(&self) -> Option<PresenceStatus> {
        let mut told = None;
        let next = || std::future::poll_fn(|cx| self.session.outbox.poll_frame(cx));
        while let Ok(Some(frame)) = tokio::time::timeout(Duration::ZERO, next()).await {
            let frame = v1::ServerFrame::decode(&frame[crate::frames::PREFIX_BYTES..]);
            if let Some(Frame::PresenceChanged(changed)) = frame.expect("decodes").frame {
                let of_bob = |p: &&v1::Presence| p.user_id == self.bob.caller.user_id;
                told = changed
                    .presences
                    .iter()
                    .rfind(of_bob)
                    .map(|p| p.status())
                    .or(told);
            }
        }
        told
    }
}

#[tokio::test]
async fn whoever_comes_while_the_members_are_read_is_told_of() {
    let mut reading = Reading::new().await;
    reading.bob_comes().await;
    reading.ends().await;
    assert_eq!(reading.told_of_bob().await, Some(PresenceStatus::Online));
}

#[tokio::test]
async fn whoever_waits_to_be_told_of_and_leaves_is_told_as_offline() {
    let mut reading = Reading::new().await;
    reading.ends().await;
    let bob = reading.bob.caller.clone();
    let left = reading.world.domain.leave_server(&bob, reading.server);
    left.await.expect("leaves");
    // Bob is here, and waits to be told of; the list doesn't know yet that he left.
    reading.bob_comes().await;
    let follower = reading.task.followers.get(1).expect("it follows");
    follower.waits_for([bob.user_id]);
    let touched = crate::model::Touched::Member(reading.server, bob.user_id);
    let batch = Batch {
        position: (1, 2),
        presences: Vec::new(),
        touched: vec![touched],
    };
    reading.task.batch(&batch).await;
    while reading.task.go_on(1).await {}
    assert_eq!(reading.told_of_bob().await, Some(PresenceStatus::Offline));
}

#[tokio::test]
async fn whoever_is_told_of_before_the_bus_says_so_and_leaves_is_told_as_offline() {
    let mut reading = Reading::new().await;
    reading.ends().await;
    let bob = reading.bob.caller.clone();
    let presence = reading.bob_opens().await;
    let follower = reading.task.followers.get(1).expect("it follows");
    follower.waits_for([bob.user_id]);
    while reading.task.go_on(1).await {}
    assert_eq!(reading.told_of_bob().await, Some(PresenceStatus::Online));
    let left = reading.world.domain.leave_server(&bob, reading.server);
    left.await.expect("leaves");
    // By the list he was never here.
    let batch = Batch {
        position: (1, 1),
        presences: vec![presence],
        touched: vec![crate::model::Touched::Member(reading.server, bob.user_id)],
    };
    reading.task.batch(&batch).await;
    while reading.task.go_on(1).await {}
    assert_eq!(reading.told_of_bob().await, Some(PresenceStatus::Offline));
}

#[tokio::test]
async fn whoever_joins_and_changes_its_name_at_once_stays_here() {
    let mut reading = Reading::new().await;
    reading.ends().await;
    reading.bob_comes().await;
    let bob = reading.bob.caller.user_id;
    let touched = vec![
        crate::model::Touched::Member(reading.server, bob),
        crate::model::Touched::User(bob),
    ];
    let batch = Batch {
        position: (1, 2),
        presences: Vec::new(),
        touched,
    };
    reading.task.batch(&batch).await;
    let crowd = reading.task.crowds.get_mut(&reading.server);
    let list = crowd.and_then(|crowd| crowd.list()).expect("it was read");
    assert_eq!(list.is_here(bob), Some(true));
}
