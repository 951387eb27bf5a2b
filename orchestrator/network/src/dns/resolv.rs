//! resolv.conf: which servers to ask, and how patiently.

use std::net::IpAddr;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ResolvConf {
    pub(crate) servers: Vec<IpAddr>,
    pub(crate) search: Vec<String>,
    pub(crate) options: Vec<String>,
}

/// Unknown lines are skipped, as the C library does; a zone suffix (`fe80::1%eth0`) cannot be asked and is left out.
pub(crate) fn parse(text: &str) -> ResolvConf {
    let mut conf = ResolvConf::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => conf
                .servers
                .extend(words.next().and_then(|word| word.parse::<IpAddr>().ok())),
            // The last line wins.
            Some("search" | "domain") => conf.search = words.map(str::to_owned).collect(),
            Some("options") => conf.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    conf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_unknown_lines_and_bad_servers_are_skipped() {
        let text = "# hi\nnameserver 10.0.0.1 # first\nnameserver nonsense\nnameserver ::1\nsortlist x\n\
                    search a.example\nsearch b.example c.example\noptions ndots:2 edns0\n";
        let conf = parse(text);
        assert_eq!(
            conf.servers,
            [
                "10.0.0.1".parse::<IpAddr>().unwrap(),
                "::1".parse().unwrap()
            ]
        );
        assert_eq!(conf.search, ["b.example", "c.example"]);
        assert_eq!(conf.options, ["ndots:2", "edns0"]);
    }
}
