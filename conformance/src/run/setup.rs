//! Who and what there is before the first step, by the public API alone.

use super::{Run, lock};
use crate::case::GivenServer;
use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

impl Run<'_> {
    pub(super) async fn set_up(&self) -> Result<()> {
        lock(&self.vars).set("key", Value::from(self.keys.service.clone()));
        if let Some(rest) = &self.caller.targets.rest {
            lock(&self.vars).set("origin", rest.page().into());
        }
        lock(&self.vars).set("carrier", self.carrier.name().into());
        for user in &self.case.given.users {
            self.user(user).await?;
        }
        let alone = self.case.given.servers.len() == 1;
        for (name, server) in &self.case.given.servers {
            let general = match &server.general {
                Some(general) => general.clone(),
                None if alone => "general".to_owned(),
                None => format!("general_{name}"),
            };
            self.server(name, server, &general).await?;
        }
        Ok(())
    }

    async fn user(&self, name: &str) -> Result<()> {
        let external = format!("conformance-{}", uuid::Uuid::now_v7());
        let request =
            json!({"external_id": external, "display_name": name, "device": "conformance"});
        let made = self.plain_call("key", "MintSession", request).await?;
        let token = made["tokens"]["access_token"].as_str().unwrap_or_default();
        let user = json!({
            "id": made["user"]["id"],
            "name": made["user"]["username"],
            "display_name": name,
            "external_id": external,
            "token": token,
            "refresh": made["tokens"]["refresh_token"],
            "session": made["tokens"]["session_id"],
        });
        lock(&self.tokens).insert(name.to_owned(), token.to_owned());
        lock(&self.vars).set(name, user);
        Ok(())
    }

    async fn server(&self, name: &str, given: &GivenServer, general: &str) -> Result<()> {
        let mut request: Map<_, _> = given.with.clone().into_iter().collect();
        request.entry("name").or_insert(name.into());
        let made = self
            .plain_call(&given.owner, "CreateServer", request.into())
            .await?;
        let id = made["server"]["id"].clone();
        lock(&self.vars).set(name, id.clone());
        lock(&self.vars).set(general, made["general_channel_id"].clone());
        for member in &given.members {
            let user = self.id(member)?;
            let request = json!({"server_id": id, "user_id": user});
            self.plain_call("key", "AddMember", request).await?;
        }
        for (member, role) in &given.roles {
            let request = json!({"server_id": id, "user_id": self.id(member)?, "role": role});
            self.plain_call(&given.owner, "UpdateMember", request)
                .await?;
        }
        for (channel, fields) in &given.channels {
            let mut request: Map<_, _> = fields.clone().into_iter().collect();
            let members = request.remove("members").unwrap_or(json!([]));
            let members = members.as_array().context("members are a list")?;
            let ids: Result<Vec<_>> = members
                .iter()
                .map(|name| self.id(name.as_str().unwrap_or_default()))
                .collect();
            request.insert("member_ids".to_owned(), ids?.into());
            request.insert("server_id".to_owned(), id.clone());
            request.entry("name").or_insert(channel.as_str().into());
            request.entry("type").or_insert("CHANNEL_TYPE_TEXT".into());
            let made = self
                .plain_call(&given.owner, "CreateChannel", request.into())
                .await?;
            lock(&self.vars).set(channel, made["channel"]["id"].clone());
        }
        Ok(())
    }

    fn id(&self, user: &str) -> Result<Value> {
        lock(&self.vars).get(&format!("{user}.id")).cloned()
    }

    /// A call that stands around a case, and must succeed.
    pub(super) async fn plain_call(&self, by: &str, method: &str, request: Value) -> Result<Value> {
        let token = self.token(by)?;
        match self
            .patient_call(method, token.as_deref(), &request)
            .await?
        {
            Ok(answer) => Ok(answer),
            Err(failure) => bail!("{method} was refused: {}", failure.to_case()),
        }
    }
}
