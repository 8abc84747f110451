//! Which servers receive the operator's credentials and the passwords.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use rustls::{ServerConnection, StreamOwned};
use testing::tls::Authority;

use crate::support::{CONF, Desk, Run};

/// An authority, and an admin API with TLS that requires a client certificate of the same authority.
struct Factory {
    authority: Authority,
    desk: Desk,
}

impl Factory {
    fn new() -> Self {
        let authority = Authority::new();
        let desk = Desk::new();
        desk.tree("rootfs");
        fs::copy(authority.path(), desk.path("ca.pem")).unwrap();
        Self { authority, desk }
    }

    /// A certificate and its key, as PEM files.
    fn issue(&self, name: &str) {
        let identity = self.authority.issue(name, |_| {});
        fs::write(self.desk.path(format!("{name}.pem")), identity.certificate_pem()).unwrap();
        fs::write(self.desk.path(format!("{name}.key")), identity.key_pem()).unwrap();
    }

    /// Starts a server under that name; gives its port.
    fn serve(&self, name: &str) -> u16 {
        let config = Arc::new(self.authority.server_config_for_own_clients(name));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let connection = ServerConnection::new(config.clone()).map(|tls| StreamOwned::new(tls, connection.unwrap()));
                let mut stream = connection.unwrap();
                if stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    let _ = stream.flush();
                }
            }
        });
        port
    }

    fn run(&self, port: u16, more: &[&str]) -> Run {
        let url = format!("https://localhost:{port}");
        let fixed = ["prepare", "--serial", "AZJN-0042", "--rootfs-dir", "rootfs", "--api-url", &url, "--tries", "1"];
        self.desk.run(&[&fixed, more].concat())
    }
}

const OPERATOR: [&str; 6] = ["--ca-file", "ca.pem", "--client-cert", "operator.pem", "--client-key", "operator.key"];

#[test]
fn a_private_authority_and_the_operators_certificate_open_the_admin_api() {
    let factory = Factory::new();
    factory.issue("operator");
    factory.run(factory.serve("localhost"), &OPERATOR).succeeded();
    assert!(factory.desk.path("rootfs").join(CONF).exists());
}

#[test]
fn a_server_of_an_unknown_authority_or_another_name_receives_nothing() {
    let factory = Factory::new();
    factory.issue("operator");
    let port = factory.serve("localhost");
    factory.run(port, &["--client-cert", "operator.pem", "--client-key", "operator.key"]).failed_with("certificate");
    factory.run(factory.serve("another.example"), &OPERATOR).failed_with("certificate");
    assert!(!factory.desk.path("rootfs").join(CONF).exists());
}

#[test]
fn without_the_operators_certificate_the_admin_api_stays_closed() {
    let factory = Factory::new();
    factory.run(factory.serve("localhost"), &["--ca-file", "ca.pem"]).failed_with("no answer from the server");
}

#[test]
fn unusable_credentials_are_reported_with_their_file() {
    let factory = Factory::new();
    factory.issue("operator");
    factory.issue("stranger");
    let port = factory.serve("localhost");
    let mixed = ["--ca-file", "ca.pem", "--client-cert", "operator.pem", "--client-key", "stranger.key"];
    factory.run(port, &mixed).failed_with("operator.pem");
    factory.run(port, &["--ca-file", "operator.key"]).failed_with("operator.key");
    factory.run(port, &["--admin-token-file", "missing"]).failed_with("missing");
    assert_eq!(factory.run(port, &["--client-cert", "operator.pem"]).status, Some(2));
}

#[test]
fn a_password_in_the_address_is_refused() {
    let factory = Factory::new();
    let arguments =
        ["prepare", "--serial", "AZJN-0042", "--rootfs-dir", "rootfs", "--api-url", "https://admin:hunter2@localhost"];
    let run = factory.desk.run(&arguments).failed_with("--admin-token-file");
    assert_eq!(run.status, Some(2));
}
