//! The phone's side of GATT.
//!
//! The node answers by notification, so a phone subscribes to [`NOTIFYING`] before its first write. It writes a message as
//! [`values`], and passes what it is notified of to an [`Inbox`].

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{ATTRIBUTE_LIMIT, MTU_MINIMUM, read_size, value_size};
use crate::endpoint::{ENDPOINTS, Endpoint, OUTBOUND_LIMIT};
use crate::fault::Fault;
use crate::wire::Outbound;
use crate::wire::framing::{FramingError, Reassembler, frames};

/// The endpoint over which the node notifies.
pub const NOTIFYING: Endpoint = Endpoint::Status;

/// The values that write a message, on a connection of that ATT MTU.
pub fn values(message: &[u8], mtu: u16) -> Vec<Vec<u8>> {
    frames(message, value_size(mtu))
}

/// The value that writes a message; none if it takes several, which are acknowledged one by one.
pub fn only_value(message: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let mut values = values(message, mtu);
    values.pop().filter(|_| values.is_empty())
}

/// The ATT MTU that a node announces.
pub const fn mtu(announced: u16) -> Result<u16, Fault> {
    if announced >= MTU_MINIMUM { Ok(announced) } else { Err(Fault::Malformed) }
}

/// Whether a service with these characteristics is that of a node. A node that starts or ends has only some of them.
pub fn is_complete(has: impl Fn(Endpoint) -> bool) -> bool {
    ENDPOINTS.iter().all(|row| has(row.endpoint))
}

/// A value that is read in parts.
#[derive(Debug)]
pub struct LongRead {
    value: Vec<u8>,
    part_size: usize,
}

impl LongRead {
    /// Reads a value over a connection of that ATT MTU.
    pub fn new(mtu: u16) -> Self {
        Self { value: Vec::new(), part_size: read_size(mtu) }
    }

    /// Where the next part begins.
    pub fn offset(&self) -> u16 {
        u16::try_from(self.value.len()).expect("push() refuses values over the limit of attributes")
    }

    /// Takes the next part; returns the value if that was the last one. A part that is shorter than the connection carries
    /// is the last (Bluetooth Core 5.4, Vol 3, Part G, 4.8.3).
    pub fn push(&mut self, part: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        if self.value.len() + part.len() > ATTRIBUTE_LIMIT {
            return Err(Fault::TooLarge);
        }
        self.value.extend_from_slice(part);
        Ok(if part.len() < self.part_size { Some(core::mem::take(&mut self.value)) } else { None })
    }
}

/// The messages that a node has notified.
#[derive(Debug)]
pub struct Inbox {
    reassembler: Reassembler,
    messages: VecDeque<Outbound>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { reassembler: Reassembler::new(OUTBOUND_LIMIT), messages: VecDeque::new() }
    }
}

impl Inbox {
    /// Takes a value that was notified.
    pub fn push(&mut self, value: &[u8]) -> Result<(), Fault> {
        if let Some(message) = self.reassembler.push(value).map_err(FramingError::fault)? {
            self.messages.push_back(Outbound::decode(&message)?);
        }
        Ok(())
    }

    /// The next whole message.
    pub fn pop(&mut self) -> Option<Outbound> {
        self.messages.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::wire::Refusal;

    fn refusal(fault: Fault) -> Outbound {
        Outbound::Refusal(Refusal { fault, retry_after: 0 })
    }

    #[test]
    fn messages_come_out_whole_and_in_order() {
        let mut inbox = Inbox::default();
        for fault in [Fault::Busy, Fault::Locked] {
            for value in frames(&refusal(fault).encode(), 18) {
                inbox.push(&value).expect("a frame in order");
            }
        }
        assert_eq!(inbox.pop(), Some(refusal(Fault::Busy)));
        assert_eq!(inbox.pop(), Some(refusal(Fault::Locked)));
        assert_eq!(inbox.pop(), None);
    }

    #[test]
    fn frames_out_of_order_and_unknown_messages_are_malformed() {
        assert_eq!(Inbox::default().push(&[1, 9]), Err(Fault::Malformed));
        assert_eq!(Inbox::default().push(&frames(&[0xff; 4], 20)[0]), Err(Fault::Malformed));
    }

    #[test]
    fn a_message_over_the_limit_of_nodes_is_too_large() {
        assert_eq!(Inbox::default().push(&frames(&[1; OUTBOUND_LIMIT + 1], 20)[0]), Err(Fault::TooLarge));
    }

    #[test]
    fn a_part_that_is_shorter_than_the_connection_carries_is_the_last() {
        let mut read = LongRead::new(23);
        assert_eq!((read.offset(), read.push(&[1; 22])), (0, Ok(None)));
        assert_eq!((read.offset(), read.push(&[2; 21])), (22, Ok(Some([&[1; 22][..], &[2; 21]].concat()))));
        let mut read = LongRead::new(23);
        assert_eq!(read.push(&[1; 22]), Ok(None));
        assert_eq!(read.push(&[]), Ok(Some(vec![1; 22])));
    }

    #[test]
    fn a_value_over_the_limit_of_attributes_is_too_large() {
        let mut read = LongRead::new(257);
        assert_eq!(read.push(&[1; 256]), Ok(None));
        assert_eq!(read.push(&[1; 256]), Ok(None));
        assert_eq!(read.push(&[1]), Err(Fault::TooLarge));
    }

    #[test]
    fn an_mtu_below_the_smallest_is_malformed() {
        assert_eq!(mtu(MTU_MINIMUM), Ok(MTU_MINIMUM));
        assert_eq!(mtu(MTU_MINIMUM - 1), Err(Fault::Malformed));
    }

    #[test]
    fn every_value_of_a_message_fits_the_connection() {
        for mtu in [23, 185, 517] {
            assert!(values(&[1; 1000], mtu).iter().all(|value| value.len() <= value_size(mtu)));
        }
    }

    #[test]
    fn a_service_without_one_of_the_characteristics_is_not_complete() {
        assert!(is_complete(|_| true));
        assert!(!is_complete(|endpoint| endpoint != Endpoint::K2));
    }

    #[test]
    fn the_node_notifies_over_one_endpoint_alone() {
        let notifying = ENDPOINTS.iter().filter(|row| row.notifies).map(|row| row.endpoint);
        assert!(notifying.eq([NOTIFYING]));
    }
}
