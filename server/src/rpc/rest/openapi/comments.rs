//! The comments of the .proto files, out of the descriptors' source info.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, FileDescriptor};

/// Leading comments by file and path of descriptor.
pub(super) struct Comments(HashMap<(String, Vec<i32>), String>);

impl Comments {
    pub(super) fn new(pool: &DescriptorPool) -> Self {
        let mut comments = HashMap::new();
        for file in pool.files() {
            let Some(info) = &file.file_descriptor_proto().source_code_info else {
                continue;
            };
            for location in &info.location {
                if let Some(text) = &location.leading_comments {
                    comments.insert((file.name().to_owned(), location.path.clone()), tidy(text));
                }
            }
        }
        Self(comments)
    }

    /// The comment of a descriptor, given its `path()`; empty if there is none.
    pub(super) fn of(&self, file: &FileDescriptor, path: &[i32]) -> &str {
        self.0
            .get(&(file.name().to_owned(), path.to_vec()))
            .map_or("", String::as_str)
    }
}

/// One paragraph a paragraph, without directives for tools.
fn tidy(comment: &str) -> String {
    let lines = comment
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("buf:"));
    let mut text = String::new();
    for line in lines {
        let separator = match (text.is_empty() || text.ends_with('\n'), line.is_empty()) {
            (true, _) => "",
            (false, true) => "\n\n",
            (false, false) => " ",
        };
        text.push_str(separator);
        text.push_str(line);
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_paragraphs() {
        let comment = " One\n two.\n\n Three.\n buf:lint:ignore X\n";
        assert_eq!(tidy(comment), "One two.\n\nThree.");
        assert_eq!(tidy(""), "");
    }
}
