//! The grammar of the text fields of a request: one table for every transport.

use alloc::string::String;

use super::TEXT_LIMIT;
use crate::fault::Fault;

/// The longest node id, bytes; it is also a value in an mDNS record.
const NODE_ID_LIMIT: usize = 64;

/// A text field of a request, apart from the URLs, which have a type of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextField {
    /// The room that the node is in.
    Room,
    /// The owner's household.
    HouseholdId,
    /// The identity of a node: part of the QR code's text, of the access point's name and of host names.
    NodeId,
    /// The proof that the owner authorized the registration.
    Token,
    /// The name of K2.
    Kid,
}

impl TextField {
    /// Every field.
    pub const ALL: [Self; 5] = [Self::Room, Self::HouseholdId, Self::NodeId, Self::Token, Self::Kid];

    /// Shortest and longest length in bytes, the characters, and the fault of a text that differs.
    const fn row(self) -> (usize, usize, fn(char) -> bool, Fault) {
        match self {
            Self::Room => (0, TEXT_LIMIT, is_printed, Fault::InvalidRoom),
            Self::HouseholdId => (0, TEXT_LIMIT, is_printed, Fault::InvalidHouseholdId),
            Self::NodeId => (1, NODE_ID_LIMIT, is_of_node_id, Fault::InvalidNodeId),
            Self::Token => (1, TEXT_LIMIT, is_printed, Fault::InvalidToken),
            Self::Kid => (1, TEXT_LIMIT, is_printed, Fault::InvalidKid),
        }
    }

    /// Fails with the fault that names the field.
    pub fn check(self, text: &str) -> Result<(), Fault> {
        let (shortest, longest, is_allowed, fault) = self.row();
        if (shortest..=longest).contains(&text.len()) && text.chars().all(is_allowed) { Ok(()) } else { Err(fault) }
    }
}

/// Whether a text has none of the characters that no text field may have.
pub fn is_free_of_controls(text: &str) -> bool {
    text.chars().all(is_printed)
}

/// A text in which every character that controls a terminal, is not seen, or changes the direction of a text is replaced by
/// its number: names of networks are chosen by strangers, and could deceive.
pub fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, letter| {
        if letter.is_control() || is_unseen(letter) {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
        shown
    })
}

const fn is_unseen(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

fn is_printed(character: char) -> bool {
    !character.is_control()
}

const fn is_of_node_id(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Identity, Ssid};

    #[test]
    fn every_field_refuses_control_characters_with_its_own_fault() {
        let mut faults: alloc::vec::Vec<Fault> = TextField::ALL.iter().map(|field| field.check("a\u{7f}").unwrap_err()).collect();
        for field in TextField::ALL {
            for bad in ["\0", "a\r\nb", "\u{1b}[2J", "a\u{85}", "\t"] {
                assert_eq!(field.check(bad), Err(field.row().3), "{field:?} {bad:?}");
            }
            assert_eq!(field.check("Aa-0_1.z"), Ok(()));
            assert_eq!(field.check(&"a".repeat(field.row().1)), Ok(()));
            assert_eq!(field.check(&"a".repeat(field.row().1 + 1)), Err(field.row().3));
        }
        faults.dedup();
        assert_eq!(faults.len(), TextField::ALL.len());
    }

    #[test]
    fn only_room_and_household_may_be_empty() {
        let empty = TextField::ALL.map(|field| field.check("").is_ok());
        assert_eq!(empty, [true, true, false, false, false]);
    }

    #[test]
    fn every_valid_node_id_gives_the_name_of_an_access_point() {
        let identity = |node_id: &str| Identity {
            node_id: node_id.into(),
            unregistered: node_id.into(),
            hardware: alloc::string::String::new(),
            mac_address: alloc::string::String::new(),
        };
        for bad in ["aa:bb:cc", "\u{1f3e0}", "b\u{fc}ro", "a b", "a/b", "%41"] {
            assert_eq!(TextField::NodeId.check(bad), Err(Fault::InvalidNodeId), "{bad}");
        }
        assert!(Ssid::try_from(identity(&"\u{1f3e0}".repeat(8)).name().as_str()).is_err(), "what the grammar prevents");
        assert!(Ssid::try_from(identity(&"z".repeat(NODE_ID_LIMIT)).name().as_str()).is_ok());
    }
}
