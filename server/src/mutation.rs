//! Deliberate bugs, for proving that the checkers fail when they should. Without the feature
//! `mutations` every one of them is compiled out.

/// Whether the bug of this name is switched on by `CHIRM_MUTATION`.
#[cfg(feature = "mutations")]
#[must_use]
pub fn on(name: &str) -> bool {
    static MUTATION: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("CHIRM_MUTATION").unwrap_or_default());
    *MUTATION == name
}

/// Never.
#[cfg(not(feature = "mutations"))]
#[must_use]
pub const fn on(_name: &str) -> bool {
    false
}
