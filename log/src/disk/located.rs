//! What went wrong, and where, said once.

use std::fmt::Display;
use std::path::Path;

/// A text with its path before it, unless it names the path, or one inside it, already: what a disk
/// says does.
pub(crate) fn located(path: &Path, text: &dyn Display) -> String {
    let (path, text) = (path.display().to_string(), text.to_string());
    if text.contains(&path) { text } else { format!("{path}: {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_said_once() {
        let dir = Path::new("/data");
        assert_eq!(located(dir, &"no space left"), "/data: no space left");
        let inside = "/data/LOCK: open: permission denied";
        assert_eq!(located(dir, &inside), inside);
    }
}
