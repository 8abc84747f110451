//! Kills every writer at every file-system call, and fails every call: afterwards each file is complete and private, and
//! the committed state is the old or the new one.
//!
//! A writer runs in a separate process under `strace`. A first run records its calls; then it runs once for each call, and
//! is killed when it enters the call, or the call fails.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Mutex;

use jarvis_provisioning::claim::forget;
use jarvis_provisioning::store::{Error, Store};
use provisioning_core::domain::{Credentials, Registration};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{Boot, ClearedItem, FREE_GUESSES};

use libtest_mimic::{Arguments, Trial};
use testing::journal::{self, VECTOR_NODE_KEY};
use testing_node::files::{
    self, Node, SHIPPED, credentials, k2, mode, outcome, paths, pending, registration, skip, write_everything,
};

/// Missing files that mark the beginning and end of the relevant calls: the writer tries to open them.
const BEGIN: &str = "/jarvis-test-begin";
const END: &str = "/jarvis-test-end";

/// The exit status of a writer that reported an error; a panic has 101.
const REPORTED: u8 = 3;

/// Calls that do not access files.
const OTHER_CALLS: [&str; 14] = [
    "brk",
    "mmap",
    "munmap",
    "mremap",
    "madvise",
    "mprotect",
    "getrandom",
    "futex",
    "getuid",
    "geteuid",
    "getegid",
    "uname",
    "rt_sigprocmask",
    "sched_yield",
];

/// The committed state after a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Old,
    New,
}

type Files = BTreeMap<String, Vec<u8>>;

/// One writer: its preparation, its action, and the check of the result.
struct Writer {
    name: &'static str,
    prepare: fn(&Node),
    act: fn(&Path) -> Result<(), Error>,
    /// Checks the files that the writer left, and the state that the next start loads.
    side: fn(&Node, &Files, &Boot) -> Side,
}

const WRITERS: [Writer; 14] = [
    Writer { name: "first start", prepare: |_| {}, act: open, side: first_start },
    Writer {
        name: "attempts",
        prepare: |node| node.open().save_guesses(1).unwrap(),
        act: |root| counted(root, |store| store.save_guesses(2)),
        side: |_, _, boot| side(&boot.guesses, &1, &2),
    },
    Writer {
        name: "first K2",
        prepare: |node| drop(node.open()),
        act: |root| counted(root, |store| store.save_k2(&k2(2))),
        side: |node, left, _| side(&k2_number(node, left), &None, &Some(2)),
    },
    Writer {
        name: "second K2",
        prepare: |node| node.open().save_k2(&k2(1)).unwrap(),
        act: |root| counted(root, |store| store.save_k2(&k2(2))),
        side: |node, left, _| side(&k2_number(node, left), &Some(1), &Some(2)),
    },
    Writer {
        name: "intention",
        prepare: |node| node.open().save_pending(&pending(0)).unwrap(),
        act: |root| counted(root, |store| store.save_pending(&pending(1))),
        side: |node, _, boot| {
            assert_eq!(fs::read_to_string(node.config()).unwrap(), SHIPPED);
            side(&boot.pending, &Some(pending(0)), &Some(pending(1)))
        },
    },
    Writer {
        name: "enrollment",
        prepare: |node| {
            let store = node.open();
            let earlier = Credentials { room: "attic".into(), ..credentials() };
            let registration = Registration { node_id: "earlier".into(), ..registration() };
            store.save_enrollment(&earlier, &registration).unwrap();
            store.save_pending(&pending(0)).unwrap();
        },
        act: |root| counted(root, |store| store.save_enrollment(&credentials(), &registration())),
        side: enrollment,
    },
    Writer {
        name: "marker",
        prepare: |node| {
            let store = node.open();
            store.save_outcome(&outcome(Fault::WrongPassword)).unwrap();
            store.save_pending(&pending(0)).unwrap();
        },
        act: |root| counted(root, |store| store.mark_provisioned()),
        side: marked,
    },
    Writer {
        name: "outcome",
        prepare: |node| node.open().save_pending(&pending(0)).unwrap(),
        act: |root| counted(root, |store| store.save_outcome(&outcome(Fault::TokenRejected))),
        side: |_, _, boot| {
            let old = (Some(pending(0)), None);
            side(&(boot.pending.clone(), boot.outcome.clone()), &old, &(None, Some(outcome(Fault::TokenRejected))))
        },
    },
    Writer {
        name: "renewal of the pairing secrets",
        prepare: |node| {
            node.open();
            fs::copy(node.file("pairing.json"), node.root().join(LABEL_BEFORE)).unwrap();
        },
        act: |root| counted(root, |store| store.renew_pairing().map(drop)),
        side: renewed,
    },
    Writer {
        name: "reset",
        prepare: everything_that_a_reset_deletes,
        act: |root| counted(root, |store| files::reset(store).map(drop)),
        side: reset,
    },
    Writer {
        name: "start with a torn state",
        prepare: |node| {
            node.open();
            fs::write(node.file("state.json"), "torn").unwrap();
        },
        act: open,
        side: |_, _, boot| {
            assert_eq!(boot.guesses, FREE_GUESSES);
            Side::New
        },
    },
    Writer {
        name: "start with another K1",
        prepare: |node| {
            everything(node);
            fs::write(node.file("secrets.key"), fernet::Fernet::generate_key()).unwrap();
        },
        act: open,
        side: |_, _, boot| {
            assert!(boot.provisioned);
            assert_eq!((boot.guesses, &boot.pending), (3, &None));
            Side::New
        },
    },
    Writer {
        name: "start after a K2 was decided",
        prepare: |node| {
            node.open().save_k2(&k2(1)).unwrap();
            let decided = format!(
                r#"{{"kind": "jarvis-provisioning/k2", "schema": 1, "key": "{}", "kid": "kid-2", "created_at": "2026-02-01T13:00:00+00:00"}}"#,
                "02".repeat(32)
            );
            put(&node.file("k2_pending.enc"), node.key().encrypt(decided.as_bytes()).as_bytes());
        },
        act: open,
        side: |node, left, _| side(&k2_number(node, left), &None, &Some(2)),
    },
    Writer {
        name: "start after an end was decided",
        prepare: |node| {
            let store = node.open();
            store.save_pending(&pending(0)).unwrap();
            let kept = fs::read(node.file("pending.enc")).unwrap();
            store.mark_provisioned().unwrap();
            fs::remove_file(node.file(".provisioned")).unwrap();
            put(&node.file("pending.enc"), &kept);
        },
        act: open,
        side: marked,
    },
];

fn counted(root: &Path, write: impl FnOnce(&mut Store) -> Result<(), Error>) -> Result<(), Error> {
    let mut store = Store::open(paths(root)).unwrap();
    let _ = fs::metadata(BEGIN);
    let result = write(&mut store);
    let _ = fs::metadata(END);
    result
}

fn open(root: &Path) -> Result<(), Error> {
    let paths = paths(root);
    let _ = fs::metadata(BEGIN);
    let result = Store::open(paths).and_then(|store| store.load());
    let _ = fs::metadata(END);
    result.map(drop)
}

fn everything(node: &Node) {
    let store = node.open();
    store.save_guesses(3).unwrap();
    write_everything(&store);
    fs::write(node.root().join("jarvis_node.db"), "data").unwrap();
    put(&node.file("db.key"), b"key");
}

/// The K1 of a node before its reset.
const K1_BEFORE: &str = "bm9kZSBiZWZvcmUgaXRzIHJlc2V0LCAzMiBieXRlcyE=";

/// Also what was set aside, in each folder, and the files of a claim.
fn everything_that_a_reset_deletes(node: &Node) {
    node.open();
    fs::write(node.file("secrets.key"), K1_BEFORE).unwrap();
    everything(node);
    let copied = [
        ("k2.enc", "k2.enc.unreadable-1"),
        ("pending.enc", "pending.enc.unreadable-2"),
        ("state.json", "state.json.unreadable-1"),
    ];
    for (name, aside) in copied {
        put(&node.file(aside), &fs::read(node.file(name)).unwrap());
    }
    put(&node.file("secrets.key.unreadable-1"), K1_BEFORE.as_bytes());
    fs::create_dir(node.root().join("msp")).unwrap();
    for name in ["config.yaml", "claimed.json", "claim-id", "claimed.json.unreadable-1"] {
        put(&node.root().join("msp").join(name), VECTOR_NODE_KEY.as_bytes());
    }
}

/// Creates a private file.
fn put(path: &Path, content: &[u8]) {
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).unwrap();
    file.write_all(content).unwrap();
}

fn side<T: PartialEq + std::fmt::Debug>(found: &T, old: &T, new: &T) -> Side {
    assert!(found == old || found == new, "neither old nor new: {found:?}");
    if found == new { Side::New } else { Side::Old }
}

fn first_start(node: &Node, left: &Files, boot: &Boot) -> Side {
    assert_eq!((boot.guesses, boot.provisioned), (0, false));
    for name in ["secrets.key", "pairing.json"] {
        if let Some(content) = left.get(name) {
            assert_eq!(*content, fs::read(node.file(name)).unwrap(), "{name} is created once");
        }
    }
    if left.contains_key("pairing.json") { Side::New } else { Side::Old }
}

/// The K2 after a start. Before it, metadata and key must belong together in every state that a reader can see.
fn k2_number(node: &Node, left: &Files) -> Option<u8> {
    let number = |key: &[u8], metadata: &[u8]| {
        let metadata: serde_json::Value = serde_json::from_slice(metadata).unwrap();
        let number = node.key().decrypt(std::str::from_utf8(key).unwrap()).unwrap()[0];
        assert_eq!(metadata["kid"], format!("kid-{number}"));
        number
    };
    if let (Some(key), Some(metadata)) = (left.get("k2.enc"), left.get("k2_metadata.json")) {
        number(key, metadata);
    }
    let read = |name| fs::read(node.file(name)).ok();
    let (key, metadata) = (read("k2.enc"), read("k2_metadata.json"));
    assert_eq!(key.is_some(), metadata.is_some(), "a key without a name, or a name without a key");
    Some(number(&key?, &metadata?))
}

fn enrollment(node: &Node, _: &Files, boot: &Boot) -> Side {
    assert_eq!(boot.pending, Some(pending(0)), "the attempt continues until its outcome is stored");
    let config: serde_json::Value = serde_json::from_slice(&fs::read(node.config()).unwrap()).unwrap();
    let found = (config["room"].as_str().unwrap(), config["node_id"].as_str().unwrap());
    side(&found, &("attic", "earlier"), &("küche", registration().node_id.as_str()))
}

fn marked(_: &Node, left: &Files, boot: &Boot) -> Side {
    assert!(left.contains_key(".provisioned") || left.contains_key("pending.enc"), "neither marker nor pending attempt");
    let outcome = if boot.provisioned { &None } else { &Some(outcome(Fault::WrongPassword)) };
    assert_eq!(boot.outcome, *outcome);
    side(&(boot.provisioned, boot.pending.clone()), &(false, Some(pending(0))), &(true, None))
}

/// A copy of the label before its pairing secrets are renewed.
const LABEL_BEFORE: &str = "label-before.json";

/// Both pairing secrets are the old ones or the new ones, and what phones have stored of the label stays.
fn renewed(node: &Node, left: &Files, boot: &Boot) -> Side {
    let label = |content: &[u8]| serde_json::from_slice::<serde_json::Value>(content).unwrap();
    let before = label(&fs::read(node.root().join(LABEL_BEFORE)).unwrap());
    let after = label(&left["pairing.json"]);
    assert_eq!(after["access_point_passphrase"], before["access_point_passphrase"]);
    assert_eq!(after["code"], boot.pairing.code.expose());
    // One new code in a million is the old one.
    assert!(after["code"] == before["code"] || after["secret"] != before["secret"], "one is new without the other");
    if after["secret"] == before["secret"] { Side::Old } else { Side::New }
}

fn reset(node: &Node, left: &Files, boot: &Boot) -> Side {
    let gone = [".provisioned", "k2_pending.enc", "k2_metadata.json", "k2.enc", "wifi_credentials.enc", "pending.enc", "db.key"];
    let is_gone = |node: &Node| {
        let config = fs::read_to_string(node.config()).unwrap();
        gone.iter().all(|name| !node.file(name).exists())
            && !node.root().join("jarvis_node.db").exists()
            && config.contains("your-node-id")
            && config.contains("your_api_key_here")
    };
    assert_eq!(boot.guesses, 3);
    if boot.resetting {
        let cleared = node.open().finish_reset(forget).unwrap();
        assert_eq!(cleared.items[..3], [ClearedItem::ProvisioningMarker, ClearedItem::K2, ClearedItem::WifiCredentials]);
        assert!(is_gone(node));
        assert!(!node.open().load().unwrap().resetting);
        assert_nothing_is_left(node);
    } else if is_gone(node) {
        assert_nothing_is_left(node);
        return Side::New;
    } else {
        assert!(
            boot.provisioned && gone.iter().filter(|name| left.contains_key(**name)).count() == 6,
            "begun, but not completed"
        );
    }
    Side::Old
}

/// Asserts that no file of the node contains anything that its owner gave, or the K1 that sealed it.
fn assert_nothing_is_left(node: &Node) {
    let given = credentials();
    let mut secrets = vec![K1_BEFORE.as_bytes().to_vec()];
    let owners = [
        given.ssid.as_ref().expect("a network").as_bytes(),
        given.passphrase.expose().as_bytes(),
        given.token.expose().as_bytes(),
        &[1; 32],
    ];
    for secret in owners.into_iter().chain([VECTOR_NODE_KEY.as_bytes()]) {
        secrets.extend(journal::encodings(secret).into_iter().map(String::into_bytes));
    }
    for path in files_below(node.root()).into_iter().filter(|path| !path.ends_with("strace.log")) {
        let content = fs::read(&path).unwrap();
        let found = secrets.iter().find(|secret| content.windows(secret.len()).any(|window| window == **secret));
        assert_eq!(found, None, "{}", path.display());
    }
    assert!(files_below(node.root()).iter().all(|path| !path.to_str().unwrap().contains(".unreadable-")));
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// One call of a writer: its name, and its index among the calls of that name.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    number: usize,
}

fn strace(node: &Node, writer: &Writer, arguments: &[&str]) -> ExitStatus {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq"]).args(arguments).arg("--").arg(std::env::current_exe().unwrap());
    command.env("JARVIS_TEST_ROOT", node.root()).env("JARVIS_TEST_WRITER", writer.name);
    command.output().unwrap().status
}

/// The calls between the two marks.
fn calls(writer: &Writer) -> Vec<Call> {
    let node = Node::in_memory();
    (writer.prepare)(&node);
    let log = node.root().join("strace.log");
    let status = strace(&node, writer, &["-e", "signal=none", "-o", log.to_str().unwrap()]);
    assert!(status.success(), "{}: {status}", writer.name);
    assert_eq!(inspect(&node, writer), Side::New, "{}", writer.name);

    let log = fs::read_to_string(log).unwrap();
    let process = log.split(' ').next().unwrap();
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let (mut inside, mut calls) = (false, Vec::new());
    for line in log.lines() {
        let (number, call) = line.split_once(' ').unwrap();
        assert_eq!(number, process, "the calls of one thread can be counted");
        let Some((name, _)) = call.trim_start().split_once('(') else { continue };
        let number = numbers.entry(name).or_default();
        *number += 1;
        if line.contains(END) {
            return calls;
        }
        if inside && !OTHER_CALLS.contains(&name) {
            calls.push(Call { name: name.into(), number: *number });
        }
        inside |= line.contains(BEGIN);
    }
    panic!("{}: the end was not reached", writer.name);
}

/// Checks the files that the writer left, then starts the node and checks the loaded state.
fn inspect(node: &Node, writer: &Writer) -> Side {
    let left = left_whole(node);
    let boot = node.open().load().unwrap();
    let after = left_whole(node);
    assert!(!after.keys().any(|name| name.contains(".tmp")), "{:?}", after.keys());
    let sets_aside = writer.name.contains("torn") || writer.name.contains("another") || writer.name == "reset";
    assert!(sets_aside || !after.keys().any(|name| name.contains(".unreadable-")), "{:?}", after.keys());
    (writer.side)(node, &left, &boot)
}

/// Whether only the owner has access to the file.
fn is_private(path: &Path) -> bool {
    matches!(mode(path), 0o600 | 0o400 | 0o200 | 0)
}

/// All files in the state folder; asserts that each is private and complete.
fn left_whole(node: &Node) -> Files {
    let mut files = Files::new();
    let config = fs::read(node.config()).unwrap();
    serde_json::from_slice::<serde_json::Value>(&config).expect("the configuration is complete");
    if !node.state().exists() {
        return files;
    }
    assert_eq!(mode(&node.state()), 0o700);
    for name in node.names() {
        assert!(is_private(&node.file(&name)), "{name}");
        let content = fs::read(node.file(&name)).unwrap();
        let text = String::from_utf8_lossy(&content).into_owned();
        let extension = Path::new(&name).extension().and_then(|extension| extension.to_str());
        match extension {
            _ if name == "secrets.key" => assert!(fernet::Fernet::new(&text).is_some()),
            _ if name == ".provisioned" => assert_eq!(text, ""),
            Some("json") if text != "torn" => drop(serde_json::from_str::<serde_json::Value>(&text).unwrap()),
            Some("enc") => assert!(text.len() >= 140 && text.is_ascii() && text.len().is_multiple_of(4), "{name}: {text}"),
            _ => {}
        }
        files.insert(name, content);
    }
    for entry in fs::read_dir(node.root()).unwrap() {
        let path = entry.unwrap().path();
        assert!(!path.to_str().unwrap().contains(".tmp") || is_private(&path), "{}", path.display());
    }
    files
}

/// Runs every writer once for each of its calls with an injection; `judge` checks the exit status and the committed state.
/// Prints the number of points, and panics if there is a bad state.
fn campaign(what: &str, injection: impl Fn(&Call) -> Option<String> + Sync, judge: impl Fn(ExitStatus, Side) + Sync) {
    if Command::new("strace").arg("--version").output().is_err() {
        return skip("strace is not installed", true);
    }
    let mut points: Vec<(&Writer, Call, String)> = Vec::new();
    for writer in &WRITERS {
        for call in calls(writer) {
            if let Some(injection) = injection(&call) {
                points.push((writer, call, injection));
            }
        }
    }
    let total = points.len();
    let points = Mutex::new(points.into_iter());
    let bad = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some((writer, call, injection)) = points.lock().unwrap().next() else { break };
                    let node = Node::in_memory();
                    (writer.prepare)(&node);
                    let injection = format!("inject={}:{injection}:when={}", call.name, call.number);
                    let status = strace(&node, writer, &["-o", "/dev/null", "-e", &injection]);
                    let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| judge(status, inspect(&node, writer))));
                    if judged.is_err() {
                        bad.lock().unwrap().push(format!("{}: {injection}: {status}", writer.name));
                    }
                }
            });
        }
    });
    let bad = bad.into_inner().unwrap();
    println!("{what}: {} writers, {total} points, {} bad states", WRITERS.len(), bad.len());
    assert!(total > 300, "every writer makes dozens of calls");
    assert!(bad.is_empty(), "{bad:#?}");
}

fn kills() {
    campaign(
        "killed",
        |_| Some("signal=SIGKILL".into()),
        |status, _| assert!(status.signal() == Some(9) || status.code() == Some(128 + 9), "was not killed: {status}"),
    );
}

fn errors() {
    let error = |call: &Call| {
        let error = match call.name.as_str() {
            "write" | "openat" | "mkdir" => "ENOSPC",
            "renameat" | "unlinkat" | "fchmod" => "EROFS",
            // A failed close is ignored by the writers, and the descriptor would stay open.
            "close" => return None,
            _ => "EIO",
        };
        Some(format!("error={error}"))
    };
    campaign("refused", error, |status, side| match status.code() {
        Some(0) => assert_eq!(side, Side::New, "reported success without committing"),
        code => assert_eq!(code, Some(REPORTED.into()), "neither success nor an error: {status}"),
    });
}

fn main() -> ExitCode {
    if let (Ok(root), Ok(name)) = (std::env::var("JARVIS_TEST_ROOT"), std::env::var("JARVIS_TEST_WRITER")) {
        let writer = WRITERS.iter().find(|writer| writer.name == name).unwrap();
        return if (writer.act)(root.as_ref()).is_ok() { ExitCode::SUCCESS } else { ExitCode::from(REPORTED) };
    }
    let trial = |name: &str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let trials = vec![
        trial("a_kill_at_any_call_of_any_writer_leaves_the_old_or_the_new", kills),
        trial("an_error_of_any_call_of_any_writer_is_reported_or_made_good", errors),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
