//! The scripts: each one step of Redis.

use redis::Script;

macro_rules! scripts {
    ($($(#[doc = $doc:literal])+ $name:ident: $($file:literal)+;)*) => {
        /// All of them.
        pub(super) struct Scripts { $($(#[doc = $doc])+ pub(super) $name: Script,)* }

        impl Scripts {
            /// `tells`: whether they tell of what they do by Pub/Sub; else whoever calls them does.
            pub(super) fn new(tells: bool) -> Self {
                let tells = format!("local tells = {tells}\n");
                Self { $($name: Script::new(
                    &(tells.clone() + concat!($(include_str!(concat!("scripts/", $file))),+))
                ),)* }
            }
        }
    };
}

scripts! {
    /// A topic's position.
    position: "now.lua" "group.lua" "enter.lua" "position.lua";
    /// Its events after one.
    since: "now.lua" "group.lua" "enter.lua" "since.lua";
    /// A new event.
    publish: "now.lua" "group.lua" "enter.lua" "publish.lua";
    /// An event that the store numbered.
    relay: "now.lua" "group.lua" "enter.lua" "relay.lua";
    /// The first epoch of a group.
    found: "now.lua" "group.lua" "found.lua";
    /// What changed in a group.
    check: "now.lua" "group.lua" "check.lua";
    /// A new message's id.
    reserve: "now.lua" "group.lua" "enter.lua" "reserve.lua";
    /// A change's revision.
    revise: "now.lua" "group.lua" "enter.lua" "revise.lua";
    /// How far a channel's sends have ended.
    settled: "now.lua" "group.lua" "enter.lua" "settled.lua";
    /// The end of what wasn't written.
    end: "end.lua";
    /// What should have ended.
    overdue: "now.lua" "overdue.lua";
    /// How that ended.
    settle: "now.lua" "group.lua" "enter.lua" "settle.lua";
    /// A session that is good.
    put_session: "put_session.lua";
    /// A session that ended.
    end_session: "end_session.lua";
    /// Who is here.
    presence: "now.lua" "group.lua" "presence.lua";
}
