//! The node with two real interfaces, one of which plays the access point's, in network namespaces. Needs root.

use testing::netns::Namespace;

use crate::place::{Node, Place};

/// The settings of the node: `ap0` plays the part of the access point's interface.
const SETTINGS: &str = "listen = \"::\"\ninterface = \"ap0\"\n";
/// The text of a refusal of secrets in clear.
const REFUSED: &str = "Secrets are not accepted in clear";

/// Sends a request from a namespace; prints the status and the body. Arguments: the host, its port, the own address, method, path.
const CLIENT: &str = r"
import http.client, sys
host, port, source, method, path = sys.argv[1:]
connection = http.client.HTTPConnection(host, int(port), timeout=20, source_address=(source, 0) if source else None)
connection.request(method, path, headers={'host': '192.168.4.1'})
response = connection.getresponse()
print(response.status, response.read().decode())
";

/// The node has `ap0` (192.168.4.1) and `eth0` (10.77.0.1). A phone is connected to `ap0`, and a host to `eth0`; each of them
/// routes to the node's other address by the node.
struct Networks {
    node: Namespace,
    phone: Namespace,
    host: Namespace,
}

impl Networks {
    /// Those of one test; None without the right to make them.
    fn of(test: &str) -> Option<Self> {
        let namespace = |part: &str| Namespace::new(&format!("{test}-{part}"));
        let (node, phone, host) = (namespace("node")?, namespace("phone")?, namespace("host")?);
        node.connect("ap0", &phone, "wlan0");
        node.connect("eth0", &host, "eth0");
        node.assign("ap0", &["192.168.4.1/24", "fd77:4::1/64"]);
        phone.assign("wlan0", &["192.168.4.2/24", "172.20.0.2/24", "fd77:4::2/64"]);
        node.assign("eth0", &["10.77.0.1/24", "fd77::1/64"]);
        host.assign("eth0", &["10.77.0.2/24", "fd77::2/64"]);
        host.ip("route add 192.168.4.0/24 via 10.77.0.1");
        phone.ip("route add 10.77.0.0/24 via 192.168.4.1");
        node.ip("route add 172.20.0.0/24 dev ap0");
        Some(Self { node, phone, host })
    }

    /// A node, and its folder.
    async fn start(&self, variables: &[(&'static str, &str)]) -> (Place, Node) {
        let mut place = Place::new();
        std::fs::write(place.path("settings.toml"), SETTINGS).expect("a writable folder");
        let settings = place.path("settings.toml").to_str().expect("UTF-8").to_owned();
        let path = std::env::var("PATH").expect("a search path");
        let own = [("JARVIS_PROVISION_CONFIG", settings.as_str()), ("PATH", path.as_str())];
        for (name, value) in own.into_iter().chain(variables.iter().copied()) {
            place.set(name, value);
        }
        let node = place.start_in(self.node.name()).await;
        (place, node)
    }
}

/// The status and the body of the answer to a request that is sent from a namespace.
fn ask(from: &Namespace, [method, path]: [&str; 2], host: &str, port: u16, source: &str) -> (u16, String) {
    let output = from.run(&["python3", "-c", CLIENT, host, &port.to_string(), source, method, path]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (status, body) = text.split_once(' ').unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (status.parse().expect("a status"), body.to_owned())
}

#[tokio::test]
async fn secrets_in_clear_come_only_from_the_interface_of_the_access_point() {
    let Some(networks) = Networks::of("secrets") else { return };
    let (_place, node) = networks.start(&[]).await;
    let port = node.address().port();
    let Networks { phone, host, .. } = &networks;
    for (namespace, to, source, is_accepted) in [
        (phone, "192.168.4.1", "", true),
        (phone, "::ffff:192.168.4.1", "", true),
        // From the access point, but with an address of another network, or to another address.
        (phone, "192.168.4.1", "172.20.0.2", false),
        (phone, "10.77.0.1", "", false),
        (phone, "fd77:4::1", "", false),
        // From the other interface.
        (host, "192.168.4.1", "", false),
        (host, "::ffff:192.168.4.1", "", false),
        (host, "10.77.0.1", "", false),
        (host, "fd77::1", "", false),
    ] {
        let (status, body) = ask(namespace, ["POST", "/api/v1/factory-reset"], to, port, source);
        assert_eq!(status, if is_accepted { 200 } else { 403 }, "{} to {to} from {source:?}: {body}", namespace.name());
        assert_eq!(body.contains(REFUSED), !is_accepted, "{body}");
    }
    drop(node);
}

#[tokio::test]
async fn without_a_token_network_care_answers_on_the_device_and_in_its_access_point_only() {
    let Some(networks) = Networks::of("care") else { return };
    let (_place, node) = networks.start(&[("MOONHUB_PROVISIONING_ENABLED", "1")]).await;
    let port = node.address().port();
    let Networks { node: device, phone, host } = &networks;
    for (namespace, to, path, expected) in [
        (device, "127.0.0.1", "status", 200),
        (device, "127.0.0.1", "auth-code", 200),
        (phone, "192.168.4.1", "status", 200),
        (phone, "192.168.4.1", "networks", 200),
        // Who is in the access point need not know the code.
        (phone, "192.168.4.1", "auth-code", 403),
        (phone, "192.168.4.1", "label", 403),
        (phone, "10.77.0.1", "status", 403),
        (phone, "fd77:4::1", "status", 403),
        (host, "10.77.0.1", "status", 403),
        (host, "192.168.4.1", "status", 403),
        (host, "fd77::1", "auth-code", 403),
    ] {
        let (status, body) = ask(namespace, ["GET", &format!("/api/provisioning/{path}")], to, port, "");
        assert_eq!(status, expected, "{path} from {} to {to}: {body}", namespace.name());
    }
    drop(node);
}
