//! Network namespaces of Linux with virtual cables between them. They need root and `ip` of iproute2.

use std::process::{Command, Output, Stdio};

/// A network namespace of a test; deleted on drop.
#[derive(Debug)]
pub struct Namespace(String);

impl Namespace {
    /// A new namespace with a loopback; `part` distinguishes it from the others of this process. `None`, and a line on
    /// standard error, if this user cannot create one with interfaces.
    pub fn new(part: &str) -> Option<Self> {
        let namespace = Self(format!("jarvis-{part}-{}", std::process::id()));
        let is_usable = ip(&format!("netns add {}", namespace.0))
            && namespace.try_ip("link set lo up")
            && namespace.try_ip("link add name probe0 type veth peer name probe1")
            && namespace.try_ip("link del probe0");
        if !is_usable {
            eprintln!("SKIPPED: this user cannot create network namespaces and interfaces");
        }
        is_usable.then_some(namespace)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Connects two namespaces with an interface in each.
    pub fn connect(&self, interface: &str, other: &Self, other_interface: &str) {
        self.ip(&format!("link add name {interface} type veth peer name {other_interface} netns {}", other.0));
        self.ip(&format!("link set {interface} up"));
        other.ip(&format!("link set {other_interface} up"));
    }

    /// Gives an interface addresses, with their prefixes.
    pub fn assign(&self, interface: &str, addresses: &[&str]) {
        for address in addresses {
            // Without duplicate address detection an IPv6 address can be used at once.
            let option = if address.contains(':') { " nodad" } else { "" };
            self.ip(&format!("addr add {address} dev {interface}{option}"));
        }
    }

    /// Runs `ip` in the namespace.
    pub fn ip(&self, arguments: &str) {
        assert!(self.try_ip(arguments), "ip -n {} {arguments}", self.0);
    }

    /// Runs a program in the namespace until it ends.
    pub fn run(&self, program: &[&str]) -> Output {
        self.command(program).output().expect("the program runs")
    }

    /// The command that runs a program in the namespace.
    pub fn command(&self, program: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).args(program);
        command
    }

    fn try_ip(&self, arguments: &str) -> bool {
        ip(&format!("-n {} {arguments}", self.0))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.0));
    }
}

fn ip(arguments: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
