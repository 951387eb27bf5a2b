//! Names and addresses that are used verbatim on the host. Any that would start another line or path is refused here,
//! whether from a file or the API.

use crate::name;
use crate::node::Node;
use crate::report::Span;

use super::Reader;

const WORD: &str = "no spaces, line breaks or `#`";
const HOST: &str = "up to 64 bytes, without spaces, line breaks or `#`";

pub(super) fn service(reader: &mut Reader<'_>) {
    for key in ["hostname", "domainname"] {
        reader.named_well(key, "a host name", HOST, name::is_host);
    }
    reader.named_well(
        "container_name",
        "a container name",
        OBJECT,
        name::is_object,
    );
    for key in ["dns_search", "dns_opt"] {
        reader.each_word(key, "a word of resolv.conf", WORD, name::is_word);
    }
    reader.each_word("links", "a link", WORD, |link| {
        link.split(':').all(name::is_word)
    });
    hosts(reader);
    for (key, what, rule, good) in [
        (
            "environment",
            "a variable's name",
            "not empty, without `=` or line breaks",
            name::is_variable as fn(&str) -> bool,
        ),
        (
            "sysctls",
            "a kernel setting",
            "letters, digits, `_`, `-`, `:` and single dots",
            name::is_sysctl,
        ),
    ] {
        let wrong = reader.entries(key).iter().filter(|entry| !good(&entry.key));
        let wrong: Vec<(String, Span)> = wrong
            .map(|entry| (entry.key.clone(), entry.key_span))
            .collect();
        wrong
            .iter()
            .for_each(|(text, span)| reader.badly_named(key, text, *span, what, rule));
    }
}

const OBJECT: &str = "a letter or digit, then letters, digits, `.`, `_` and `-`";

/// `extra_hosts` of a service or a build. Of addresses that cannot be one, `plan` and `up` hear elsewhere.
pub(super) fn hosts(reader: &mut Reader<'_>) {
    reader.each_word("extra_hosts", "a host and its address", WORD, |text| {
        text.split_once('=')
            .is_some_and(|(host, address)| name::is_word(host) && name::is_word(address))
    });
}

/// A place on a network.
pub(super) fn attachment(reader: &mut Reader<'_>) {
    reader.each_word("aliases", "a host name", WORD, name::is_word);
    let rule = "up to 15 bytes, without spaces, `/` and `:`";
    reader.named_well(
        "interface_name",
        "a network interface",
        rule,
        name::is_interface,
    );
}

/// The real name of a network or volume becomes a link, a folder and a label.
pub(super) fn resource(reader: &mut Reader<'_>) {
    let Some(node) = reader.map.get("name") else {
        return;
    };
    let text = node.as_str().unwrap_or_default();
    if text.is_empty() || reader.report.trusts(text) || name::is_object(text) {
        return;
    }
    let message = format!(
        "`{}` cannot be the name of one of the {}",
        text.escape_debug(),
        reader.path[0]
    );
    let _ = reader.report.error("E0009", message).at(node.span, OBJECT);
}

impl Reader<'_> {
    fn named_well(&mut self, key: &str, what: &str, rule: &str, good: fn(&str) -> bool) {
        let Some((text, span)) = self
            .map
            .get(key)
            .and_then(|node| Some((node.scalar_text()?, node.span)))
        else {
            return;
        };
        if !text.is_empty() && !good(&text) {
            self.badly_named(key, &text, span, what, rule);
        }
    }

    fn each_word(&mut self, key: &str, what: &str, rule: &str, good: fn(&str) -> bool) {
        let texts = self
            .items(key)
            .iter()
            .filter_map(|node: &Node| Some((node.scalar_text()?, node.span)));
        let wrong: Vec<_> = texts.filter(|(text, _)| !good(text)).collect();
        wrong
            .iter()
            .for_each(|(text, span)| self.badly_named(key, text, *span, what, rule));
    }

    fn badly_named(&mut self, key: &str, text: &str, span: Span, what: &str, rule: &str) {
        if self.report.trusts(text) {
            return;
        }
        let message = format!(
            "`{}.{key}`: `{}` cannot be {what}",
            self.path.join("."),
            text.escape_debug()
        );
        let _ = self.report.error("E0009", message).at(span, rule);
    }
}
