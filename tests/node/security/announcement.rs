//! mDNS announces the node, and answers, only at the interface that joined the owner's network. Needs root.

use std::io::Read as _;
use std::process::Stdio;
use std::sync::Arc;

use jarvis_provisioning::daemon::{Handle, View};
use jarvis_provisioning::link::mdns::{Config, serve};
use provisioning_core::domain::{RadioUse, Status, Step};
use testing::netns::Namespace;
use testing_node::scripted;
use tokio::sync::watch;

/// Set in the process that announces.
const INSIDE: &str = "JARVIS_TEST_ANNOUNCES";

/// Sends queries for the service to the multicast group, and prints the number of answers. Arguments: the own address, and the
/// number of answers after which it ends.
const RESOLVER: &str = r"
import socket, sys, time
address, wanted = sys.argv[1], int(sys.argv[2])
service = b'\x0c_jarvis-node\x04_tcp\x05local\x00'
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sock.bind(('', 5353))
group = socket.inet_aton('224.0.0.251')
sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + socket.inet_aton(address))
sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
sock.settimeout(0.2)
answers = 0
for _ in range(150 if wanted else 10):
    sock.sendto(b'\0\0\0\0\0\1\0\0\0\0\0\0' + service + b'\0\x0c\0\1', ('224.0.0.251', 5353))
    try:
        packet, _ = sock.recvfrom(9000)
        answers += service in packet
    except socket.timeout:
        pass
    if wanted and answers >= wanted:
        break
print(answers)
";

/// A node with that use of `wlan0`; announces until standard input ends.
async fn announce(radio: &str) {
    let interface = "wlan0".into();
    let (step, used) = match radio {
        "joined" => (Step::Done, RadioUse::Station { interface }),
        _ => (Step::Waiting, RadioUse::Other { interface }),
    };
    let view = View { status: Status { step, ..Status::waiting() }, ..scripted::view() };
    let (handle, ends) = Handle::channel(1, view.clone());
    ends.view.send_replace(Arc::new(view));
    let (_radio, radio) = watch::channel(used);
    let config = Config { name: "jarvis-5b91b661".into(), port: 8080, radio };
    let ended = async {
        let read = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        read.await.expect("it does not panic").expect("a pipe");
    };
    serve(config, handle, ended).await;
}

#[tokio::test]
async fn mdns_answers_only_at_the_interface_that_joined_a_network() {
    answers_only_at_the_radio("joined", "mdns_answers_only_at_the_interface_that_joined_a_network").await;
}

#[tokio::test]
async fn a_node_that_waits_is_found_in_the_network_that_others_joined() {
    answers_only_at_the_radio("taken", "a_node_that_waits_is_found_in_the_network_that_others_joined").await;
}

async fn answers_only_at_the_radio(radio: &str, test: &str) {
    if let Ok(radio) = std::env::var(INSIDE) {
        return announce(&radio).await;
    }
    let Some(node) = Namespace::new(&format!("mdns-node-{radio}")) else { return };
    let Some(home) = Namespace::new(&format!("mdns-home-{radio}")) else { return };
    let Some(other) = Namespace::new(&format!("mdns-other-{radio}")) else { return };
    node.connect("wlan0", &home, "eth0");
    node.connect("vpn0", &other, "eth0");
    node.assign("wlan0", &["10.78.0.1/24"]);
    home.assign("eth0", &["10.78.0.2/24"]);
    node.assign("vpn0", &["10.79.0.1/24"]);
    other.assign("eth0", &["10.79.0.2/24"]);
    let program = std::env::current_exe().expect("the program has a path");
    let name = format!("security::announcement::{test}");
    let mut command = node.command(&[program.to_str().expect("UTF-8"), "--exact", &name]);
    command.env(INSIDE, radio).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut announcing = command.spawn().expect("this program runs");
    let answers = |namespace: &Namespace, address: &str, wanted: &str| {
        let output = namespace.run(&["python3", "-c", RESOLVER, address, wanted]);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.trim().parse::<u32>().unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    };
    assert!(answers(&home, "10.78.0.2", "1") > 0, "it is found in the network of its radio");
    assert_eq!(answers(&other, "10.79.0.2", "0"), 0, "it is found in another network");
    drop(announcing.stdin.take());
    assert!(announcing.wait().expect("it was started").success());
}
