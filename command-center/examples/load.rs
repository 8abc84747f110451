//! A load generator: many connections, each sending one request after the other, and the times of the answers.
//!
//! ```text
//! load ADDRESS REQUESTS [--connections 64] [--seconds 10 | --once] [--rate PER_SECOND] [--save FILE]
//! ```
//!
//! `REQUESTS` has one request per line, as a JSON object with `method`, `path`, `headers` (an object) and `body` (a text).
//! They are sent in turn: round and round for the given time, or each once. With `--rate` a request is due at each tick,
//! whether or not those before it are answered, and its time counts from the tick: a server that stalls is not spared.
//! `--save` writes the bodies of the answers, one per line. The result is one JSON object on standard output.

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Parser;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

#[derive(Parser)]
struct Arguments {
    address: String,
    requests: PathBuf,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[arg(long)]
    once: bool,
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long)]
    save: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    path: String,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    body: String,
}

impl Request {
    fn bytes(&self, address: &str) -> Vec<u8> {
        let Self { method, path, headers, body } = self;
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            text.extend([name, ": ", value.as_str().unwrap_or_default(), "\r\n"]);
        }
        format!("{text}\r\n{body}").into_bytes()
    }
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    /// Microseconds until each good answer.
    times: Vec<u32>,
    /// Answers that were not 2xx.
    refused: usize,
    bodies: Vec<Vec<u8>>,
}

struct Plan {
    requests: Vec<Vec<u8>>,
    address: String,
    next: AtomicUsize,
    start: Instant,
    end: Instant,
    once: bool,
    tick: Option<Duration>,
    save: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let address = arguments.address.trim_start_matches("http://").to_owned();
    let lines = std::fs::read_to_string(&arguments.requests)?;
    let requests = lines
        .lines()
        .map(|line| serde_json::from_str::<Request>(line).map(|request| request.bytes(&address)))
        .collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    let plan = Arc::new(Plan {
        requests,
        address,
        next: AtomicUsize::new(0),
        start,
        end: start + Duration::from_secs(arguments.seconds),
        once: arguments.once,
        tick: arguments.rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
        save: arguments.save.is_some(),
    });
    let mut connections = JoinSet::new();
    for _ in 0..arguments.connections {
        let plan = Arc::clone(&plan);
        connections.spawn(async move { send(&plan).await.map_err(|error| error.to_string()) });
    }
    let mut all = Seen::default();
    for seen in connections.join_all().await {
        let seen = seen?;
        all.times.extend(seen.times);
        all.refused += seen.refused;
        all.bodies.extend(seen.bodies);
    }
    let seconds = start.elapsed().as_secs_f64();
    if let Some(path) = arguments.save {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        for body in &all.bodies {
            file.write_all(body)?;
            file.write_all(b"\n")?;
        }
        file.flush()?;
    }
    all.times.sort_unstable();
    let percentile = |part: usize| all.times.get(all.times.len() * part / 100).map(|time| f64::from(*time) / 1000.0);
    #[expect(clippy::cast_precision_loss, reason = "a rate is not counted exactly")]
    let rate = all.times.len() as f64 / seconds;
    println!(
        "{}",
        json!({
            "requests": all.times.len(),
            "refused": all.refused,
            "per_second": rate.round(),
            "p50_ms": percentile(50),
            "p99_ms": percentile(99),
            "max_ms": all.times.last().map(|time| f64::from(*time) / 1000.0),
        })
    );
    Ok(())
}

/// One connection's part, until there is nothing left to send.
async fn send(plan: &Plan) -> Result<Seen, Box<dyn Error>> {
    let mut stream = TcpStream::connect(&plan.address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    let mut seen = Seen::default();
    loop {
        let number = plan.next.fetch_add(1, Ordering::Relaxed);
        if plan.once && number >= plan.requests.len() {
            return Ok(seen);
        }
        let mut due = Instant::now();
        if let Some(tick) = plan.tick {
            due = plan.start + tick * u32::try_from(number)?;
            tokio::time::sleep_until(due).await;
        }
        if !plan.once && due >= plan.end {
            return Ok(seen);
        }
        stream.write_all(&plan.requests[number % plan.requests.len()]).await?;
        let (is_good, body) = receive(&mut stream, &mut buffer).await?;
        if is_good {
            seen.times.push(u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX));
        } else {
            seen.refused += 1;
        }
        if plan.save && is_good {
            seen.bodies.push(body.to_vec());
        }
    }
}

/// One answer: whether its status is 2xx, and its body.
async fn receive<'b>(stream: &mut TcpStream, buffer: &'b mut Vec<u8>) -> Result<(bool, &'b [u8]), Box<dyn Error>> {
    buffer.clear();
    let mut head = 0;
    let mut length = 0;
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the server closed the connection".into());
        }
        if head == 0
            && let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n")
        {
            head = end + 4;
            let text = std::str::from_utf8(&buffer[..end])?.to_ascii_lowercase();
            let line = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            length = line.map_or(Ok(0), |line| line.trim().parse())?;
        }
        if head > 0 && buffer.len() >= head + length {
            return Ok((buffer.starts_with(b"HTTP/1.1 2"), &buffer[head..head + length]));
        }
    }
}
