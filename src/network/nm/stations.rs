//! The phones in the access point, which NetworkManager does not count: the kernel's stations of the interface, over generic
//! netlink (`linux/genetlink.h`, `linux/nl80211.h`). No permission is needed.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice, netlink, sockopt};
use tracing::debug;

/// The kernel answers within the call.
const LIMIT: Duration = Duration::from_millis(200);
/// The kernel sends dumps in packets of at most 32 KiB.
const PACKET: usize = 32 * 1024;

/// `GENL_ID_CTRL`, the family that knows the others.
const CONTROL: u16 = 0x10;
/// `CTRL_CMD_GETFAMILY`.
const GET_FAMILY: u8 = 3;
/// `CTRL_ATTR_FAMILY_ID`.
const FAMILY_ID: u16 = 1;
/// `CTRL_ATTR_FAMILY_NAME`.
const FAMILY_NAME: u16 = 2;
/// `NL80211_CMD_GET_STATION`.
const GET_STATION: u8 = 17;
/// `NL80211_CMD_NEW_STATION`, the command of each answer.
const NEW_STATION: u8 = 19;
/// `NL80211_CMD_GET_REG`.
const GET_REGULATORY: u8 = 31;
/// `NL80211_ATTR_REG_ALPHA2`.
const ALPHA2: u16 = 33;
/// `NL80211_ATTR_IFINDEX`.
const INTERFACE: u16 = 3;

/// `NLM_F_REQUEST`.
pub(in crate::network) const REQUEST: u16 = 0x1;
/// `NLM_F_DUMP`.
pub(in crate::network) const DUMP: u16 = 0x300;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// The length of a message's header, bytes.
const HEADER: usize = 16;
/// The same of the header of generic netlink after it.
const GENERIC_HEADER: usize = 4;

/// The number of stations of an access point's interface. Zero if the kernel does not tell: a phone that uses the access point
/// is also known by its requests.
pub(in crate::network) fn count(interface: &str) -> u32 {
    match stations(interface) {
        Ok(number) => number,
        Err(error) => {
            debug!(%error, interface, "the stations cannot be counted");
            0
        }
    }
}

/// The country by which the kernel chooses channels: two letters, or `00` if none is set; none if the kernel does not tell.
pub(in crate::network) fn country() -> Option<String> {
    let asking = || {
        let socket = open(Some(netlink::GENERIC))?;
        let family = family(&socket, "nl80211")?;
        let mut country = None;
        // The first answer is for all radios; others are for those with rules of their own.
        exchange(&socket, &message(family, REQUEST | DUMP, GET_REGULATORY, INTERFACE, &[]), |_, body| {
            let letters = attribute(body.get(GENERIC_HEADER..).unwrap_or_default(), ALPHA2);
            country = country.take().or_else(|| alpha2(letters?));
        })?;
        Ok::<_, Errno>(country)
    };
    asking().inspect_err(|error| debug!(%error, "the country is unknown")).ok()?
}

/// Two letters or digits, before the byte that ends a text.
fn alpha2(letters: &[u8]) -> Option<String> {
    let letters = letters.get(..2).filter(|letters| letters.iter().all(u8::is_ascii_alphanumeric))?;
    String::from_utf8(letters.to_vec()).ok()
}

fn stations(interface: &str) -> Result<u32, Errno> {
    let socket = open(Some(netlink::GENERIC))?;
    let index = netdevice::name_to_index(&socket, interface)?;
    let family = family(&socket, "nl80211")?;
    let mut stations = 0;
    let request = message(family, REQUEST | DUMP, GET_STATION, INTERFACE, &index.to_ne_bytes());
    exchange(&socket, &request, |kind, body| stations += u32::from(kind == family && body.first() == Some(&NEW_STATION)))?;
    Ok(stations)
}

/// A socket of one of netlink's protocols; none for addresses and routes.
pub(in crate::network) fn open(protocol: Option<Protocol>) -> Result<rustix::fd::OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(LIMIT))?;
    Ok(socket)
}

/// The number of a family.
fn family(socket: impl AsFd, name: &str) -> Result<u16, Errno> {
    let name = [name.as_bytes(), b"\0"].concat();
    let mut found = None;
    let request = message(CONTROL, REQUEST | DUMP, GET_FAMILY, FAMILY_NAME, &[]);
    exchange(socket, &request, |_, body| {
        let attributes = body.get(GENERIC_HEADER..).unwrap_or_default();
        if attribute(attributes, FAMILY_NAME) == Some(&name) {
            found = attribute(attributes, FAMILY_ID).and_then(|id| Some(u16::from_ne_bytes(id.try_into().ok()?)));
        }
    })?;
    found.ok_or(Errno::NOENT)
}

/// A message with one attribute, or with none if it is empty.
fn message(kind: u16, flags: u16, command: u8, attribute: u16, value: &[u8]) -> Vec<u8> {
    let attributes: &[(u16, &[u8])] = if value.is_empty() { &[] } else { &[(attribute, value)] };
    packet(kind, flags, &[command, 1, 0, 0], attributes)
}

/// A message: the header of its family, whose length is a multiple of four, and attributes.
pub(in crate::network) fn packet(kind: u16, flags: u16, header: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = header.to_vec();
    for (attribute, value) in attributes {
        body.extend(length(4 + value.len()).to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(u32::from(length(HEADER + body.len())).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence number and sender: there is one request at a time, and the kernel assigns the sender.
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).expect("requests are short")
}

/// Sends a request, and passes type and body of each answer on, up to the end of a dump or to an acknowledgement.
pub(in crate::network) fn exchange(socket: impl AsFd, request: &[u8], mut answer: impl FnMut(u16, &[u8])) -> Result<(), Errno> {
    rustix::net::send(&socket, request, SendFlags::empty())?;
    let mut packet = vec![0; PACKET];
    loop {
        let (received, _) = rustix::net::recv(&socket, packet.as_mut_slice(), RecvFlags::empty())?;
        if read(&packet[..received], &mut answer)? {
            return Ok(());
        }
    }
}

/// Reads the messages of a packet; returns whether one of them is the last.
fn read(packet: &[u8], answer: &mut impl FnMut(u16, &[u8])) -> Result<bool, Errno> {
    let mut rest = packet;
    while let Some(header) = rest.get(..HEADER) {
        let number = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let kind = u16::from_ne_bytes(header[4..6].try_into().expect("two bytes"));
        let length = usize::try_from(number(0)).unwrap_or(usize::MAX);
        let body = rest.get(HEADER..length).ok_or(Errno::BADMSG)?;
        match kind {
            DONE => return Ok(true),
            ERROR => {
                let code = body.get(..4).map(|code| i32::from_ne_bytes(code.try_into().expect("four bytes")));
                return match code {
                    Some(0) => Ok(true),
                    Some(code @ -4095..0) => Err(Errno::from_raw_os_error(-code)),
                    _ => Err(Errno::BADMSG),
                };
            }
            kind => answer(kind, body),
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// The value of the first attribute of a type.
pub(in crate::network) fn attribute(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    while let Some(header) = rest.get(..4) {
        let number = |at: usize| u16::from_ne_bytes(header[at..at + 2].try_into().expect("two bytes"));
        let length = usize::from(number(0));
        let value = rest.get(4..length)?;
        if number(2) == kind {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u16, command: u8) -> Vec<u8> {
        message(kind, 0, command, INTERFACE, &7_u32.to_ne_bytes())
    }

    #[test]
    fn stations_are_counted_up_to_the_end_of_the_dump() {
        let packet = [answer(28, NEW_STATION), answer(28, NEW_STATION), answer(DONE, 0), answer(28, NEW_STATION)].concat();
        let mut stations = 0;
        assert_eq!(read(&packet, &mut |kind, body| stations += u32::from(kind == 28 && body[0] == NEW_STATION)), Ok(true));
        assert_eq!(stations, 2);
        assert_eq!(read(&answer(28, NEW_STATION), &mut |_, _| {}), Ok(false), "more packets follow");
    }

    #[test]
    fn an_error_of_the_kernel_and_a_torn_packet_are_errors() {
        let mut refused = answer(ERROR, 0);
        refused[HEADER..HEADER + 4].copy_from_slice(&(-19_i32).to_ne_bytes());
        assert_eq!(read(&refused, &mut |_, _| {}), Err(Errno::NODEV));
        refused[HEADER..HEADER + 4].copy_from_slice(&0_i32.to_ne_bytes());
        assert_eq!(read(&refused, &mut |_, _| {}), Ok(true), "an acknowledgement");
        refused[HEADER..HEADER + 4].copy_from_slice(&7_i32.to_ne_bytes());
        assert_eq!(read(&refused, &mut |_, _| {}), Err(Errno::BADMSG), "no number of an error");
        let whole = answer(28, NEW_STATION);
        assert_eq!(read(&whole[..whole.len() - 1], &mut |_, _| {}), Err(Errno::BADMSG));
        for length in [0_u32, 15] {
            let mut short = whole.clone();
            short[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(read(&short, &mut |_, _| {}), Err(Errno::BADMSG), "a message shorter than its header");
        }
    }

    #[test]
    fn an_attribute_is_found_behind_others() {
        let attributes = [&[5, 0, 1, 0, 9, 0, 0, 0][..], &[6, 0, 2, 0, 7, 8, 0, 0]].concat();
        assert_eq!(attribute(&attributes, 2), Some(&[7, 8][..]));
        assert_eq!(attribute(&attributes, 3), None);
        assert_eq!(attribute(&[3, 0, 2, 0], 2), None, "shorter than its header");
    }

    #[test]
    fn the_kernel_tells_the_number_of_its_first_family() {
        let socket = open(Some(netlink::GENERIC)).expect("generic netlink");
        assert_eq!(family(&socket, "nlctrl"), Ok(CONTROL));
        assert_eq!(family(&socket, "none of its families"), Err(Errno::NOENT));
    }

    #[test]
    fn a_country_is_two_letters_or_digits() {
        assert_eq!(alpha2(b"DE\0"), Some("DE".into()));
        assert_eq!(alpha2(b"00\0"), Some("00".into()));
        assert_eq!((alpha2(b"D"), alpha2(b"D\0")), (None, None));
    }

    #[test]
    fn an_interface_that_does_not_exist_has_no_stations() {
        assert_eq!(count("nonesuch0"), 0);
    }
}
