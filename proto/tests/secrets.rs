//! What must not be printed isn't: by `Debug`, which logs and failed assertions use.

#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use chirm_proto::v1::{self, client_frame::Frame};
use prost_reflect::FieldDescriptor;

const SECRET: &str = "hush-hush";

fn secret() -> String {
    SECRET.to_owned()
}

#[test]
fn secrets_are_not_printed_wherever_they_stand() {
    let identify = v1::Identify {
        token: secret(),
        device: "phone".to_owned(),
        ..Default::default()
    };
    let frame = v1::ClientFrame {
        call_id: 7,
        frame: Some(Frame::Identify(identify)),
    };
    let tokens = v1::Tokens {
        session_id: 7,
        access_token: secret(),
        refresh_token: secret(),
        ..Default::default()
    };
    let login = v1::LoginResponse {
        user: None,
        tokens: Some(tokens),
    };
    let register = v1::RegisterRequest {
        username: "ann-7".to_owned(),
        password: secret(),
        ..Default::default()
    };
    let change = v1::ChangePasswordRequest {
        old_password: secret(),
        new_password: secret(),
    };
    let exchange = v1::ExchangeTokenRequest {
        jwt: secret(),
        device: "7".to_owned(),
    };
    for printed in [
        format!("{frame:?}"),
        format!("{login:#?}"),
        format!("{register:?}"),
        format!("{change:?}"),
        format!("{exchange:?}"),
    ] {
        assert!(!printed.contains(SECRET), "{printed}");
        assert!(printed.contains("[secret]"), "{printed}");
    }
    let printed = format!("{frame:?} {login:?} {register:?} {exchange:?}");
    for kept in ["\"phone\"", "session_id: 7", "\"ann-7\"", "device: \"7\""] {
        assert!(printed.contains(kept), "{printed}");
    }
    let empty = v1::Identify::default();
    assert!(format!("{empty:?}").contains("token: \"\""), "{empty:?}");
}

fn comment(field: &FieldDescriptor) -> String {
    let file = field.parent_file();
    let info = file.file_descriptor_proto().source_code_info.clone();
    let locations = info.into_iter().flat_map(|info| info.location);
    let mut at = locations.filter(|location| location.path == field.path());
    at.next().unwrap().leading_comments.unwrap_or_default()
}

/// The build goes by the comments.
#[test]
fn what_is_a_secret_by_its_name_is_called_one() {
    let mut secrets = 0;
    for message in chirm_proto::pool().all_messages() {
        if message.package_name() != "chirm.v1" {
            continue;
        }
        for field in message.fields() {
            let name = field.name();
            let page = name.ends_with("page_token");
            let secret = name.ends_with("password") || name.ends_with("token") || name == "jwt";
            if secret && !page {
                assert!(comment(&field).contains("Secret."), "{}", field.full_name());
                secrets += 1;
            }
        }
    }
    assert!(secrets >= 11, "the search found hardly any: {secrets}");
}
