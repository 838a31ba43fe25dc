//! Changes of what may be seen.

use super::*;

impl Play {
    pub(super) async fn rights(&mut self) {
        let servers: Vec<Id> = self.truth.servers.keys().copied().collect();
        let server = servers[self.rng.random_range(0..servers.len())];
        if self.rng.random_bool(0.2) {
            return self.places(server).await;
        }
        let user = self.rng.random_range(0..USERS);
        let (id, caller) = (self.ids[user], self.caller(user));
        let there = &self.truth.servers[&server];
        let boss = self.caller(there.owner);
        let domain = self.node.domain.clone();
        if user == there.owner {
            return;
        }
        if there.banned.contains(&user) {
            let lift = |truth: &mut Truth| {
                truth.server(server).banned.remove(&user);
            };
            self.change(lift, domain.unban_user(&boss, server, id))
                .await;
        } else if there.role(user).is_none() {
            let join = |truth: &mut Truth| {
                truth.server(server).members.insert(user, Role::Member);
            };
            self.change(join, domain.join_by_id(&caller, server)).await;
            self.happened(WebhookEvent::MemberJoined, Thing::Server(server), id);
        } else {
            self.member_rights(server, user, &boss).await;
        }
    }

    /// A change of what a member may do, or its end.
    async fn member_rights(&mut self, server: Id, user: usize, boss: &Caller) {
        let (id, caller) = (self.ids[user], self.caller(user));
        let domain = self.node.domain.clone();
        let out = |truth: &mut Truth| truth.server(server).lose(user);
        match self.rng.random_range(0..6) {
            0 => self.change(out, domain.leave_server(&caller, server)).await,
            1 => {
                let kick = domain.kick_member(boss, server, id, String::new());
                self.change(out, kick).await;
            }
            2 => {
                let ban = domain.ban_user(boss, server, id, String::new(), 0);
                let out = |truth: &mut Truth| {
                    out(truth);
                    truth.server(server).banned.insert(user);
                };
                self.change(out, ban).await;
            }
            3 => {
                let roles = [Role::Member, Role::Moderator, Role::Admin];
                let role = roles[self.rng.random_range(0..3)];
                let set = |truth: &mut Truth| {
                    truth.server(server).members.insert(user, role);
                };
                self.change(set, domain.update_member(boss, server, id, role))
                    .await;
            }
            _ => self.private_rights(server, user, boss).await,
        }
        if self.truth.servers[&server].role(user).is_none() {
            self.happened(WebhookEvent::MemberLeft, Thing::Server(server), id);
        }
    }

    /// A member is named in the private channel, or not any more.
    async fn private_rights(&mut self, server: Id, user: usize, boss: &Caller) {
        let (id, domain) = (self.ids[user], self.node.domain.clone());
        let Some((private, named)) = &self.truth.servers[&server].private else {
            return;
        };
        let (private, there) = (*private, named.contains(&user));
        let change = |truth: &mut Truth| {
            let private = truth.server(server).private.as_mut();
            let (_, named) = private.expect("there");
            if there {
                named.remove(&user);
            } else {
                named.insert(user);
            }
        };
        if there {
            let call = domain.remove_channel_member(boss, private, id);
            self.change(change, call).await;
        } else {
            let call = domain.add_channel_member(boss, private, id);
            self.change(change, call).await;
        }
    }

    /// A private channel goes or comes; or a server goes, and another comes.
    async fn places(&mut self, server: Id) {
        let there = &self.truth.servers[&server];
        let (owner, kept) = (there.owner, server == self.webhooks.kept_server);
        let boss = self.caller(owner);
        let domain = self.node.domain.clone();
        if !kept && self.rng.random_bool(0.4) {
            let gone = |truth: &mut Truth| {
                truth.servers.remove(&server);
                truth.webhooks.retain(|_, webhook| webhook.server != server);
            };
            self.note_waiting(|webhook| webhook.server == server).await;
            self.change(gone, domain.delete_server(&boss, server)).await;
            return self.found_server(owner).await;
        }
        if let Some((private, _)) = there.private {
            let gone = |truth: &mut Truth| truth.server(server).private = None;
            return self
                .change(gone, domain.delete_channel(&boss, private))
                .await;
        }
        let members: Vec<usize> = there.members.keys().copied().collect();
        let mut named = BTreeSet::new();
        for user in members {
            if user != owner && self.rng.random_bool(0.3) {
                named.insert(user);
            }
        }
        self.found_private(server, named).await;
    }
}
