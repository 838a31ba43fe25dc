//! Deliberate bugs, as in the server, whose list has these, too: what it reads and writes as JSON
//! is read and written here. Without the feature `mutations` they are compiled out.

/// Whether the bug of this name is switched on by `CHIRM_MUTATION`.
#[cfg(feature = "mutations")]
pub(crate) fn on(name: &str) -> bool {
    static CHOSEN: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("CHIRM_MUTATION").unwrap_or_default());
    *CHOSEN == name
}

/// Never.
#[cfg(not(feature = "mutations"))]
pub(crate) const fn on(_name: &str) -> bool {
    false
}

/// JSON whose times have lost their Z: all strings with a T between the date and the time.
pub(crate) fn without_z(json: &[u8]) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = json
        .split(|byte| *byte == b'"')
        .map(<[u8]>::to_vec)
        .collect();
    for part in &mut parts {
        if part.len() >= 20 && part[4] == b'-' && part[10] == b'T' && part.ends_with(b"Z") {
            part.pop();
        }
    }
    parts.join(&b'"')
}
