//! The endpoints of the protocol: one row each.
//!
//! A link moves bytes between a phone and an endpoint. It does not know what the bytes mean.

/// Something that a phone reads from or writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Read: what the node is. Public.
    Info,
    /// Write: open a session.
    Session,
    /// Write: ask for the networks in range.
    Scan,
    /// Write: hand over K2.
    K2,
    /// Write: hand over network credentials and the provisioning token.
    Credentials,
    /// Read: the public state. Write: ask for the outcome. Notify: everything that the node says.
    Status,
}

/// Where an endpoint is found, and what it takes.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Names the endpoint inside sealed records; never changes.
    pub number: u8,
    /// The GATT characteristic.
    pub uuid: u128,
    /// The HTTP path of its sealed representation.
    pub path: &'static str,
    /// The largest message that may be written to it, bytes.
    pub limit: usize,
}

/// The GATT service that holds the characteristics.
pub const SERVICE: u128 = 0x6a61_7276_0000_4b32_9d5e_70c0_4e7f_1a00;

/// The name of a phone's HTTP session: 32 hexadecimal digits.
pub const SESSION_HEADER: &str = "jarvis-session";

/// The content type of the sealed representation over HTTP.
pub const PROTOBUF: &str = "application/x-protobuf";

/// The kind of service that a node is in its owner's network, for mDNS.
pub const NETWORK_SERVICE: &str = "_jarvis-node._tcp.local.";

/// The largest message that a node sends, bytes.
pub const OUTBOUND_LIMIT: usize = 4096;

/// One row per endpoint.
pub const ENDPOINTS: [Row; 6] = [
    row(Endpoint::Info, 0, "/api/v1/info", 0),
    row(Endpoint::Session, 1, "/api/v1/session", 512),
    row(Endpoint::Scan, 2, "/api/v1/scan-networks", 256),
    row(Endpoint::K2, 3, "/api/v1/provision/k2", 1024),
    row(Endpoint::Credentials, 4, "/api/v1/provision", 4096),
    row(Endpoint::Status, 5, "/api/v1/status", 256),
];

const fn row(endpoint: Endpoint, number: u8, path: &'static str, limit: usize) -> Row {
    Row { endpoint, number, uuid: SERVICE + ((number as u128 + 1) << 80), path, limit }
}

impl Endpoint {
    /// The endpoint's row.
    pub const fn row(self) -> &'static Row {
        &ENDPOINTS[self as usize]
    }

    /// The endpoint of that number.
    pub fn from_number(number: u8) -> Option<Self> {
        ENDPOINTS.get(usize::from(number)).map(|row| row.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_endpoint_and_number() {
        for row in &ENDPOINTS {
            assert_eq!(row.endpoint.row().endpoint, row.endpoint);
            assert_eq!(Endpoint::from_number(row.number), Some(row.endpoint));
        }
    }

    #[test]
    fn characteristics_differ_from_the_service_in_one_group() {
        assert_eq!(Endpoint::Status.row().uuid, 0x6a61_7276_0006_4b32_9d5e_70c0_4e7f_1a00);
    }
}
