//! Claims at the real command center.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use command_center::audit::Actor;
use command_center::fleet::{ApplianceEntry, Query};
use command_center::operator::{KeyChange, NewCodes, Operator, Partner};
use command_center::{Clock, Config, Database, Moment, Server};
use jarvis_provisioning::claim::{NodeClaims, Standing};
use jarvis_provisioning::command_center::NoCommandCenter;
use jarvis_provisioning::daemon::{Daemon, Heartbeats};
use jarvis_provisioning::simulation::SimulatedNetwork;
use provisioning_core::machine::AccessPointPolicy;
use tempfile::TempDir;
use testing_node::files::{self, write_everything};
use testing_node::scripted::config as machine_config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::claim::{AMPLE, MAC, SHORT, claimant, config, failure, noon, request, value};

/// A running command center, alone with its database.
struct Center {
    server: Server,
    operator: Operator,
    clock: Clock,
    _place: TempDir,
}

impl Center {
    async fn start() -> Self {
        let place = TempDir::new().unwrap();
        let clock = Clock::manual(Moment(1_767_540_600_000));
        let database = Database::Sqlite(place.path().join("center.db"));
        let mut config = Config::new("127.0.0.1:0".parse().unwrap(), database);
        config.clock = clock.clone();
        let server = Server::start(config.clone()).await.unwrap();
        let operator = Operator::open(&config).await.unwrap();
        Self { server, operator, clock, _place: place }
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    async fn code(&self) -> String {
        let partner = Partner {
            slug: "nepa-it".into(),
            brand_name: "NEPA \"IT\": Solutions # 1".into(),
            primary_color: "#2563EB".into(),
            logo_url: Some("https://nepa.example/logo.png".into()),
        };
        self.operator.acting(Actor::at_the_command_line()).add_partner(partner.clone()).await.unwrap();
        let wanted = NewCodes {
            site: Some("Partner Clinic".into()),
            partner: partner.slug,
            expires_in: Duration::from_hours(1),
            count: 1,
        };
        self.operator.acting(Actor::at_the_command_line()).create_codes(&wanted, |_| {}).await.unwrap()[0]
            .code
            .expose()
            .to_owned()
    }

    async fn appliances(&self) -> Vec<ApplianceEntry> {
        self.operator.appliances(&Query::default()).await.unwrap().entries
    }
}

#[tokio::test]
async fn a_claimed_code_becomes_a_configuration_with_a_key_that_the_server_accepts() {
    let (center, folder) = (Center::start().await, TempDir::new().unwrap());
    let appliance = claimant().provision(&request(&center.url(), &center.code().await, folder.path())).await.unwrap();
    assert_eq!(appliance.brand_name, "NEPA \"IT\": Solutions # 1");
    assert_eq!(appliance.appliance_id, format!("{}-{MAC}", appliance.site_id));
    assert_eq!(appliance.config, config(folder.path()));
    for (key, expected) in [
        ("site_id", appliance.site_id.as_str()),
        ("appliance_id", &appliance.appliance_id),
        ("api_endpoint", &center.url()),
        ("provisioned_at", "2026-01-04T15:30:01+00:00"),
        ("mac_address", MAC),
    ] {
        assert_eq!(value(folder.path(), key), expected);
    }

    // The client needs a crypto provider even for plain HTTP; another test may have installed it already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .get(format!("{}/api/provision/config/{}", center.url(), appliance.appliance_id))
        .bearer_auth(value(folder.path(), "api_key"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn the_device_acknowledges_after_the_configuration_is_stored() {
    let (center, folder) = (Center::start().await, TempDir::new().unwrap());
    claimant().provision(&request(&center.url(), &center.code().await, folder.path())).await.unwrap();
    let appliances = center.appliances().await;
    assert_eq!(appliances.len(), 1);
    assert_eq!((appliances[0].status.as_str(), appliances[0].progress_percent), ("configuring", 100));
}

#[tokio::test]
async fn an_acknowledged_code_cannot_be_claimed_again() {
    let (center, folder) = (Center::start().await, TempDir::new().unwrap());
    let code = center.code().await;
    claimant().provision(&request(&center.url(), &code, folder.path())).await.unwrap();
    let other = TempDir::new().unwrap();
    let error = failure(&claimant(), &request(&center.url(), &code, other.path())).await;
    assert_eq!(error, "Provision code already claimed");
}

#[tokio::test]
async fn another_device_with_the_same_address_does_not_get_the_answer_of_the_first() {
    let (center, folder) = (Center::start().await, TempDir::new().unwrap());
    let code = center.code().await;
    // All answers to the first device are lost.
    let line = Line::to(&center, u32::MAX).await;
    failure(&claimant(), &request(&line.url(), &code, folder.path())).await;
    assert_eq!(center.appliances().await.len(), 1);
    let other = TempDir::new().unwrap();
    let error = failure(&claimant(), &request(&center.url(), &code, other.path())).await;
    assert_eq!(error, "Provision code already claimed");
    claimant().provision(&request(&center.url(), &code, folder.path())).await.expect("the first device retries");
}

#[tokio::test]
async fn unknown_and_expired_codes_are_reported_with_the_servers_message() {
    let (center, folder) = (Center::start().await, TempDir::new().unwrap());
    let request = |code: &str| request(&center.url(), code, folder.path());
    assert_eq!(failure(&claimant(), &request("0000000000000000")).await, "Invalid provision code");
    let code = center.code().await;
    center.clock.advance(Duration::from_hours(2));
    assert_eq!(failure(&claimant(), &request(&code)).await, "Provision code expired");
}

#[tokio::test]
async fn lost_answers_end_in_one_appliance() {
    let (center, folder) = (Center::start().await, TempDir::new().unwrap());
    let line = Line::to(&center, 3).await;
    let appliance = claimant().provision(&request(&line.url(), &center.code().await, folder.path())).await.unwrap();
    assert!(line.connections() > 3, "answers were lost");
    let appliances = center.appliances().await;
    assert_eq!(appliances.len(), 1);
    assert_eq!(appliances[0].appliance_id, appliance.appliance_id);
}

#[tokio::test]
async fn an_appliance_that_was_handed_over_deletes_what_it_has_of_its_owner_and_can_be_claimed_again() {
    let (center, files) = (Center::start().await, files::Node::new());
    write_everything(&files.open());
    let folder = files.paths().claim;
    let old = request(&center.url(), &center.code().await, &folder);
    let appliance = claimant().provision(&old).await.unwrap();
    let claims = NodeClaims { claimant: claimant(), device: old.device, folder: folder.clone(), clock: noon };
    assert_eq!(claims.heartbeat().await.unwrap(), Some(Standing::Known));

    let store = files.open();
    let mut boot = store.load().unwrap();
    boot.pending = None;
    let (daemon, handle) = Daemon::new(machine_config(AccessPointPolicy::Never), boot, SimulatedNetwork, NoCommandCenter, store);
    let mut views = handle.views();
    tokio::spawn(async { _ = daemon.run(std::future::pending()).await });
    let heartbeats = Heartbeats { first: Duration::ZERO, interval: SHORT };
    tokio::spawn(handle.report_appliance(claims.clone(), heartbeats));
    let operator = center.operator.acting(Actor::at_the_command_line());
    operator.change_appliance_key(&appliance.appliance_id, KeyChange::HandOver).await.unwrap();
    let is_reset = views.wait_for(|view| !view.info.previously_provisioned);
    tokio::time::timeout(AMPLE.longest, is_reset).await.expect("the device learns it").expect("the loop runs");
    assert!(!config(&folder).exists() && !files.file("k2.enc").exists());
    assert_eq!(claims.heartbeat().await.unwrap(), None, "it has no key");

    claimant().provision(&request(&center.url(), &center.code().await, &folder)).await.expect("a new owner's code");
    assert_eq!(claims.heartbeat().await.unwrap(), Some(Standing::Known));
}

/// A proxy that drops the first answers of a server.
struct Line {
    port: u16,
    connections: Arc<AtomicU32>,
}

impl Line {
    async fn to(center: &Center, lost: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, server) = (Arc::new(AtomicU32::new(0)), center.server.address());
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let far = TcpStream::connect(server).await.unwrap();
                tokio::spawn(carry(near, far, number < lost));
            }
        });
        Self { port, connections }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn connections(&self) -> u32 {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn carry(mut near: TcpStream, mut far: TcpStream, is_lost: bool) {
    let (mut to, mut from) = ([0; 4096], [0; 4096]);
    loop {
        tokio::select! {
            read = near.read(&mut to) => match read {
                Ok(count @ 1..) => far.write_all(&to[..count]).await.unwrap(),
                _ => return,
            },
            read = far.read(&mut from) => match read {
                Ok(count @ 1..) if !is_lost => near.write_all(&from[..count]).await.unwrap(),
                // The server has answered; its answer is dropped with the connection.
                _ => return,
            },
        }
    }
}
