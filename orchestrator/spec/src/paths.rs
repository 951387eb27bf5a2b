//! Lexical work on paths: absolute, clean, `~`. Nothing is looked up.

/// Makes a path absolute from `dir` and removes `.`, `..` and doubled slashes. `~` is the user's home.
pub(crate) fn absolute(path: &str, dir: &str, home: Option<&str>) -> String {
    if let Some(rest) = path.strip_prefix('~')
        && (rest.is_empty() || rest.starts_with('/'))
        && let Some(home) = home
    {
        return clean(&format!("{home}/{rest}"));
    }
    if path.starts_with('/') {
        clean(path)
    } else {
        clean(&format!("{dir}/{path}"))
    }
}

/// Removes `.`, `..` and doubled slashes.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// The folder of a path.
pub(crate) fn parent(path: &str) -> String {
    match path.rfind('/') {
        Some(0) => "/".to_owned(),
        Some(slash) => path[..slash].to_owned(),
        None => ".".to_owned(),
    }
}

/// `C:\…` and `\\server\…`: left alone.
pub(crate) fn is_windows(path: &str) -> bool {
    let bytes = path.as_bytes();
    path.starts_with("\\\\")
        || (bytes.len() >= 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':')
}

/// A build context that is fetched from elsewhere.
pub(crate) fn is_remote(context: &str) -> bool {
    context.contains("://")
        || ["github.com/", "git@", "service:"]
            .iter()
            .any(|prefix| context.starts_with(prefix))
}
