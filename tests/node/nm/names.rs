//! The DNS server of the access point: the real dnsmasq with the options that this program gives it. Needs root and dnsmasq.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use super::Lab;
use testing::netns::Namespace;
use testing_node::files::skip;

/// A resolver of the node that never answers. An answer that comes nevertheless did not wait for it.
const SILENT: &str = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('127.0.0.9', 53))
print('bound', flush=True)
while True:
    s.recv(512)
";

/// Asks for each type, and prints the type, the code of the answer and the number of its records; fails without an answer.
const CLIENT: &str = r"
import socket, struct, time
for name in ('connectivitycheck.gstatic.com', 'single'):
    for kind in (1, 28, 65, 16, 15, 6, 12, 33, 64):
        labels = b''.join(bytes([len(label)]) + label.encode() for label in name.split('.'))
        query = struct.pack('>6H', 7, 0x100, 1, 0, 0, 0) + labels + b'\0' + struct.pack('>2H', kind, 1)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(5)
        # The server may still be starting.
        for _ in range(200):
            try:
                sock.connect(('192.168.4.1', 53))
                sock.send(query)
                answer = sock.recv(4096)
                break
            except ConnectionRefusedError:
                time.sleep(0.02)
        print(kind, answer[3] & 15, struct.unpack('>H', answer[6:8])[0])
";

/// A process that is killed when the test ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _either = self.0.kill().and_then(|()| self.0.wait());
    }
}

#[tokio::test]
async fn every_type_is_answered_at_once_with_and_without_an_uplink() {
    let Some(lab) = Lab::start().await else { return };
    if std::process::Command::new("dnsmasq").arg("--version").output().is_err() {
        return skip("dnsmasq is not installed", false);
    }
    let Some(node) = Namespace::new("names") else { return };
    lab.open().await.expect("a radio that can");
    node.run(&["ip", "address", "add", "192.168.4.1/24", "dev", "lo"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let start = |command: &[&str]| {
        Process(node.command(command).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts"))
    };
    let mut silent = start(&["python3", "-c", SILENT]);
    let mut line = String::new();
    BufReader::new(silent.0.stdout.take().expect("a pipe")).read_line(&mut line).expect("text");
    assert_eq!(line, "bound\n");
    for resolvers in ["nameserver 127.0.0.9\n", ""] {
        std::fs::write(path("resolv.conf"), resolvers).expect("a temporary file");
        // As NetworkManager starts it.
        let options = [
            "dnsmasq".to_owned(),
            "--conf-file=/dev/null".into(),
            "--no-hosts".into(),
            "--keep-in-foreground".into(),
            "--bind-interfaces".into(),
            "--except-interface=lo".into(),
            "--clear-on-reload".into(),
            "--strict-order".into(),
            "--listen-address=192.168.4.1".into(),
            "--user=root".into(),
            format!("--resolv-file={}", path("resolv.conf")),
            format!("--pid-file={}", path("pid")),
            format!("--conf-dir={}", lab.dns.path().display()),
        ];
        let _server = start(&options.iter().map(String::as_str).collect::<Vec<_>>());
        let answers = String::from_utf8(node.run(&["python3", "-c", CLIENT]).stdout).expect("text");
        assert_eq!(answers.lines().count(), 18, "{answers}");
        for answer in answers.lines() {
            let fields: Vec<u32> = answer.split(' ').map(|field| field.parse().expect("a number")).collect();
            let [kind, code, records] = fields[..] else { panic!("{answer}") };
            // Only A has a record; other types are refused (RFC 1035, 4.1.1).
            assert_eq!((code, records), if kind == 1 { (0, 1) } else { (5, 0) }, "{answer}");
        }
    }
}
