//! What the document says of every text that a request has: a slip in a comment shows here.

use std::collections::BTreeSet;

use serde_json::Value;

use super::as_served;

/// Operation, field, its limits, and `!` where it is required.
const TEXTS: &[&str] = &[
    "AddReaction?emoji 1..64!",
    "BanUser.reason 0..512",
    "BulkDeleteMessages.reason 0..512",
    "ChangePassword.newPassword 8..256!",
    "ChangePassword.oldPassword any!",
    "ClearReactions?emoji 0..64",
    "CreateBot.displayName 0..100",
    "CreateBot.requestId uuid",
    "CreateBot.username 1..100!",
    "CreateChannel.description 0..1024",
    "CreateChannel.name 0..100",
    "CreateChannel.requestId uuid",
    "CreateInvite.requestId uuid",
    "CreateServer.description 0..1024",
    "CreateServer.name 1..100!",
    "CreateServer.requestId uuid",
    "CreateWebhook.requestId uuid",
    "CreateWebhook.url any!",
    "DeleteAccount.password any",
    "EditMessage.content 1..4000!",
    "ExchangeToken.device 0..100",
    "ExchangeToken.jwt any!",
    "JoinServer.inviteCode any",
    "KickMember?reason 0..512",
    "ListAuditLog?page_token any",
    "ListBans?page_token any",
    "ListBlocks?page_token any",
    "ListBots?page_token any",
    "ListChannels?page_token any",
    "ListChannels_2?page_token any",
    "ListDeadLetters?page_token any",
    "ListInvites?page_token any",
    "ListMembers?page_token any",
    "ListPins?page_token any",
    "ListReactions?emoji 1..64!",
    "ListReactions?page_token any",
    "ListReports?page_token any",
    "ListServers?page_token any",
    "ListSessions?page_token any",
    "ListUnread?page_token any",
    "ListWebhooks?page_token any",
    "Login.device 0..100",
    "Login.password any!",
    "Login.username any!",
    "LookupUser?username 1..100!",
    "MintSession.device 0..100",
    "MintSession.displayName 0..100",
    "MintSession.externalId 0..128",
    "Refresh.refreshToken any!",
    "Register.device 0..100",
    "Register.displayName 0..100",
    "Register.inviteCode any",
    "Register.password 8..256!",
    "Register.username 1..100!",
    "RemoveReaction?emoji 1..64!",
    "ReportMessage.reason 1..1024!",
    "ResolveReport.note 0..512",
    "RevokeInvite?code any!",
    "SendCustomEvent.name 1..64!",
    "SendMessage.content 1..4000!",
    "SendMessage.nonce uuid",
    "SetPresence.text 0..128",
    "TimeOutMember.reason 0..512",
    "UpdateChannel.channel.description any",
    "UpdateChannel.channel.name any",
    "UpdateProfile.user.displayName any",
    "UpdateProfile.user.username any",
    "UpdateServer.server.description any",
    "UpdateServer.server.name any",
    "UpdateWebhook.webhook.disabledReason any",
    "UpdateWebhook.webhook.url any",
];

/// The schema's limits in short: `1..100`, `uuid`, or nothing.
fn limits(schema: &Value) -> String {
    if let Some(format) = schema["format"].as_str() {
        return format.to_owned();
    }
    match (schema["minLength"].as_u64(), schema["maxLength"].as_u64()) {
        (Some(least), Some(most)) => format!("{least}..{most}"),
        (None, None) => "any".to_owned(),
        half => panic!("{half:?}"),
    }
}

/// Whether a schema is a text as such: not a number, a time or a mask, which are texts in JSON.
fn is_text(schema: &Value) -> bool {
    let format = schema["format"].as_str();
    schema["type"] == "string"
        && schema.get("pattern").is_none()
        && schema.get("contentEncoding").is_none()
        && !matches!(format, Some("date-time"))
}

/// Adds the texts of a request's body, those of the messages within included.
fn of_body(document: &Value, schema: &Value, path: &str, into: &mut BTreeSet<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap(),
        None => schema,
    };
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        if is_text(field) {
            let needed = if required.contains(&Value::from(name.as_str())) {
                "!"
            } else {
                ""
            };
            into.insert(format!("{path}.{name} {}{needed}", limits(field)));
        }
        of_body(document, field, &format!("{path}.{name}"), into);
    }
}

#[test]
fn every_text_of_a_request_has_the_limits_that_hold() {
    let document = as_served().openapi();
    let mut found = BTreeSet::new();
    for operation in document["paths"].as_object().unwrap().values() {
        for operation in operation.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            let id = id.split_once("Service_").unwrap().1;
            for parameter in operation["parameters"].as_array().unwrap() {
                if is_text(&parameter["schema"]) {
                    let (name, limits) = (&parameter["name"], limits(&parameter["schema"]));
                    let needed = if parameter["required"] == true {
                        "!"
                    } else {
                        ""
                    };
                    let name = name.as_str().unwrap();
                    found.insert(format!("{id}?{name} {limits}{needed}"));
                }
            }
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            of_body(&document, body, id, &mut found);
        }
    }
    let listed: BTreeSet<_> = TEXTS.iter().map(|text| (*text).to_owned()).collect();
    let (new, gone): (Vec<_>, Vec<_>) = (
        found.difference(&listed).collect(),
        listed.difference(&found).collect(),
    );
    assert!(
        new.is_empty() && gone.is_empty(),
        "new: {new:#?}, gone: {gone:#?}"
    );
}
