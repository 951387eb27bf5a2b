//! Between the table and the wire: what a packet asks, and the packet that answers it.

use std::net::Ipv4Addr;

use hickory_proto::op::{Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::zone::{Answer, Question};

/// Nobody should hold on to an address: it changes with the next container.
const TTL: u32 = 1;
const HEADER: usize = 12;

/// A query that was understood.
pub(crate) struct Asked {
    message: Message,
    query: Query,
    /// Lower case, without the final dot.
    name: String,
}

/// What to do with a packet.
pub(crate) enum Incoming {
    Query(Box<Asked>),
    /// Say this at once.
    Reply(Vec<u8>),
    /// Not even a header, or not a query.
    Ignore,
}

pub(crate) fn read(packet: &[u8]) -> Incoming {
    let Ok(message) = Message::from_vec(packet) else {
        return header_only(packet, ResponseCode::FormErr);
    };
    if message.metadata.message_type != MessageType::Query {
        return Incoming::Ignore;
    }
    let [query] = message.queries.as_slice() else {
        return header_only(packet, ResponseCode::FormErr);
    };
    let query = query.clone();
    let transfer = matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR);
    if message.metadata.op_code != OpCode::Query || query.query_class() != DNSClass::IN || transfer
    {
        return Incoming::Reply(encode(&reply(&message, ResponseCode::NotImp)));
    }
    let name = query.name().to_ascii().to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name).to_owned();
    Incoming::Query(Box::new(Asked {
        message,
        query,
        name,
    }))
}

impl Asked {
    pub(crate) fn question(&self) -> Question<'_> {
        match self.query.query_type() {
            RecordType::A | RecordType::ANY => Question::Addresses(&self.name),
            RecordType::PTR => match reverse(&self.name) {
                Some(address) => Question::Reverse(address),
                None => Question::Other(&self.name),
            },
            _ => Question::Other(&self.name),
        }
    }

    /// The answer as a packet of at most `limit` bytes for datagrams; None is to be forwarded.
    pub(crate) fn answer(&self, answer: &Answer, datagram: bool) -> Option<Vec<u8>> {
        let code = match answer {
            Answer::Addresses(_) | Answer::Name(_) | Answer::Nothing => ResponseCode::NoError,
            Answer::NoSuchName => ResponseCode::NXDomain,
            // Not NXDOMAIN: the name may exist, it just cannot be known here.
            Answer::NoWayOut => ResponseCode::ServFail,
            Answer::Forward(_) => return None,
        };
        let mut response = reply(&self.message, code);
        response.metadata.authoritative =
            matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
        response.answers = self.records(answer);
        let limit = if datagram {
            usize::from(self.message.max_payload())
        } else {
            usize::from(u16::MAX)
        };
        let mut packet = encode(&response);
        while packet.len() > limit && response.answers.pop().is_some() {
            response.metadata.truncation = true;
            packet = encode(&response);
        }
        Some(packet)
    }

    /// A failure to get the answer of another server.
    pub(crate) fn failure(&self) -> Vec<u8> {
        encode(&reply(&self.message, ResponseCode::ServFail))
    }

    fn records(&self, answer: &Answer) -> Vec<Record> {
        let record = |data| Record::from_rdata(self.query.name().clone(), TTL, data);
        match answer {
            Answer::Addresses(addresses) => addresses
                .iter()
                .map(|address| record(RData::A(A(*address))))
                .collect(),
            Answer::Name(name) => Name::from_ascii(format!("{name}."))
                .map(|name| vec![record(RData::PTR(PTR(name)))])
                .unwrap_or_default(),
            _ => Vec::new(),
        }
    }
}

/// The raw question of a packet that `read` accepted: what an upstream's answer must repeat.
pub(crate) fn raw_question(packet: &[u8]) -> Option<&[u8]> {
    const TYPE_AND_CLASS: usize = 4;
    let mut end = HEADER;
    loop {
        let length = usize::from(*packet.get(end)?);
        // A first name has nothing to point back to.
        if length > 63 {
            return None;
        }
        end += 1 + length;
        if length == 0 {
            return packet.get(HEADER..end + TYPE_AND_CLASS);
        }
    }
}

/// Whether `packet` answers the query with this id and question.
pub(crate) fn answers(packet: &[u8], id: u16, question: &[u8]) -> bool {
    const RESPONSE: u8 = 0x80;
    packet.get(..2) == Some(&id.to_be_bytes())
        && packet.get(2).is_some_and(|flags| flags & RESPONSE != 0)
        && packet
            .get(HEADER..HEADER + question.len())
            .is_some_and(|own| own.eq_ignore_ascii_case(question))
}

pub(crate) fn set_id(packet: &mut [u8], id: u16) {
    if let Some(place) = packet.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

pub(crate) fn id(packet: &[u8]) -> u16 {
    packet
        .first_chunk()
        .map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

/// SERVFAIL, NOTIMP, REFUSED: another server may know better.
pub(crate) fn is_unhelpful(packet: &[u8]) -> bool {
    packet
        .get(3)
        .is_some_and(|flags| matches!(flags & 0x0f, 2 | 4 | 5))
}

fn reply(query: &Message, code: ResponseCode) -> Message {
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata = Metadata::response_from_request(&query.metadata);
    response.metadata.recursion_available = true;
    response.metadata.response_code = code;
    response.queries.clone_from(&query.queries);
    if query.edns.is_some() {
        let mut edns = hickory_proto::op::Edns::new();
        edns.set_max_payload(1232);
        response.edns = Some(edns);
    }
    response
}

fn encode(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap_or_default()
}

fn header_only(packet: &[u8], code: ResponseCode) -> Incoming {
    const RESPONSE: u8 = 0x80;
    match packet.get(2) {
        Some(flags) if packet.len() >= HEADER && flags & RESPONSE == 0 => {
            Incoming::Reply(encode(&Message::error_msg(id(packet), OpCode::Query, code)))
        }
        _ => Incoming::Ignore,
    }
}

/// `4.3.2.1.in-addr.arpa` is 1.2.3.4.
fn reverse(name: &str) -> Option<Ipv4Addr> {
    let mut octets = name.strip_suffix(".in-addr.arpa")?.split('.');
    let mut next = || octets.next()?.parse::<u8>().ok();
    let (d, c, b, a) = (next()?, next()?, next()?, next()?);
    octets.next().is_none().then(|| Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message.to_vec().unwrap()
    }

    fn asked(name: &str, kind: RecordType) -> Asked {
        match read(&packet(name, kind)) {
            Incoming::Query(asked) => *asked,
            _ => panic!("not a query"),
        }
    }

    #[test]
    fn names_are_compared_in_lower_case_and_answered_as_asked() {
        let asked = asked("WEB.", RecordType::A);
        assert_eq!(asked.question(), Question::Addresses("web"));
        let packet = asked
            .answer(&Answer::Addresses(vec![Ipv4Addr::new(10, 0, 0, 2)]), true)
            .unwrap();
        let response = Message::from_vec(&packet).unwrap();
        assert_eq!(response.queries[0].name().to_ascii(), "WEB.");
        assert_eq!(response.answers.len(), 1);
        assert_eq!(response.metadata.id, 7);
    }

    #[test]
    fn aaaa_of_a_known_name_is_no_error_and_empty() {
        let asked = asked("web.", RecordType::AAAA);
        assert_eq!(asked.question(), Question::Other("web"));
        let response = Message::from_vec(&asked.answer(&Answer::Nothing, true).unwrap()).unwrap();
        assert_eq!(response.metadata.response_code, ResponseCode::NoError);
        assert!(response.answers.is_empty());
    }

    #[test]
    fn a_long_answer_is_cut_for_datagrams_only() {
        let many: Vec<_> = (0..200).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
        let asked = asked("web.", RecordType::A);
        let short = asked
            .answer(&Answer::Addresses(many.clone()), true)
            .unwrap();
        assert!(short.len() <= 512);
        assert!(Message::from_vec(&short).unwrap().metadata.truncation);
        let whole =
            Message::from_vec(&asked.answer(&Answer::Addresses(many), false).unwrap()).unwrap();
        assert_eq!(whole.answers.len(), 200);
    }

    #[test]
    fn reverse_names() {
        assert_eq!(
            asked("2.1.89.10.in-addr.arpa.", RecordType::PTR).question(),
            Question::Reverse([10, 89, 1, 2].into())
        );
        assert_eq!(reverse("1.89.10.in-addr.arpa"), None);
    }

    #[test]
    fn garbage_and_answers_are_not_answered() {
        assert!(matches!(read(b"\0\x01"), Incoming::Ignore));
        let mut response = packet("web.", RecordType::A);
        response[2] |= 0x80;
        assert!(matches!(read(&response), Incoming::Ignore));
        assert!(matches!(read(&[0; 12]), Incoming::Reply(_)));
        assert!(matches!(
            read(&packet("web.", RecordType::AXFR)),
            Incoming::Reply(_)
        ));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = read(&bytes);
            let _ = raw_question(&bytes);
            let _ = answers(&bytes, 7, b"x");
        }

        #[test]
        fn any_damage_to_a_query_is_survived(at in 0..40usize, value in proptest::num::u8::ANY) {
            let mut query = packet("a.example.org.", RecordType::A);
            if let Some(byte) = query.get_mut(at) {
                *byte = value;
            }
            if let Incoming::Query(asked) = read(&query) {
                let _ = asked.question();
                let _ = asked.answer(&Answer::Addresses(vec![Ipv4Addr::LOCALHOST]), true);
                let _ = asked.failure();
            }
        }
    }

    #[test]
    fn an_answer_must_repeat_id_and_question() {
        let query = packet("example.org.", RecordType::A);
        let question = raw_question(&query).unwrap();
        assert!(
            !answers(&query, 7, question),
            "the query itself is no answer"
        );
        let mut response = query.clone();
        response[2] |= 0x80;
        assert!(answers(&response, 7, question));
        assert!(!answers(&response, 8, question));
        let other = packet("example.com.", RecordType::A);
        assert!(!answers(&response, 7, raw_question(&other).unwrap()));
    }
}
