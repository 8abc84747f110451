//! The interface as a table, and its description in the format of D-Bus introspection.

use zbus::Variant;

use crate::panel::Shown;

/// The name on the bus, and the name of the interface.
pub const NAME: &str = "org.jarvis.Provisioning1";
/// The object's path.
pub const PATH: &str = "/org/jarvis/Provisioning1";

/// A property; all are read-only, and their changes are signalled.
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub about: &'static str,
    value: Value,
}

/// The type of a property, and where its value is.
enum Value {
    Text(fn(&Shown) -> &str),
    Flag(fn(&Shown) -> bool),
    Percentage(fn(&Shown) -> u8),
}

/// A method or a signal.
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// What it does, or when it is sent.
    pub about: &'static str,
    /// The arguments that it takes: name and D-Bus type.
    pub takes: &'static [(&'static str, &'static str)],
    /// The arguments that it returns, or that are sent with it: name and D-Bus type.
    pub gives: &'static [(&'static str, &'static str)],
}

/// The properties.
pub const PROPERTIES: [Property; 13] = [
    text("Name", "The name on the label, which phones show", |shown| &shown.name),
    text("NodeId", "The identity at the command center", |shown| &shown.node_id),
    text("State", "AP_MODE, CONNECTING, REGISTERING, PROVISIONED, ERROR or ONLINE", |shown| shown.state.name()),
    Property {
        name: "Progress",
        about: "The progress of the attempt, percent",
        value: Value::Percentage(|shown| shown.progress),
    },
    text("Message", "One sentence about the state, for people", |shown| &shown.message),
    text("LastOutcome", "How the last attempt ended: empty, Succeeded, or the name of a fault", |shown| shown.last_outcome),
    text("Failure", "Why the last attempt failed, for people; empty if it did not", |shown| shown.failure),
    flag("Provisioned", "The node is provisioned", |shown| shown.is_provisioned),
    flag("PhoneConnected", "A phone has the session", |shown| shown.has_phone),
    text("Connectivity", "unknown, offline, access_point, limited or online", |shown| shown.connectivity.name()),
    text("Network", "The network that the node is in; empty if it is in none, or without network care", |shown| &shown.network),
    text("Address", "The node's IPv4 address in that network, or in its access point", |shown| &shown.address),
    text("Button", "released, held (a longer press resets the node) or resetting", |shown| shown.press.name()),
];

/// The methods.
pub const METHODS: [Member; 5] = [
    Member {
        name: "Diagnose",
        about: "Checks the network, from the radio to the command center; takes ten seconds at most, and changes nothing",
        takes: &[],
        gives: &[("layers", "a(ssss)")],
    },
    Member {
        name: "Reset",
        about: "Deletes everything that the owner has given; returns when it is complete",
        takes: &[],
        gives: &[],
    },
    Member {
        name: "Authorize",
        about: "Permits clients without a secret, such as Improv's, to give the node its network; lasts a minute",
        takes: &[],
        gives: &[],
    },
    Member { name: "Recover", about: "Starts a recovery of the network; returns when it has started", takes: &[], gives: &[] },
    Member { name: "SetHotspot", about: "Opens or closes the hotspot", takes: &[("open", "b")], gives: &[] },
];

/// The signals, besides those of the properties.
pub const SIGNALS: [Member; 1] = [Member {
    name: ATTEMPT_ENDED,
    about: "An attempt has ended, with the values of LastOutcome and Failure",
    takes: &[],
    gives: &[("outcome", "s"), ("failure", "s")],
}];

/// The signal at the end of an attempt.
pub(super) const ATTEMPT_ENDED: &str = "AttemptEnded";

const fn text(name: &'static str, about: &'static str, value: fn(&Shown) -> &str) -> Property {
    Property { name, about, value: Value::Text(value) }
}

const fn flag(name: &'static str, about: &'static str, value: fn(&Shown) -> bool) -> Property {
    Property { name, about, value: Value::Flag(value) }
}

impl Property {
    /// Its D-Bus type.
    pub const fn signature(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "s",
            Value::Flag(_) => "b",
            Value::Percentage(_) => "y",
        }
    }

    /// Its value.
    pub fn value(&self, shown: &Shown) -> Variant<'static> {
        match self.value {
            Value::Text(value) => value(shown).to_owned().into(),
            Value::Flag(value) => value(shown).into(),
            Value::Percentage(value) => value(shown).into(),
        }
    }
}

/// The description of the object at a path; none if there is no object. Objects above ours only name the one below.
pub(super) fn describe(path: &str) -> Option<String> {
    let path = if path == "/" { "" } else { path };
    let below = PATH.strip_prefix(path)?;
    match below.strip_prefix('/') {
        None if below.is_empty() => Some(document(&interfaces())),
        None => None,
        Some(below) => {
            let child = below.split('/').next().unwrap_or_default();
            Some(document(&format!("  <node name=\"{child}\"/>\n")))
        }
    }
}

fn document(content: &str) -> String {
    let format = "\"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"";
    let address = "\"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\"";
    format!("<!DOCTYPE node PUBLIC {format} {address}>\n<node>\n{content}</node>\n")
}

fn interfaces() -> String {
    let properties = PROPERTIES.iter().map(|property| {
        let (about, name, signature) = (property.about, property.name, property.signature());
        format!("    <!-- {about}. -->\n    <property name=\"{name}\" type=\"{signature}\" access=\"read\"/>\n")
    });
    let methods = METHODS.iter().map(|member| described("method", member));
    let signals = SIGNALS.iter().map(|member| described("signal", member));
    let own: String = properties.chain(methods).chain(signals).collect();
    format!("{STANDARD}  <interface name=\"{NAME}\">\n{own}  </interface>\n")
}

fn described(kind: &str, Member { name, about, takes, gives }: &Member) -> String {
    let argument = |direction: &str, (name, signature): &(&str, &str)| {
        format!("      <arg name=\"{name}\" type=\"{signature}\" direction=\"{direction}\"/>\n")
    };
    let taken = takes.iter().map(|taken| argument("in", taken));
    let given = gives.iter().map(|given| argument("out", given));
    let arguments: String = taken.chain(given).collect();
    format!("    <!-- {about}. -->\n    <{kind} name=\"{name}\">\n{arguments}    </{kind}>\n")
}

/// The interfaces that every object has.
const STANDARD: &str = r#"  <interface name="org.freedesktop.DBus.Introspectable">
    <method name="Introspect">
      <arg name="xml" type="s" direction="out"/>
    </method>
  </interface>
  <interface name="org.freedesktop.DBus.Peer">
    <method name="Ping"/>
  </interface>
  <interface name="org.freedesktop.DBus.Properties">
    <method name="Get">
      <arg name="interface" type="s" direction="in"/>
      <arg name="name" type="s" direction="in"/>
      <arg name="value" type="v" direction="out"/>
    </method>
    <method name="GetAll">
      <arg name="interface" type="s" direction="in"/>
      <arg name="values" type="a{sv}" direction="out"/>
    </method>
    <method name="Set">
      <arg name="interface" type="s" direction="in"/>
      <arg name="name" type="s" direction="in"/>
      <arg name="value" type="v" direction="in"/>
    </method>
    <signal name="PropertiesChanged">
      <arg name="interface" type="s"/>
      <arg name="changed" type="a{sv}"/>
      <arg name="invalidated" type="as"/>
    </signal>
  </interface>
"#;

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/dbus.md");

    /// The first two cells of each row that names something, in a section of the document.
    fn rows(section: &str) -> Vec<(String, String)> {
        let text = DOCUMENT.split("\n## ").find_map(|text| text.strip_prefix(section)).expect("a section");
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        rows.map(|(name, rest)| (name.to_owned(), rest.split(" | ").next().unwrap_or_default().to_owned())).collect()
    }

    /// A member as the document writes it.
    fn row(member: &Member) -> (String, String) {
        let arguments = member.takes.iter().chain(member.gives);
        let arguments: Vec<_> = arguments.map(|(name, signature)| format!("{name} {signature}")).collect();
        (member.name.to_owned(), if arguments.is_empty() { "–".to_owned() } else { arguments.join(", ") })
    }

    #[test]
    fn the_document_lists_the_interface_and_nothing_else() {
        let properties = PROPERTIES.map(|property| (property.name.to_owned(), property.signature().to_owned()));
        assert_eq!(rows("Properties"), properties);
        assert_eq!(rows("Methods"), METHODS.map(|method| row(&method)));
        assert_eq!(rows("Signals"), SIGNALS.map(|signal| row(&signal)));
    }

    #[test]
    fn objects_above_ours_name_the_one_below() {
        for (path, below) in [("/", "org"), ("/org", "jarvis"), ("/org/jarvis", "Provisioning1")] {
            let text = describe(path).expect("an object above ours");
            assert!(text.contains(&format!("<node name=\"{below}\"/>")) && !text.contains("interface name"), "{text}");
        }
        assert!(describe(PATH).is_some_and(|text| text.contains(NAME)));
        for other in ["/or", "/org/jarvis/Provisioning1/more", "/org/jarvis/Provisioning12", "/other"] {
            assert_eq!(describe(other), None, "{other}");
        }
    }
}
