//! Deliberate bugs, for proving that the checkers fail when they should. Without the feature
//! `mutations` every one of them is compiled out.

/// Every deliberate bug: what `CHIRM_MUTATION` may be, and what then is wrong.
#[cfg(feature = "mutations")]
#[rustfmt::skip]
pub const NAMES: &[(&str, &str)] = &[
    ("nonce_forgotten", "A repeat of a nonce makes another message."),
    ("dedupe_off", "The Rust client hands on what it has handed on before."),
    ("jump_check_off", "Server and Rust client take any position for the current one."),
    ("ring_incomplete", "A replay from before the ring's first event passes as complete."),
    ("epoch_kept", "A channel's epoch is the same after a restart."),
    ("ack_before_persist", "A message is acknowledged 2 s before it is written."),
    ("presence_kept", "Who went stays online."),
    ("leaver_kept", "Who left a server stays in its list of members."),
    ("seq_repeated", "A topic's third event repeats the second's seq; later ones lag by one."),
    ("seq_skipped", "From a topic's third event on each seq is too high by one."),
    ("publish_before_persist", "A message is told before the store takes or refuses it."),
    ("event_lost", "Each 7th event of a topic isn't handed out; positions go on."),
    ("gap_swallowed", "No Gap tells of what can't be replayed."),
    ("snapshot_position_old", "A snapshot says the position before the one that it shows."),
    ("nonce_content_unchecked", "A used nonce with other content is answered as a repeat."),
    ("ids_unordered", "Each third message's id is a minute too low."),
    ("hidden_told", "A PRIVATE channel out of sight is PERMISSION_DENIED."),
    ("permission_off_on_stream", "A send on the stream needs no right to write."),
    ("permission_off_on_edit", "Who may write in a channel edits anyone's messages."),
    ("private_leaks", "Streams of all members get a server's PRIVATE channels."),
    ("kick_unnoticed", "A stream goes on with what its user may no longer see."),
    ("revoked_token_lives", "The token of an ended session is taken while it is cached."),
    ("json_ids_as_numbers", "JSON has 64-bit numbers as numbers."),
    ("json_times_without_z", "JSON has times without their Z."),
    ("limit_off_by_one", "A message may have a character too many."),
    ("page_skips", "A page before or after a message lacks the one next to it."),
    ("page_after_wrong", "A page of messages after one begins with that one."),
    ("deleted_content_stays", "A delete is told, but the message stays in history."),
    ("edit_revision_kept", "An edited message's revision stays 0."),
    ("presence_grace_off", "Who loses its stream is offline at once."),
    ("heartbeat_unheeded", "A client that falls silent is never closed."),
    ("identify_timeout_off", "A stream without identify is never closed."),
    ("view_moves_nothing", "A view that a client sends later changes nothing."),
    ("activity_withheld", "Word of a channel is dropped within 1 s of the word before."),
    ("error_without_info", "Errors have no ErrorInfo."),
    ("unknown_fields_refused", "JSON with a field that isn't known is refused."),
    ("request_id_forgotten", "A repeat of a request_id makes another one."),
    ("reply_unchecked", "reply_to may be any message, and none at all."),
    ("reaction_count_wrong", "A reaction counts twice when it is added."),
    ("read_state_backwards", "An older acknowledgement moves the read state back."),
    ("drain_silent", "A server that stops tells no stream; all break."),
    ("mention_untold", "Who is mentioned isn't told on its own topic."),
    ("webhook_unsigned", "Signatures of webhooks are of the body alone."),
    ("service_key_any_scope", "Any service key may do what needs the admin scope."),
    ("member_list_seq_stuck", "All frames of a member list's range have the same seq."),
    ("closing_silent", "Streams end without their Closing frame."),
    ("position_of_future_taken", "A position above the topic's is taken for its own."),
];

/// Whether the bug of this name is switched on by `CHIRM_MUTATION`.
///
/// # Panics
/// In debug builds: [`NAMES`] doesn't have it.
#[cfg(feature = "mutations")]
#[must_use]
pub fn on(name: &str) -> bool {
    debug_assert!(is_known(name), "{name} isn't among the deliberate bugs");
    chosen() == name
}

/// Never.
#[cfg(not(feature = "mutations"))]
#[must_use]
pub const fn on(_name: &str) -> bool {
    false
}

/// As [`on`], but at each `n`th call alone.
///
/// # Panics
/// As [`on`].
#[cfg(feature = "mutations")]
#[must_use]
pub fn nth(name: &str, n: u64) -> bool {
    use std::sync::atomic::{AtomicU64, Ordering};
    // One for all: no more than one bug is switched on.
    static CALLS: AtomicU64 = AtomicU64::new(0);
    on(name) && (CALLS.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(n)
}

/// Never.
#[cfg(not(feature = "mutations"))]
#[must_use]
pub const fn nth(_name: &str, _n: u64) -> bool {
    false
}

/// Refuses a `CHIRM_MUTATION` that is none; `none` and nothing at all are no bug.
///
/// # Errors
/// It isn't among [`NAMES`]; the message lists them.
#[cfg(feature = "mutations")]
pub fn check() -> anyhow::Result<()> {
    let chosen = chosen();
    if chosen.is_empty() || chosen == "none" || is_known(chosen) {
        return Ok(());
    }
    let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
    anyhow::bail!(
        "CHIRM_MUTATION={chosen} is no deliberate bug; these are: none, {}",
        names.join(", ")
    )
}

/// Ends the process as `kill -9` does, if `CHIRM_DIE_AT` names this step of a send and so many of
/// this process came to it: `CHIRM_DIE_AT=reserved:400`, or `persisted`, or `published`.
#[cfg(feature = "mutations")]
pub fn die_at(step: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static CHOSEN: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let text = std::env::var("CHIRM_DIE_AT").ok()?;
        let (step, count) = text.split_once(':')?;
        Some((step.to_owned(), count.parse().ok()?))
    });
    static CAME: AtomicU64 = AtomicU64::new(0);
    let Some((chosen, count)) = &*CHOSEN else {
        return;
    };
    if chosen == step && CAME.fetch_add(1, Ordering::Relaxed) + 1 == *count {
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(feature = "mutations"))]
pub const fn die_at(_step: &str) {}

#[cfg(feature = "mutations")]
fn chosen() -> &'static str {
    static CHOSEN: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("CHIRM_MUTATION").unwrap_or_default());
    &CHOSEN
}

#[cfg(feature = "mutations")]
fn is_known(name: &str) -> bool {
    NAMES.iter().any(|(known, _)| *known == name)
}
