//! Results: lists of texts that fit one notification, because clients read a result from there only.

use alloc::string::ToString as _;
use alloc::vec;
use alloc::vec::Vec;

use super::{PACKET_LIMIT, checksum};
use crate::domain::{Network, Security};

/// The bytes of a result beside its texts: the command, the length and the checksum.
const OVERHEAD: usize = 3;

/// A result of these texts, which fit it.
fn result<'a>(command: u8, texts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut result = vec![command, 0];
    for text in texts {
        result.push(u8::try_from(text.len()).expect("a text is as short as the result"));
        result.extend_from_slice(text);
    }
    result[1] = u8::try_from(result.len() - 2).expect("the texts fit the result");
    result.push(checksum(&result));
    result
}

/// The bytes that texts and their lengths may have in a notification of `room` bytes.
fn budget(room: usize) -> usize {
    room.min(PACKET_LIMIT).saturating_sub(OVERHEAD)
}

/// The node has joined the network; its page is there. Without the address if that does not fit.
pub fn provisioned(page: &str, room: usize) -> Vec<u8> {
    let fits = !page.is_empty() && page.len() < budget(room);
    result(1, fits.then_some(page.as_bytes()))
}

/// The software, its version, the hardware and the device's name: exactly four texts, the longest of which are cut if need be.
pub fn device_info(mut texts: [&str; 4], room: usize) -> Vec<u8> {
    let budget = budget(room).saturating_sub(texts.len());
    while texts.iter().map(|text| text.len()).sum::<usize>() > budget {
        let longest = texts.iter_mut().max_by_key(|text| text.len()).expect("there are four");
        *longest = &longest[..longest.floor_char_boundary(longest.len() - 1)];
    }
    result(3, texts.map(str::as_bytes))
}

/// The networks, strongest first: for each its name, its strength and its protection. As many as fit; a name is listed once.
/// Names that are no text are left out, and networks that a client cannot describe.
pub fn networks(networks: &[Network], room: usize) -> Vec<u8> {
    let mut left = budget(room);
    let mut listed: Vec<[Vec<u8>; 3]> = Vec::new();
    for network in networks {
        let (name, security) = (network.ssid.as_bytes(), protection(network.security));
        let Some(security) = security.filter(|_| core::str::from_utf8(name).is_ok()) else { continue };
        if listed.iter().any(|[known, ..]| known == name) {
            continue;
        }
        let entry = [name.to_vec(), network.signal.to_string().into_bytes(), security.into()];
        let size: usize = entry.iter().map(|text| 1 + text.len()).sum();
        // A shorter name may still fit.
        if size <= left {
            left -= size;
            listed.push(entry);
        }
    }
    result(4, listed.iter().flatten().map(Vec::as_slice))
}

/// The protocol's word; none for a network that it has no credentials for.
const fn protection(security: Security) -> Option<&'static str> {
    match security {
        Security::Open | Security::Owe => Some("NO"),
        Security::Wep => Some("WEP"),
        Security::Wpa => Some("WPA"),
        Security::Wpa2 | Security::Wpa2Wpa3 | Security::Wpa3 => Some("WPA2"),
        Security::Enterprise => None,
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;

    use super::*;
    use crate::domain::Ssid;

    /// The texts of a result, after the checks that clients make.
    fn texts(command: u8, result: &[u8], room: usize) -> Vec<String> {
        assert!(result.len() <= room.max(3) && result.len() <= PACKET_LIMIT);
        assert_eq!((result[0], usize::from(result[1])), (command, result.len() - 3));
        let (sum, content) = result.split_last().expect("not empty");
        assert_eq!(*sum, checksum(content));
        let (mut texts, mut rest) = (Vec::new(), &content[2..]);
        while let Some((length, after)) = rest.split_first() {
            let (text, after) = after.split_at(usize::from(*length));
            texts.push(String::from_utf8(text.to_vec()).expect("a text"));
            rest = after;
        }
        texts
    }

    fn network(name: &[u8], signal: i8, security: Security) -> Network {
        Network { ssid: Ssid::try_from(name).expect("short"), signal, security, frequency: 2412 }
    }

    #[test]
    fn a_page_is_named_if_it_fits() {
        let page = "http://jarvis-5b91b661.local:8080/";
        assert_eq!(texts(1, &provisioned(page, 514), 514), [page]);
        let whole = page.len() + 4;
        assert_eq!(texts(1, &provisioned(page, whole), whole), [page]);
        for room in [0, 20, whole - 1] {
            assert_eq!(provisioned(page, room), [1, 0, 1]);
        }
        assert_eq!(provisioned("", 514), [1, 0, 1]);
    }

    #[test]
    fn a_device_has_four_texts_in_every_room() {
        let info = ["jarvis-provisioning", "1.0.0", "linux-aarch64", "jarvis-5b91b661"];
        assert_eq!(texts(3, &device_info(info, 514), 514), info);
        for room in 7..80 {
            assert_eq!(texts(3, &device_info(info, room), room).len(), 4);
        }
        assert_eq!(texts(3, &device_info(info, 20), 20).concat().len(), 13);
        let long = format!("{}😀", "a".repeat(300));
        assert_eq!(texts(3, &device_info([&long, &long, "", "😀"], 514), 514).len(), 4);
    }

    #[test]
    fn a_list_is_cut_after_whole_networks() {
        let crowd: Vec<_> =
            (0..100_u8).map(|index| network(format!("{index:032}").as_bytes(), -40, Security::Wpa2Wpa3)).collect();
        for room in 0..300 {
            let texts = texts(4, &networks(&crowd, room), room);
            assert_eq!(texts.len() % 3, 0);
            assert_eq!(texts.len() / 3, budget(room) / (33 + 4 + 5), "{room} bytes");
        }
    }

    #[test]
    fn a_list_has_each_name_once_and_only_what_a_client_can_join() {
        let list = [
            network(b"home", -45, Security::Wpa3),
            network(b"home", -60, Security::Wpa),
            network(&[0xff, 0xfe], -61, Security::Open),
            network(b"office", -62, Security::Enterprise),
            network("café".as_bytes(), -63, Security::Owe),
            network(b"old", -128, Security::Wep),
        ];
        let expected = ["home", "-45", "WPA2", "café", "-63", "NO", "old", "-128", "WEP"];
        assert_eq!(texts(4, &networks(&list, 514), 514), expected);
        assert_eq!(networks(&[], 514), [4, 0, 4]);
    }
}
