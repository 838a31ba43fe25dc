//! The rules for names, texts and what integrators attach: pure, the same for every path.
//!
//! Each answers the value to keep, or what is wrong with it, the actual size included.

use super::Metadata;
use unicode_normalization::UnicodeNormalization;

/// Characters of a server's or channel's description.
pub const DESCRIPTION_CHARS_MAX: usize = 1_024;
/// Characters of the reason of a ban, and of any other that moderators give.
pub const REASON_CHARS_MAX: usize = 512;
/// Characters of the reason of a report.
pub const REPORT_CHARS_MAX: usize = 1_024;
/// Seconds of a channel's slow mode.
pub const SLOW_MODE_S_MAX: i32 = 21_600;
/// Characters of a device's name.
pub const DEVICE_CHARS_MAX: usize = 100;
/// Characters of a password.
pub const PASSWORD_CHARS: std::ops::RangeInclusive<usize> = 8..=256;
/// Characters of an integrator's own user id.
pub const EXTERNAL_ID_CHARS_MAX: usize = 128;
/// Characters of a metadata key, and of a custom event's name.
pub const KEY_CHARS_MAX: usize = 64;
/// Characters of a reaction.
pub const EMOJI_CHARS_MAX: usize = 64;
/// Bytes of a reaction.
pub const EMOJI_BYTES_MAX: usize = 256;
/// Kinds of reactions of a message.
pub const REACTIONS_MAX: usize = 20;
/// Pinned messages of a channel.
pub const PINS_MAX: u32 = 50;
/// Open invitations of a server.
pub const INVITES_MAX: u32 = 1_000;
/// Users whom a user blocks.
pub const BLOCKS_MAX: u32 = 1_000;
/// Users that a message can mention.
pub const MENTIONS_MAX: usize = 100;

/// A name of a user, server or channel: NFC, trimmed, 1 to `max` characters, nothing invisible or
/// turning the direction of text.
pub fn name(text: &str, max: usize) -> Result<String, String> {
    // The length is bounded before the work of normalising is.
    if text.len() > max.saturating_mul(16) {
        return Err(format!(
            "{} bytes; 1 to {max} characters are allowed",
            text.len()
        ));
    }
    let name: String = text.trim().nfc().collect();
    let chars = name.chars().count();
    if chars == 0 || chars > max {
        return Err(format!("{chars} characters; 1 to {max} are allowed"));
    }
    refuse_hidden(&name, |_| false)?;
    Ok(name)
}

/// Refuses what doesn't show, but for some.
fn refuse_hidden(text: &str, but: impl Fn(char) -> bool) -> Result<(), String> {
    match text.chars().find(|c| is_hidden(*c) && !but(*c)) {
        Some(c) => Err(format!(
            "U+{:04X} is a control, invisible or direction-changing character",
            u32::from(c)
        )),
        None => Ok(()),
    }
}

/// What makes two usernames the same: without case, compatibility forms, marks that don't show,
/// and the commonest confusable letters of Cyrillic and Greek and figures. It isn't all of UTS
/// #39: rarer look-alikes pass.
#[must_use]
pub fn name_key(name: &str) -> String {
    let lowered: String = name.nfkd().flat_map(char::to_lowercase).collect();
    let shown: String = lowered
        .nfkd()
        .filter(|c| !c.is_whitespace() && !is_hidden(*c))
        .map(skeleton)
        .collect();
    // Marks that a space kept apart now stand together, and have an order.
    shown.nfkd().collect()
}

/// The Latin letter that a character is easily taken for.
fn skeleton(c: char) -> char {
    match c {
        'а' | 'α' | 'ɑ' => 'a',
        'в' | 'β' => 'b',
        'с' | 'ϲ' => 'c',
        'ԁ' => 'd',
        'е' | 'ё' | 'ε' => 'e',
        'һ' | 'н' | 'η' => 'h',
        'і' | 'ї' | 'ι' | 'ı' | '1' | 'l' | '|' | 'ӏ' => 'i',
        'ј' => 'j',
        'к' | 'κ' => 'k',
        'м' | 'μ' => 'm',
        'ո' => 'n',
        'о' | 'ο' | 'σ' | '0' | 'օ' => 'o',
        'р' | 'ρ' => 'p',
        'ԛ' => 'q',
        'ѕ' => 's',
        'т' | 'τ' => 't',
        'υ' | 'ս' => 'u',
        'ν' | 'ѵ' => 'v',
        'ԝ' | 'ω' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'γ' | 'ү' => 'y',
        'ᴢ' => 'z',
        other => other,
    }
}

/// Control, invisible and direction-changing characters; names are one visible line.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}'
            | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Characters by which emoji are made of others.
fn joins(c: char) -> bool {
    matches!(c, '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0020}'..='\u{e007f}')
}

/// A user's words of its presence: one visible line of at most `max` characters, or none.
pub fn words(words: &str, max: usize) -> Result<(), String> {
    text(words, max)?;
    refuse_hidden(words, joins)
}

/// A reaction: NFC, 1 to 64 characters without spaces. Emoji are made of characters that don't
/// show by themselves (joiners, variation selectors, tags), so those are allowed beside one that
/// does.
pub fn emoji(text: &str) -> Result<String, String> {
    let (chars_max, bytes_max) = (EMOJI_CHARS_MAX, EMOJI_BYTES_MAX);
    // The length is bounded before the work of normalising is.
    if text.len() > bytes_max {
        return Err(format!(
            "{} bytes; at most {bytes_max} are allowed",
            text.len()
        ));
    }
    let emoji: String = text.nfc().collect();
    let chars = emoji.chars().count();
    if chars == 0 || chars > chars_max || emoji.len() > bytes_max {
        return Err(format!(
            "{chars} characters; 1 to {chars_max}, {bytes_max} bytes, are allowed"
        ));
    }
    if let Some(c) = emoji
        .chars()
        .find(|c| c.is_whitespace() || (is_hidden(*c) && !joins(*c)))
    {
        return Err(format!(
            "U+{:04X} is a space, or a control, invisible or direction-changing character",
            u32::from(c)
        ));
    }
    if emoji.chars().all(joins) {
        return Err(format!("{chars} characters, none of which shows"));
    }
    Ok(emoji)
}

/// A text that may be empty, of at most `max` characters, as it is.
pub fn text(text: &str, max: usize) -> Result<(), String> {
    if text.contains('\0') {
        return Err("U+0000 is in it, which not every database can hold".into());
    }
    if text.len() <= max {
        return Ok(());
    }
    let chars = text.chars().count();
    if chars <= max {
        return Ok(());
    }
    Err(format!("{chars} characters; at most {max} are allowed"))
}

/// A message's content: never changed.
pub fn content(text: &str, chars_max: usize, bytes_max: usize) -> Result<(), String> {
    if text.len() > bytes_max {
        return Err(format!(
            "{} bytes; at most {bytes_max} are allowed",
            text.len()
        ));
    }
    // As many bytes are at least as many characters.
    if text.len() <= chars_max && !text.is_empty() {
        return Ok(());
    }
    let chars = text.chars().count();
    if chars == 0 || chars > chars_max {
        return Err(format!("{chars} characters; 1 to {chars_max} are allowed"));
    }
    Ok(())
}

/// What an integrator attached.
pub fn metadata(metadata: &Metadata, keys_max: usize, bytes_max: usize) -> Result<(), String> {
    if metadata.len() > keys_max {
        return Err(format!(
            "{} keys; at most {keys_max} are allowed",
            metadata.len()
        ));
    }
    let mut bytes = 0;
    for (key, value) in metadata {
        let chars = key.chars().count();
        if chars == 0 || chars > KEY_CHARS_MAX {
            return Err(format!(
                "a key of {chars} characters; 1 to {KEY_CHARS_MAX} are allowed"
            ));
        }
        bytes += key.len() + value.len();
    }
    if bytes > bytes_max {
        return Err(format!(
            "{bytes} bytes in all; at most {bytes_max} are allowed"
        ));
    }
    Ok(())
}

/// A nonce or request id: empty, or a UUID as 36 characters.
pub fn uuid(text: &str) -> Result<(), String> {
    if text.is_empty() || (text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()) {
        return Ok(());
    }
    Err(format!("{} bytes; a UUID as 36 characters is", text.len()))
}

/// A password.
pub fn password(text: &str) -> Result<(), String> {
    let chars = if text.len() > 4 * PASSWORD_CHARS.end() {
        text.len()
    } else {
        text.chars().count()
    };
    if PASSWORD_CHARS.contains(&chars) {
        return Ok(());
    }
    let (least, most) = (PASSWORD_CHARS.start(), PASSWORD_CHARS.end());
    Err(format!("{chars} characters; {least} to {most} are allowed"))
}

/// An integrator's own user id.
pub fn external_id(text: &str) -> Result<(), String> {
    let chars = text.chars().count();
    if chars == 0 || chars > EXTERNAL_ID_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(format!(
            "{chars} characters; 1 to {EXTERNAL_ID_CHARS_MAX} without control characters \
             are allowed"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_normal_visible_and_of_one_line() {
        assert_eq!(name(" e\u{301}a ", 100).as_deref(), Ok("éa"));
        assert_eq!(name(&"x".repeat(100), 100).map(|n| n.len()), Ok(100));
        let long = name(&"ä".repeat(101), 100);
        assert_eq!(long, Err("101 characters; 1 to 100 are allowed".to_owned()));
        for bad in [
            "",
            "  ",
            "a\nb",
            "a\u{202e}b",
            "a\u{200b}b",
            "a\u{0}b",
            "\u{2066}x",
        ] {
            assert!(name(bad, 100).is_err(), "{bad:?}");
        }
        assert!(name(&"x".repeat(1 << 20), 100).is_err());
    }

    #[test]
    fn look_alikes_have_one_key() {
        let key = name_key("Paypal_1");
        for other in ["paypal_1", "ΡAYPAL_l", "раураl_I", "ｐａｙｐａｌ_1"] {
            assert_eq!(name_key(other), key, "{other}");
        }
        assert_ne!(name_key("anna"), name_key("hanna"));
    }

    #[test]
    fn a_text_is_counted_in_characters_and_has_no_nul() {
        assert_eq!(text("", 2), Ok(()));
        assert_eq!(text("ä\n", 2), Ok(()));
        assert!(text("äöü", 2).is_err_and(|problem| problem.starts_with("3 characters")));
        assert!(text("a\0", 2).is_err_and(|problem| problem.contains("U+0000")));
    }

    #[test]
    fn a_reaction_is_an_emoji_or_a_word() {
        for good in [
            "\u{1f44d}",
            "\u{2764}\u{fe0f}",
            "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
            "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e007f}",
            "1\u{fe0f}\u{20e3}",
            ":party_parrot:",
            "game/icon?7",
        ] {
            assert_eq!(emoji(good).as_deref(), Ok(good));
        }
        assert_eq!(emoji("e\u{301}").as_deref(), Ok("é"), "one look, one kind");
        assert_eq!(emoji(&"\u{1f44d}".repeat(64)).map(|e| e.len()), Ok(256));
        for bad in [
            "",
            " ",
            "a b",
            "a\n",
            "\u{0}",
            "\u{202e}x",
            "\u{200b}x",
            "\u{200d}",
            "\u{fe0f}",
        ] {
            assert!(emoji(bad).is_err(), "{bad:?}");
        }
        let long = emoji(&"x".repeat(65));
        assert!(long.is_err_and(|problem| problem.starts_with("65 characters")));
        let large = emoji(&"\u{1f44d}".repeat(65));
        assert!(large.is_err_and(|problem| problem.starts_with("260 bytes")));
        // Some characters grow when they are normalised.
        assert!(emoji(&"\u{1d160}".repeat(64)).is_err());
    }

    #[test]
    fn contents_are_counted_in_characters_and_bytes() {
        assert_eq!(content("ä", 1, 2), Ok(()));
        assert_eq!(
            content("", 4_000, 16_384),
            Err("0 characters; 1 to 4000 are allowed".into())
        );
        assert!(content(&"x".repeat(4_001), 4_000, 16_384).is_err_and(|e| e.starts_with("4001")));
        assert_eq!(content(&"😀".repeat(4_000), 4_000, 16_384), Ok(()));
        assert!(
            content(&"😀".repeat(5_000), 4_000, 16_384).is_err_and(|e| e.contains("20000 bytes"))
        );
    }

    #[test]
    fn nonces_are_uuids() {
        assert_eq!(uuid(""), Ok(()));
        assert_eq!(uuid("0190163d-8694-739b-aea5-966c26f8ad91"), Ok(()));
        assert!(uuid("x").is_err());
        assert!(uuid("{190163d-8694-739b-aea5-966c26f8ad91").is_err());
    }

    #[test]
    fn a_key_has_its_marks_in_order_where_a_space_went() {
        let key = name_key("Ἐ\u{1fdd}\u{ec8}");
        assert_eq!(name_key(&key), key);
    }

    proptest! {
        #[test]
        fn a_name_that_passed_passes_again_and_keeps_its_key(text in "\\PC{0,40}") {
            if let Ok(kept) = name(&text, 100) {
                prop_assert_eq!(name(&kept, 100), Ok(kept.clone()));
                let key = name_key(&kept);
                prop_assert_eq!(name_key(&key), key);
            }
        }
    }
}
