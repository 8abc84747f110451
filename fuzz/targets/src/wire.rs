//! Any bytes as every kind of message. The first byte selects the kind; decoded messages are encoded and decoded again.

use provisioning_core::endpoint::Endpoint;
use provisioning_core::improv::{Command, Packet};
use provisioning_core::nymea;
use provisioning_core::wire::espressif;
use provisioning_core::wire::{Answer, Info, Message, Offer, Open, Outbound, PublicStatus, Record, Request};

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((&kind, data)) = data.split_first() else { return };
    macro_rules! again {
        ($kind:ty) => {
            if let Ok(message) = <$kind>::decode(data) {
                assert_eq!(<$kind>::decode(&message.encode()).as_ref(), Ok(&message));
            }
        };
    }
    // Messages of Espressif's apps are parsed, and never made.
    let _ = (espressif::Handshake::decode(data), espressif::ScanRequest::decode(data));
    let _ = (espressif::ConfigRequest::decode(data), espressif::ControlRequest::decode(data));
    let _ = nymea::Text::default().push(data);
    if let Some(Ok(command)) = Packet::default().push(data) {
        assert_eq!(Command::decode(data), Ok(command));
    }
    match kind % 13 {
        0 => again!(Open),
        1 => again!(Offer),
        2 => again!(Answer),
        3 => again!(Record),
        4 => again!(Outbound),
        5 => again!(Info),
        6 => again!(PublicStatus),
        7 => again!(Message),
        8 => {
            if let Ok(list) = Outbound::decode_list(data) {
                let encoded: Vec<Vec<u8>> = list.iter().map(Outbound::encode).collect();
                assert_eq!(Outbound::decode_list(&Outbound::encode_list(&encoded)), Ok(list));
            }
        }
        endpoint => {
            let endpoint = [Endpoint::Scan, Endpoint::K2, Endpoint::Credentials, Endpoint::Status][usize::from(endpoint - 9)];
            if let Ok(request) = Request::decode(endpoint, data) {
                assert_eq!(request.endpoint(), endpoint);
                assert_eq!(Request::decode(endpoint, &request.encode()).as_ref(), Ok(&request));
            }
        }
    }
}
