//! Two servers on a database whose primary dies and whose standby takes over.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::support::postgres::Cluster;
use crate::support::{self, Center, answer, text};

/// How soon after the promotion each server must acknowledge changes again.
const BACK: Duration = Duration::from_secs(10);

/// Devices that claim, register and repeat at either server what was not acknowledged.
struct Fleet {
    urls: [String; 2],
    client: Client,
    codes: Mutex<Vec<String>>,
    tokens: Mutex<Vec<(String, String)>>,
    /// Acknowledged claims: code, appliance and key.
    claimed: Mutex<Vec<[String; 3]>>,
    /// Credentials of acknowledged registrations.
    registered: Mutex<Vec<String>>,
    /// Acknowledged changes of each server.
    counts: [AtomicUsize; 2],
}

impl Fleet {
    /// Sends a request until it is acknowledged, at the one server and the other.
    async fn until_acknowledged(&self, first: usize, path: &str, body: &Value) -> Value {
        for turn in first.. {
            let server = turn % 2;
            let (status, said) = answer(self.client.post(format!("{}{path}", self.urls[server])).json(body)).await;
            if status.is_success() {
                self.counts[server].fetch_add(1, Ordering::Relaxed);
                return said;
            }
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {said}");
            sleep(Duration::from_millis(50)).await;
        }
        unreachable!("the turns do not end")
    }

    /// One device after the other, until there are no codes left.
    async fn install(&self, first: usize) {
        loop {
            let (code, token, left) = {
                let (mut codes, mut tokens) = (self.codes.lock().unwrap(), self.tokens.lock().unwrap());
                let Some(code) = codes.pop() else { return };
                (code, tokens.pop().expect("as many as codes"), codes.len())
            };
            let body = json!({ "provision_code": code, "mac_address": format!("02{left:010x}") });
            let claimed = self.until_acknowledged(first, "/api/provision/claim", &body).await;
            self.claimed.lock().unwrap().push([code, text(&claimed, "appliance_id"), text(&claimed, "api_key")]);
            let body = json!({ "node_id": token.0, "provisioning_token": token.1 });
            let registered = self.until_acknowledged(first + 1, "/api/v0/nodes/register", &body).await;
            self.registered.lock().unwrap().push(format!("{}:{}", token.0, text(&registered, "node_key")));
        }
    }

    async fn until_claimed(&self, count: usize) {
        while self.claimed.lock().unwrap().len() < count {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_loses_nothing_that_was_acknowledged() {
    const DEVICES: usize = 600;
    if !support::postgres::is_installed() {
        return;
    }
    let clusters = tokio::task::spawn_blocking(|| {
        let primary = Cluster::start();
        let standby = Cluster::start_standby_of(&primary);
        (primary, standby)
    });
    let (mut primary, mut standby) = clusters.await.unwrap();
    let database = tokio::task::block_in_place(|| primary.fresh_database_with(&standby));
    let center = Center::start(tempfile::tempdir().unwrap(), database).await;
    let twin = center.twin().await;
    let mut tokens = Vec::new();
    for _ in 0..DEVICES {
        tokens.push(center.token().await);
    }
    let fleet = Arc::new(Fleet {
        urls: [center.url(""), twin.url("")],
        client: support::client(),
        codes: Mutex::new(center.codes(Some("Clinic"), DEVICES).await),
        tokens: Mutex::new(tokens),
        claimed: Mutex::default(),
        registered: Mutex::default(),
        counts: [AtomicUsize::new(0), AtomicUsize::new(0)],
    });
    let mut devices = JoinSet::new();
    for first in 0..8 {
        let fleet = Arc::clone(&fleet);
        devices.spawn(async move { fleet.install(first).await });
    }

    fleet.until_claimed(DEVICES / 6).await;
    tokio::task::block_in_place(|| primary.destroy());
    let body = json!({ "node_id": "nobody", "provisioning_token": "none" });
    let refused = fleet.client.post(twin.url("/api/v0/nodes/register")).json(&body).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key(RETRY_AFTER));

    tokio::task::block_in_place(|| standby.promote());
    let promoted = Instant::now();
    let before = [0, 1].map(|server| fleet.counts[server].load(Ordering::Relaxed));
    let are_back = async {
        while (0..2).any(|server| fleet.counts[server].load(Ordering::Relaxed) == before[server]) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(BACK, are_back).await.expect("both servers are back in time");
    eprintln!("both servers were back after {:?}", promoted.elapsed());
    devices.join_all().await;

    let claimed = fleet.claimed.lock().unwrap().clone();
    assert_eq!(claimed.len(), DEVICES);
    let ids = claimed.iter().map(|[_, id, _]| id).collect::<HashSet<_>>();
    assert_eq!(ids.len(), DEVICES, "each device claimed a code of its own");
    let appliances = center.operator().await.count_appliances().await.unwrap().all();
    assert_eq!(usize::try_from(appliances).unwrap(), DEVICES, "no code has made two appliances");
    for (index, [code, appliance_id, key]) in claimed.iter().enumerate() {
        let server = &fleet.urls[index % 2];
        let other = json!({ "provision_code": code, "mac_address": "0A0000000001" });
        assert!(answer(fleet.client.post(format!("{server}/api/provision/claim")).json(&other)).await.0.is_client_error());
        let own = fleet.client.get(format!("{server}/api/provision/config/{appliance_id}")).bearer_auth(key);
        assert_eq!(answer(own).await.0, StatusCode::OK);
    }
    let registered = fleet.registered.lock().unwrap().clone();
    assert_eq!(registered.len(), DEVICES);
    for (index, credentials) in registered.iter().enumerate() {
        let center = if index % 2 == 0 { &center } else { &twin };
        assert_eq!(center.heartbeat(credentials).await.0, StatusCode::OK);
    }
}
