//! Whom a content mentions.

use super::{Id, Role};
use std::collections::BTreeSet;

/// Users that a message can mention.
const USERS_MAX: usize = 100;

/// Whom a content mentions.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Mentions {
    /// Users, as `<@id>`: each once, in order; at most 100.
    pub users: Vec<Id>,
    /// Roles and everyone.
    pub groups: Groups,
}

/// The groups that a message mentions: everyone, and members of roles. The bit of everyone is the
/// lowest, that of a role the one of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Groups(u8);

impl Groups {
    const EVERYONE: u8 = 1;
    /// Those that can be mentioned, lowest first. All members are everyone.
    const ROLES: [(Role, &'static str); 3] = [
        (Role::Moderator, "moderator"),
        (Role::Admin, "admin"),
        (Role::Owner, "owner"),
    ];

    /// Of stored bits; unknown ones are passed over.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        let roles = Self::ROLES
            .iter()
            .fold(0, |all, (role, _)| all | bit(*role));
        Self(bits & (Self::EVERYONE | roles))
    }

    /// As stored.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether it is nobody.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether everyone is mentioned.
    #[must_use]
    pub fn everyone(self) -> bool {
        self.0 & Self::EVERYONE != 0
    }

    /// The same without everyone.
    #[must_use]
    pub fn without_everyone(self) -> Self {
        Self(self.0 & !Self::EVERYONE)
    }

    /// The same without roles.
    #[must_use]
    pub fn without_roles(self) -> Self {
        Self(self.0 & Self::EVERYONE)
    }

    /// The roles mentioned, lowest first.
    pub fn roles(self) -> impl Iterator<Item = Role> {
        let all = Self::ROLES.into_iter().map(|(role, _)| role);
        all.filter(move |role| self.0 & bit(*role) != 0)
    }

    /// The least role whose members are mentioned: a role's mention is also one of those above it.
    /// None: nobody.
    #[must_use]
    pub fn least_role(self) -> Option<Role> {
        if self.everyone() {
            return Some(Role::Member);
        }
        self.roles().next()
    }

    fn add(&mut self, name: &str) {
        if name == "everyone" {
            self.0 |= Self::EVERYONE;
        } else if let Some(role) = name.strip_prefix('&') {
            let known = Self::ROLES.iter();
            for (known, _) in known.filter(|(_, name)| name.eq_ignore_ascii_case(role)) {
                self.0 |= bit(*known);
            }
        }
    }
}

fn bit(role: Role) -> u8 {
    1 << role as u8
}

impl Mentions {
    /// What a content says, whoever wrote it.
    #[must_use]
    pub fn of(content: &str) -> Self {
        let mut seen = BTreeSet::new();
        let mut found = Self::default();
        for part in content.split("<@").skip(1) {
            let Some((name, _)) = part.split_once('>') else {
                continue;
            };
            let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
            if !plain {
                found.groups.add(name);
                continue;
            }
            match name.parse::<Id>() {
                Ok(id) if id > 0 && found.users.len() < USERS_MAX && seen.insert(id) => {
                    found.users.push(id);
                }
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_parsed_once_each() {
        let text = "<@12> hi <@7><@12> <@x> <@-1> <@+4> <@0> <@99999999999999999999> <@3";
        assert_eq!(Mentions::of(text).users, [12, 7]);
        let many: String = (1..500).map(|i| format!("<@{i}>")).collect();
        assert_eq!(Mentions::of(&many).users.len(), USERS_MAX);
    }

    #[test]
    fn groups_are_parsed_by_name() {
        let groups = |text| Mentions::of(text).groups;
        let of = |text| {
            (
                groups(text).everyone(),
                groups(text).roles().collect::<Vec<_>>(),
            )
        };
        assert_eq!(of("hi <@everyone>"), (true, vec![]));
        let roles = vec![Role::Moderator, Role::Admin];
        assert_eq!(of("<@&ADMIN> <@&moderator><@&admin>"), (false, roles));
        for text in [
            "<@&member>",
            "@everyone",
            "<@&everyone>",
            "<@admin>",
            "<@&>",
            "<@&owner",
        ] {
            assert_eq!(of(text), (false, vec![]), "{text}");
        }
        assert_eq!(groups("<@&owner>").least_role(), Some(Role::Owner));
        assert_eq!(
            groups("<@&owner> <@&admin>").least_role(),
            Some(Role::Admin)
        );
        assert_eq!(
            groups("<@&owner> <@everyone>").least_role(),
            Some(Role::Member)
        );
        assert_eq!(groups("").least_role(), None);
    }

    #[test]
    fn groups_are_kept_as_bits() {
        let all = Mentions::of("<@everyone><@&moderator><@&admin><@&owner>").groups;
        assert_eq!(Groups::from_bits(all.bits()), all);
        assert_eq!(Groups::from_bits(0xff), all);
        assert!(all.without_everyone().without_roles().is_empty());
        assert!(all.without_roles().everyone());
    }
}
