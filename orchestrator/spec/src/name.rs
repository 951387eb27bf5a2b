//! Validates names and addresses: they end up in /etc/hosts, resolv.conf, environments and file names, where a line
//! break would start another entry.
//!
//! Must not know: where a text stands.

/// One word of a line. `#` would make a comment of the rest.
pub fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#')
}

/// A host's name or a domain; the kernel keeps up to 64 bytes of them.
pub fn is_host(text: &str) -> bool {
    is_word(text) && text.len() <= 64
}

/// Container names, networks, volumes: also parts of paths and labels.
pub fn is_object(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain)
}

/// A network interface, as the kernel has it.
pub(crate) fn is_interface(text: &str) -> bool {
    is_word(text) && text.len() < 16 && !text.contains(['/', ':']) && !matches!(text, "." | "..")
}

/// A name in an environment: `NAME=VALUE`.
pub fn is_variable(text: &str) -> bool {
    !text.is_empty() && !text.contains(['=', '\0', '\n', '\r'])
}

/// `net.core.somaxconn`: a path below /proc/sys.
pub(crate) fn is_sysctl(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    !text.is_empty() && text.chars().all(plain) && !text.contains("..")
}

/// `02:42:ac:11:00:02`.
pub(crate) fn is_mac(text: &str) -> bool {
    let pairs: Vec<&str> = text.split([':', '-']).collect();
    pairs.len() == 6
        && pairs
            .iter()
            .all(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// What keeps a text from naming an image. Parts that are empty are passed over: a variable without a value leaves them.
pub(crate) fn image_problem(text: &str) -> Option<&'static str> {
    if text.contains("://") {
        return Some("it has a scheme, which images are named without");
    }
    let name = text.split_once('@').map_or(text, |(name, _)| name);
    // A colon before the last slash belongs to a port.
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = name[last..].find(':').map_or((name, ""), |at| {
        (&name[..last + at], &name[last + at + 1..])
    });
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !tag.chars().all(plain) || tag.starts_with(['.', '-']) || tag.len() > 128 {
        return Some("a tag has letters, digits, `_`, `.` and `-`, at most 128");
    }
    let is_registry =
        |part: &str| part == "localhost" || part.contains(['.', ':', '[']) || !is_lower(part);
    let path = name
        .split_once('/')
        .filter(|(host, _)| is_registry(host))
        .map_or(name, |(_, path)| path);
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    if !is_lower(path) {
        return Some("the name of a repository is in lower case");
    }
    let ends = |part: &str, c: Option<char>| {
        c.is_some_and(|c| c.is_ascii_alphanumeric()) && part.chars().all(plain)
    };
    let good = |part: &str| ends(part, part.chars().next()) && ends(part, part.chars().last());
    parts.any(|part| !good(part)).then_some(
        "a repository is named by letters, digits and single `.`, `_` and `-` in between",
    )
}

fn is_lower(text: &str) -> bool {
    !text.contains(|c: char| c.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_begins_another_line_is_a_name() {
        for bad in [
            "a\nb",
            "a\rb",
            "a b",
            "a\tb",
            "",
            "a\0",
            "a\u{2028}b",
            "a\u{85}b",
            "a#b",
            "a\u{b}b",
        ] {
            assert!(
                !is_word(bad) && !is_host(bad) && !is_object(bad) && !is_interface(bad),
                "{bad:?}"
            );
        }
        assert!(is_host("db_1.example") && is_host("münchen") && !is_host(&"x".repeat(65)));
        assert!(
            is_object("app-web.1_x") && !is_object("../x") && !is_object("-x") && !is_object("a/b")
        );
        assert!(is_variable("A.b-c d") && !is_variable("A=B"));
        assert!(
            is_sysctl("net.ipv4.conf.eth0.arp_filter")
                && !is_sysctl("net/../x")
                && !is_sysctl("net..x")
        );
        assert!(
            is_mac("02:42:ac:11:00:02")
                && !is_mac("02:42:ac:11:00")
                && !is_mac("02:42:ac:11:00:zz")
        );
        for good in [
            "nginx",
            "a/b_c:1.2-X",
            "localhost:5000/a@sha256:00",
            "GHCR.io/o/app",
            "app:",
            "/app",
            "",
            "[::1]:5000/a",
        ] {
            assert_eq!(image_problem(good), None, "{good}");
        }
        for bad in [
            "Nginx",
            "a b",
            "a:b c",
            "a/B",
            "ghcr.io/O/app",
            "-a",
            "a/_b",
            "a:-x",
            "a?b",
            "http://a/b",
        ] {
            assert!(image_problem(bad).is_some(), "{bad}");
        }
    }
}
