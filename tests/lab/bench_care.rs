//! The figures of network care.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use provisioning_core::care::recovery::{FALLBACK_WITHIN, RETURN_WITHIN};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep};

use super::table::Table;
use super::{LOOK, mebibytes, seconds};
use crate::air::{must, run, until, within};
use crate::care::{Caretaker, is_in, is_online, timed_diagnosis};
use crate::place::{AIR, SSID};

/// Readers of events.
const READERS: u16 = 500;
/// How long the caretaker is watched at idle: DNS is asked once meanwhile, as in every time of that length.
const IDLE: Duration = Duration::from_secs(330);

/// Enough for some checks, which have their pages back then.
const AFTERWARDS: Duration = Duration::from_mins(2);

/// How long NetworkManager alone may need for its return.
const ALONE: Duration = Duration::from_mins(6);

/// The caretaker of a provisioned device in its home: its memory, its wake-ups, and readers of events.
#[tokio::test]
#[ignore = "takes minutes, and a guest for itself: `tests/lab/bench` runs it"]
async fn idle() {
    let mut table = Table::default();
    let node = Caretaker::measured().await;
    idle_care(&node, &mut table).await;
    node.ends();
    table.end();
}

/// Diagnosis, and an outage beside NetworkManager alone.
///
/// One round, because an outage takes minutes, and each bound holds for every single one.
#[tokio::test]
#[ignore = "takes minutes, and a guest for itself: `tests/lab/bench` runs it"]
async fn outages() {
    let mut table = Table::default();
    let mut node = Caretaker::measured().await;
    diagnoses(&mut node, &mut table).await;

    node.home.close_access_point();
    let gone = within(FALLBACK_WITHIN, "the hotspot is open", async || node.hotspot_is_open()).await;
    node.home.open_access_point().await;
    let back = within(RETURN_WITHIN, "the node is back", async || is_in(SSID)).await;
    table.target("home gone → hotspot open, s", gone.as_secs_f64(), FALLBACK_WITHIN.as_secs_f64());
    table.target("home back → in it, hotspot closed, s", back.as_secs_f64(), RETURN_WITHIN.as_secs_f64());

    node.stop();
    until("NetworkManager is at home", async || is_online(SSID)).await;
    node.home.close_access_point();
    sleep(gone).await;
    node.home.open_access_point().await;
    let began = Instant::now();
    while !is_online(SSID) && began.elapsed() < ALONE {
        sleep(LOOK).await;
    }
    let alone = if is_online(SSID) { format!("{:.2} s", seconds(began)) } else { format!("not within {} s", ALONE.as_secs()) };
    table.line("  NetworkManager alone, after an outage of the same length", &alone);
    node.ends();
    table.end();
}

/// At idle, and with readers of events.
async fn idle_care(node: &Caretaker, table: &mut Table) {
    // By then the temporary allocations of the start are freed.
    sleep(Duration::from_secs(30)).await;
    let before = sleeps(&node.process());
    sleep(IDLE).await;
    let after = sleeps(&node.process());
    let parts = parts(&node.process());
    let idle_resident = parts.iter().map(|(_, resident)| resident).sum();
    table.target("caretaker at idle: resident, MiB", mebibytes(idle_resident), 6.0);
    for (part, resident) in parts {
        table.once(&format!("  of it {part}"), mebibytes(resident), "MiB");
    }
    let a_minute = |sleeps: u32| f64::from(sleeps) * 60.0 / IDLE.as_secs_f64();
    let woken = after.iter().map(|(thread, sleeps)| (thread, sleeps - before.get(thread).unwrap_or(&0)));
    let woken: Vec<_> = woken.filter(|(_, sleeps)| *sleeps > 0).collect();
    table.target("wake-ups a minute at idle", a_minute(woken.iter().map(|(_, sleeps)| sleeps).sum()), 6.0);
    for (thread, sleeps) in woken {
        table.once(&format!("  of it thread {thread}"), a_minute(sleeps), "");
    }

    let mut readers = Vec::new();
    for number in 0..READERS {
        readers.push(reader(number).await);
    }
    let more = resident(&node.process()).saturating_sub(idle_resident);
    table.target(&format!("  more with {READERS} readers of events, MiB"), mebibytes(more), 4.0);

    drop(readers);
    reclaim(&node.process());
    sleep(AFTERWARDS).await;
    table.once("  at idle, after the kernel has reclaimed its pages", mebibytes(resident(&node.process())), "MiB");
}

/// Has the kernel take back all memory of a service that it can (cgroup v2, `memory.reclaim`), as it does when memory is short.
fn reclaim(process: &str) {
    let group = fs::read_to_string(format!("/proc/{process}/cgroup")).expect("its control group");
    let group = group.trim().strip_prefix("0::").expect("a unified hierarchy");
    // It fails when it has taken less than this, which is more than there is.
    run("sh", &["-c", &format!("echo 64M > /sys/fs/cgroup{group}/memory.reclaim")]);
}

/// How often each thread of a process has gone to sleep, by its id and name.
fn sleeps(process: &str) -> BTreeMap<String, u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("its threads").flatten();
    let sleeps = |thread: fs::DirEntry| {
        // A thread may end meanwhile.
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        let value = |key: &str| status.lines().find_map(|line| Some(line.strip_prefix(key)?.trim()));
        let name = format!("{} {}", value("Pid:")?, value("Name:")?);
        Some((name, value("voluntary_ctxt_switches:")?.parse().ok()?))
    };
    threads.filter_map(sleeps).collect()
}

/// A reader of events that has the head of its answer.
async fn reader(number: u16) -> TcpStream {
    // A peer has at most 64 connections.
    let socket = TcpSocket::new_v4().expect("a socket");
    let address = [127, 0, 0, 2 + u8::try_from(number / 50).expect("few peers")];
    socket.bind((address, 0).into()).expect("an address of the loopback");
    let mut reader = socket.connect(([127, 0, 0, 1], 8080).into()).await.expect("the node listens");
    let request = b"GET /api/provisioning/events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    reader.write_all(request).await.expect("the node reads");
    let mut head = [0; 12];
    reader.read_exact(&mut head).await.expect("the node answers");
    assert_eq!(&head, b"HTTP/1.1 200");
    reader
}

/// The resident memory of a process, KiB. The sum in `status` is up to 64 pages off for each thread.
fn resident(process: &str) -> usize {
    parts(process).iter().map(|(_, resident)| resident).sum()
}

/// The same by what it holds.
fn parts(process: &str) -> [(&'static str, usize); 4] {
    let maps = fs::read_to_string(format!("/proc/{process}/smaps")).expect("its memory");
    let mut parts = [("program", 0), ("libraries", 0), ("heap and other data without a file", 0), ("changed data of files", 0)];
    let mut part = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (first, value) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match (first, value.parse::<usize>()) {
            ("Rss:", Ok(resident)) => parts[part].1 += resident,
            // A page of a file that is changed has become a page without a file.
            ("Anonymous:", Ok(changed)) if part < 2 => {
                parts[part].1 -= changed;
                parts[3].1 += changed;
            }
            _ if first.ends_with(':') => {}
            // Addresses, permissions, offset, device, inode, and a path or none.
            _ => {
                part = match words.nth(3) {
                    Some(path) if path.ends_with("/jarvis-provision") => 0,
                    Some(path) if path.starts_with('/') => 1,
                    _ => 2,
                }
            }
        }
    }
    parts
}

/// How long `jarvis-provision diagnose` takes, by the layer that fails.
async fn diagnoses(node: &mut Caretaker, table: &mut Table) {
    let mut diagnose = |name: &str| {
        let mut took = [(); 3].map(|()| timed_diagnosis().1);
        took.sort();
        table.target(&format!("diagnose: {name}, s"), took[1].as_secs_f64(), 10.0);
    };
    diagnose("everything works");
    node.internet.close_page();
    diagnose("internet");
    node.internet.open_page();
    node.internet.refuse_names().await;
    diagnose("DNS");
    node.internet.resolve_names().await;
    must("ip", &["-n", "home", "addr", "del", &format!("{AIR}/24"), "dev", "wlan1"]);
    diagnose("gateway");
    must("ip", &["-n", "home", "addr", "add", &format!("{AIR}/24"), "dev", "wlan1"]);
    must("nmcli", &["device", "disconnect", "wlan0"]);
    diagnose("association");
    must("nmcli", &["device", "connect", "wlan0"]);
    until("it is in its home", async || is_in(SSID)).await;
}
