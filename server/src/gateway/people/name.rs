//! How names compare in lists: by the root collation of Unicode (UTS 10), so that case and accents
//! decide only between names that are the same otherwise.

use icu_collator::{Collator, CollatorBorrowed};
use std::sync::LazyLock;

static COLLATOR: LazyLock<CollatorBorrowed<'static>> = LazyLock::new(|| {
    let root = Collator::try_new(Default::default(), Default::default());
    root.expect("the root collation is compiled in")
});

/// A name as a sort key: keys compare by bytes as the names compare.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NameKey(Box<[u8]>);

impl NameKey {
    pub(super) fn of(name: &str) -> Self {
        let mut key = Vec::with_capacity(name.len() * 2 + 4);
        let Ok(()) = COLLATOR.write_sort_key_to(name, &mut key);
        Self(key.into_boxed_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_as_people_expect() {
        let mut names = [
            "Zoë", "émile", "Emil", "zoe", "åsa", "Bert", "emile", "10", "Émile",
        ];
        names.sort_by_key(|name| NameKey::of(name));
        let expected = [
            "10", "åsa", "Bert", "Emil", "emile", "émile", "Émile", "zoe", "Zoë",
        ];
        assert_eq!(names, expected);
    }
}
