//! A phone: the initiator of the session, and all messages that it received.

use provisioning_core::machine::Link;
use provisioning_core::secret::{SecretBytes, SecretText};
use provisioning_core::session::{AcceptError, Opening, PhoneSecret, Session};
use provisioning_core::wire::{Message, Outbound, Refusal, Reply, Request, StatusReport};

use crate::world::{CODE, QR, Random};

/// One connection of a phone.
pub(crate) struct Phone {
    pub(crate) link: Link,
    pub(crate) connected: bool,
    pub(crate) opening: Option<Opening>,
    pub(crate) session: Option<Session>,
    pub(crate) error: Option<AcceptError>,
    pub(crate) messages: Vec<Message>,
    pub(crate) refusals: Vec<Refusal>,
    /// Whether the last answered handshake was for the code, so that it counts as a guess.
    pub(crate) by_code: bool,
    sent: u64,
}

impl Phone {
    pub(crate) const fn new(link: Link) -> Self {
        Self {
            link,
            connected: true,
            opening: None,
            session: None,
            error: None,
            messages: Vec::new(),
            refusals: Vec::new(),
            by_code: false,
            sent: 0,
        }
    }

    /// The first message of a session.
    pub(crate) fn open(&mut self, node_id: &str, secret: &PhoneSecret, rng: &mut Random) -> Vec<u8> {
        let (opening, open) = Opening::new(node_id, secret, rng);
        self.by_code = matches!(secret, PhoneSecret::Code(_));
        self.opening = Some(opening);
        self.session = None;
        self.error = None;
        self.sent = 0;
        open.encode()
    }

    /// A sealed request, and the number that its answer will carry.
    pub(crate) fn seal(&mut self, request: &Request) -> (Vec<u8>, u64) {
        let session = self.session.as_mut().expect("the test has opened a session");
        let to = self.sent;
        self.sent += 1;
        (session.seal(request.endpoint(), &request.encode()).encode(), to)
    }

    pub(crate) fn hear(&mut self, message: &[u8]) -> Heard {
        match Outbound::decode(message).expect("the node sends valid messages") {
            Outbound::Refusal(refusal) => {
                self.refusals.push(refusal);
                Heard::Refusal
            }
            Outbound::Accept(accept) => {
                let opening = self.opening.take().expect("an answer follows a question");
                match opening.read(&accept) {
                    Ok(session) => self.session = Some(session),
                    Err(error) => self.error = Some(error),
                }
                Heard::Accept
            }
            Outbound::Record(record) => {
                let session = self.session.as_mut().expect("a record follows a handshake");
                let plaintext = session.open(provisioning_core::endpoint::Endpoint::Status, &record);
                let message = Message::decode(&plaintext.expect("the node seals for this phone")).expect("a message");
                self.messages.push(message.clone());
                Heard::Message(Box::new(message))
            }
        }
    }

    /// All status reports, in order.
    pub(crate) fn reports(&self) -> Vec<StatusReport> {
        let report = |message: &Message| match message {
            Message::Changed(report) | Message::Reply { reply: Reply::Status(report), .. } => Some(report.clone()),
            Message::Reply { .. } => None,
        };
        self.messages.iter().filter_map(report).collect()
    }

    /// The answers to one request.
    pub(crate) fn replies(&self, to: u64) -> Vec<Reply> {
        let reply = |message: &Message| match message {
            Message::Reply { to: answered, reply } if *answered == to => Some(reply.clone()),
            _ => None,
        };
        self.messages.iter().filter_map(reply).collect()
    }

    pub(crate) fn last_report(&self) -> StatusReport {
        self.reports().pop().expect("the phone has received a status")
    }
}

pub(crate) enum Heard {
    Refusal,
    Accept,
    Message(Box<Message>),
}

pub(crate) fn by_code(code: &str) -> PhoneSecret {
    PhoneSecret::Code(SecretText::new(code.into()))
}

pub(crate) fn right() -> PhoneSecret {
    by_code(CODE)
}

pub(crate) fn wrong() -> PhoneSecret {
    by_code("999999")
}

pub(crate) fn by_qr() -> PhoneSecret {
    PhoneSecret::Qr(SecretBytes::new(QR))
}
