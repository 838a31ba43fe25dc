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
    position: "enter.lua" "position.lua";
    /// Its events after one.
    since: "enter.lua" "since.lua";
    /// A new event.
    publish: "enter.lua" "publish.lua";
    /// An event that the store numbered.
    relay: "enter.lua" "relay.lua";
    /// The first epoch of a group.
    found: "found.lua";
    /// What changed in a group.
    check: "check.lua";
    /// A new message's id.
    reserve: "enter.lua" "reserve.lua";
    /// A change's revision.
    revise: "enter.lua" "revise.lua";
    /// The end of what wasn't written.
    end: "end.lua";
    /// What should have ended.
    overdue: "overdue.lua";
    /// How that ended.
    settle: "enter.lua" "settle.lua";
    /// A session that is good.
    put_session: "put_session.lua";
    /// A session that ended.
    end_session: "end_session.lua";
    /// Who is here.
    presence: "presence.lua";
}
