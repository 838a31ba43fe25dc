//! The rules of the scheme, each a switch.

/// Declares the rules with their documentation, which the program prints too.
macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// A rule of the scheme, or another way to do the same.
        #[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
        pub enum Rule { $($(#[doc = $doc])+ $name,)* }

        impl Rule {
            /// All of them.
            pub const ALL: &[Rule] = &[$(Rule::$name,)*];

            /// What it says.
            pub fn says(self) -> &'static str {
                match self { $(Rule::$name => concat!($($doc),+).trim_ascii(),)* }
            }
        }
    };
}

rules! {
    /// A send is acknowledged after its row is written.
    PersistBeforeAcknowledge,
    /// An event is published after its row is written.
    PersistBeforePublish,
    /// A script that finds the hash missing, or Redis restored, makes a new epoch.
    EpochOnLoss,
    /// A gateway compares the channel's position with Redis's every 5 s.
    ActiveCheck,
    /// It compares the epoch too, which a channel that nobody published to has as well.
    EpochCheck,
    /// A jump of `seq` makes the gateway fill or send a gap.
    JumpNoticed,
    /// After a gap a client goes on from the position that was read before the page was.
    PositionBeforePage,
    /// Pages name the deleted messages of their range.
    PagesNameDeleted,
    /// When what was in flight at a new epoch is over, its ring is dropped and `seq` jumps once.
    SecondGap,
    /// Pending operations are swept.
    Sweeper,
    /// The sweeper publishes an edit only when the row is at the edit's revision.
    SweepAtRevision,
    /// The sweeper writes a delete that was reserved and not written.
    SweepWritesDelete,
    /// What the sweeper no longer seeks it deletes, so that a late write shows nothing.
    SweepSeals,
    /// A duplicate that the sweeper deletes is told as a delete.
    DuplicateIsTold,
    /// Who deletes a duplicate makes the nonce's row name the message that stays.
    NonceRewritten,
    /// Times of writes are those of ids and revisions, not of the writes' arrival.
    TimesOfIds,
    /// A revision is a millisecond above its message's last one.
    RevisionNextMillisecond,
    /// No write but a delete touches the flag of the deleted.
    DeletedIsFinal,
    /// A delete marks its message in Redis when it reserves.
    MarkAtReserve,
    /// It marks it again when it publishes.
    MarkAtPublish,
    /// What is marked is published only as deleted.
    MarkHolds,
    /// A repeat reads the nonce's row.
    DurableNonce,
    /// A nonce that Redis holds from another epoch counts as absent.
    NonceOfEpoch,
    /// A repeat that finds its nonce reserved inserts under the same id.
    RepeatKeepsId,
    /// A repeat that finds its message deleted fails.
    DeletedIsNotAcknowledged,
    /// Reserving names the epoch under which the nonce's row was read; under another it is read
    /// again.
    ReserveNamesEpoch,
    /// Publishing names the epoch of its reserve; under another it is refused.
    PublishNamesEpoch,
    /// What is refused is pending again.
    RefusedIsPending,
    /// Who reserved gives back what it didn't write only if nobody else went on with it.
    GivenBackAlone,
    /// In a new epoch ids begin above all that clocks may have given out.
    FloorOfEpoch,
    /// In a new epoch ids begin above the newest that is stored.
    FloorOfStore,
    /// Publishing never creates the channel's highest id.
    PublishKeepsHighest,
    /// Scripts refuse operations that are older than 10 s.
    OldIsRefused,
    /// Another way: a node that is refused begins again as a repeat, and deletes what it wrote if
    /// another message has the nonce.
    RefusedRepeats,
    /// Another way: a node that is refused rereads, claims the nonce and publishes itself.
    NodeSettles,
    /// Another way: gateways send the second gap to those who are connected.
    SecondGapByGateway,
    /// Another way: the nonce's row is written by a lightweight transaction, always.
    LightweightAlways,
    /// Another way: the same, on repeats and in epochs that began meanwhile.
    LightweightOnRepeats,
}

/// Which rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules(u64);

impl Rules {
    /// The scheme: all rules, none of the other ways.
    pub fn scheme() -> Self {
        Rules((1 << Rule::ALL.len()) - 1)
            .without(Rule::NodeSettles)
            .without(Rule::RefusedRepeats)
            .without(Rule::SecondGapByGateway)
            .without(Rule::LightweightAlways)
            .without(Rule::LightweightOnRepeats)
    }

    /// With a rule.
    #[must_use]
    pub fn with(self, rule: Rule) -> Self {
        Rules(self.0 | 1 << rule as u64)
    }

    /// Without a rule.
    #[must_use]
    pub fn without(self, rule: Rule) -> Self {
        Rules(self.0 & !(1 << rule as u64))
    }

    /// Whether a rule holds.
    pub fn hold(self, rule: Rule) -> bool {
        self.0 >> rule as u64 & 1 == 1
    }
}
