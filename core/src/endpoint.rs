//! The endpoint table: one row maps an endpoint to its GATT characteristic, its HTTP path, its operations and its limit.
//!
//! A link moves bytes between a phone and an endpoint. It does not interpret the bytes.

/// A resource of the node that a phone reads from or writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Read: the node's identity and capabilities. Public.
    Info,
    /// Write: open a session.
    Session,
    /// Write: list the networks in range.
    Scan,
    /// Write: store K2.
    K2,
    /// Write: the network's credentials and the provisioning token.
    Credentials,
    /// Read: the public state. Write: query the outcome. Notify: every message of the node.
    Status,
}

/// An HTTP method that a path of the node can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Writes.
    Post,
    /// Ends.
    Delete,
}

/// The addresses of an endpoint, and the operations that it supports.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Names the endpoint inside sealed records; never changes.
    pub number: u8,
    /// The GATT characteristic.
    pub uuid: u128,
    /// The HTTP path.
    pub path: &'static str,
    /// The methods that the path answers whatever the content type, in the order of the `Allow` header. Clients that do
    /// not know the sealed representation see only these.
    pub methods: &'static [Method],
    /// Whether it has a public value: a GATT read, or a GET.
    pub readable: bool,
    /// Whether it takes messages: GATT writes, or a POST with a sealed body.
    pub writable: bool,
    /// Whether the node notifies over this characteristic.
    pub notifies: bool,
    /// The largest message that may be written to it, bytes; 0 if it is not writable.
    pub limit: usize,
}

/// The GATT service that holds the characteristics.
pub const SERVICE: u128 = 0x6a61_7276_0000_4b32_9d5e_70c0_4e7f_1a00;

/// The name of a phone's HTTP session: 32 hexadecimal digits.
pub const SESSION_HEADER: &str = "jarvis-session";

/// The content type of the sealed representation over HTTP.
pub const PROTOBUF: &str = "application/x-protobuf";

/// The mDNS service type of a node in its owner's network.
pub const MDNS_SERVICE: &str = "_jarvis-node._tcp.local.";

/// The largest message that a node sends, bytes.
pub const OUTBOUND_LIMIT: usize = 4096;

/// One row per endpoint, in the order of their numbers.
pub const ENDPOINTS: [Row; 6] = [
    Row { readable: true, ..row(Endpoint::Info, 0, "/api/v1/info", &[Method::Get], 0) },
    row(Endpoint::Session, 1, "/api/v1/session", &[Method::Post, Method::Delete], 512),
    row(Endpoint::Scan, 2, "/api/v1/scan-networks", &[Method::Get], 256),
    row(Endpoint::K2, 3, "/api/v1/provision/k2", &[Method::Post], 1024),
    row(Endpoint::Credentials, 4, "/api/v1/provision", &[Method::Post], 16384),
    Row { readable: true, notifies: true, ..row(Endpoint::Status, 5, "/api/v1/status", &[Method::Get], 256) },
];

const fn row(endpoint: Endpoint, number: u8, path: &'static str, methods: &'static [Method], limit: usize) -> Row {
    let uuid = SERVICE + ((number as u128 + 1) << 80);
    Row { endpoint, number, uuid, path, methods, readable: false, writable: limit > 0, notifies: false, limit }
}

impl Row {
    /// Whether the path answers `method` for a request that is sealed or not.
    pub fn allows(&self, method: Method, sealed: bool) -> bool {
        self.methods.contains(&method) || sealed && self.writable && method == Method::Post
    }
}

impl Method {
    /// As it is written in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
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

    /// The endpoint of that characteristic.
    pub fn from_uuid(uuid: u128) -> Option<Self> {
        ENDPOINTS.iter().find(|row| row.uuid == uuid).map(|row| row.endpoint)
    }

    /// The endpoint at that HTTP path.
    pub fn from_path(path: &str) -> Option<Self> {
        ENDPOINTS.iter().find(|row| row.path == path).map(|row| row.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn every_row_is_found_by_each_of_its_addresses() {
        for row in &ENDPOINTS {
            assert_eq!(row.endpoint.row().endpoint, row.endpoint);
            assert_eq!(Endpoint::from_number(row.number), Some(row.endpoint));
            assert_eq!(Endpoint::from_uuid(row.uuid), Some(row.endpoint));
            assert_eq!(Endpoint::from_path(row.path), Some(row.endpoint));
        }
        assert_eq!(Endpoint::from_uuid(SERVICE), None);
        assert_eq!(Endpoint::from_path("/api/v1"), None);
    }

    #[test]
    fn only_info_and_status_are_readable_and_only_info_is_not_writable() {
        let endpoints = |wanted: fn(&Row) -> bool| -> Vec<Endpoint> {
            ENDPOINTS.iter().filter(|row| wanted(row)).map(|row| row.endpoint).collect()
        };
        assert_eq!(endpoints(|row| row.readable), [Endpoint::Info, Endpoint::Status]);
        assert_eq!(endpoints(|row| !row.writable), [Endpoint::Info]);
        assert_eq!(endpoints(|row| row.notifies), [Endpoint::Status]);
        assert!(ENDPOINTS.iter().all(|row| row.writable == (row.limit > 0)));
    }

    #[test]
    fn a_sealed_message_is_posted_where_json_is_only_read() {
        let status = Endpoint::Status.row();
        assert!(status.allows(Method::Get, false) && status.allows(Method::Get, true));
        assert!(status.allows(Method::Post, true) && !status.allows(Method::Post, false));
        assert!(!Endpoint::Info.row().allows(Method::Post, true));
        assert!(Endpoint::Session.row().allows(Method::Delete, false));
    }

    #[test]
    fn characteristics_differ_from_the_service_in_one_group() {
        assert_eq!(Endpoint::Status.row().uuid, 0x6a61_7276_0006_4b32_9d5e_70c0_4e7f_1a00);
    }
}
