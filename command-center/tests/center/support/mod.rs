//! A real server on a real database, and a client of it.

pub(crate) mod broker;
pub(crate) mod postgres;
pub(crate) mod wire;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use command_center::audit::Actor;
use command_center::operator::{NewCodes, Operator};
use command_center::{Clock, Config, Database, Moment, SecretText, Server, sign_jwt};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

pub(crate) const ADMIN_KEY: &str = "the key of the administrator";
pub(crate) const JWT_SECRET: &str = "the secret that the auth service signs with";

/// 2026-01-04 15:30 UTC, where the clock of every test begins.
pub(crate) const START: Moment = Moment(1_767_540_600_000);

/// A running command center, alone with its database.
pub(crate) struct Center {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) client: reqwest::Client,
    server: Option<Server>,
    address: SocketAddr,
    place: tempfile::TempDir,
}

impl Center {
    /// On a SQLite file of its own.
    pub(crate) async fn on_sqlite() -> Self {
        let place = tempfile::tempdir().unwrap();
        let database = Database::Sqlite(place.path().join("center.db"));
        Self::start(place, database).await
    }

    /// On a PostgreSQL database of its own.
    pub(crate) async fn on_postgres() -> Self {
        Self::start(tempfile::tempdir().unwrap(), postgres::fresh_database().await).await
    }

    /// On a database.
    pub(crate) async fn start(place: tempfile::TempDir, database: Database) -> Self {
        let clock = Clock::manual(START);
        let mut config = Config::new("127.0.0.1:0".parse().unwrap(), database);
        config.secret_file = Some(place.path().join("secret"));
        config.admin_key = Some(SecretText::new(ADMIN_KEY.into()));
        config.jwt_secret = Some(SecretText::new(JWT_SECRET.into()));
        // The tests speak for clients at many addresses, as a proxy does.
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        config.clock = clock.clone();
        let server = Server::start(config.clone()).await.unwrap();
        let address = server.address();
        Self { config, clock, client: client(), server: Some(server), address, place }
    }

    /// Stops the server and starts another on the same data.
    pub(crate) async fn restart(&mut self) {
        self.server.take().unwrap().stop().await;
        let server = Server::start(self.config.clone()).await.unwrap();
        self.address = server.address();
        self.server = Some(server);
    }

    /// Stops the server and waits until it has ended.
    pub(crate) async fn stop(mut self) {
        self.server.take().unwrap().stop().await;
    }

    /// A second server process on the same data.
    pub(crate) async fn twin(&self) -> Self {
        self.twin_on(self.config.clone()).await
    }

    /// A second server process.
    pub(crate) async fn twin_on(&self, config: Config) -> Self {
        let server = Server::start(config.clone()).await.unwrap();
        let address = server.address();
        let place = tempfile::tempdir().unwrap();
        Self { config, clock: self.clock.clone(), client: client(), server: Some(server), address, place }
    }

    /// A folder that is gone with the test.
    pub(crate) fn place(&self) -> &Path {
        self.place.path()
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request without a body or credentials.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, self.url(path))
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, Value) {
        answer(with(self.request(Method::GET, path), headers)).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> (StatusCode, Value) {
        answer(with(self.request(Method::POST, path), headers).json(body)).await
    }

    /// Mints a token as the administrator.
    pub(crate) async fn mint(&self, body: &Value) -> (StatusCode, Value) {
        self.post("/api/v0/provisioning/token", &[("x-api-key", ADMIN_KEY)], body).await
    }

    /// A node id and a token for it.
    pub(crate) async fn token(&self) -> (String, String) {
        let (status, minted) = self.mint(&json!({ "household_id": "home" })).await;
        assert_eq!(status, StatusCode::CREATED, "{minted}");
        (text(&minted, "node_id"), text(&minted, "token"))
    }

    pub(crate) async fn register(&self, node_id: &str, token: &str) -> (StatusCode, Value) {
        let body = json!({ "node_id": node_id, "provisioning_token": token });
        self.post("/api/v0/nodes/register", &[], &body).await
    }

    /// Registers a new node; its credentials for `X-API-Key`.
    pub(crate) async fn node(&self) -> String {
        let (node_id, token) = self.token().await;
        let (status, registered) = self.register(&node_id, &token).await;
        assert_eq!(status, StatusCode::CREATED, "{registered}");
        format!("{node_id}:{}", text(&registered, "node_key"))
    }

    pub(crate) async fn heartbeat(&self, credentials: &str) -> (StatusCode, Value) {
        self.post("/api/v0/admin/nodes/heartbeat", &[("x-api-key", credentials)], &json!({})).await
    }

    /// The operator, beside the server.
    pub(crate) async fn operator(&self) -> Operator {
        Operator::open(&self.config).await.unwrap()
    }

    /// Makes codes for a site, each good for a day.
    pub(crate) async fn codes(&self, site: Option<&str>, count: usize) -> Vec<String> {
        let operator = self.operator().await;
        let site = site.map(str::to_owned);
        let wanted = NewCodes { site, partner: "default".into(), expires_in: Duration::from_hours(24), count };
        let codes = operator.acting(Actor::at_the_command_line()).create_codes(&wanted, |_| {}).await.unwrap();
        operator.close().await;
        codes.iter().map(|new| new.code.expose().to_owned()).collect()
    }

    /// Makes one code for the site `Clinic`.
    pub(crate) async fn code(&self) -> String {
        self.codes(Some("Clinic"), 1).await.remove(0)
    }

    /// Claims a code for the device with the hardware address.
    pub(crate) async fn claim(&self, code: &str, mac_address: &str) -> (StatusCode, Value) {
        let body = json!({ "provision_code": code, "mac_address": mac_address, "hostname": "appliance" });
        self.post("/api/provision/claim", &[], &body).await
    }

    /// An appliance that has claimed a code: its id, and its bearer header.
    pub(crate) async fn appliance(&self, mac_address: &str) -> (String, String) {
        let (status, claimed) = self.claim(&self.code().await, mac_address).await;
        assert_eq!(status, StatusCode::OK, "{claimed}");
        (text(&claimed, "appliance_id"), format!("Bearer {}", text(&claimed, "api_key")))
    }

    /// The header of a user who belongs to `households`, good for an hour.
    pub(crate) fn bearer(&self, households: &[&str]) -> String {
        let expiry = self.clock.now().after(Duration::from_hours(1)).seconds();
        let claims = json!({ "sub": "7", "exp": expiry, "households": households });
        format!("Bearer {}", sign_jwt(&claims, &SecretText::new(JWT_SECRET.into())))
    }
}

/// Sends a request; the status and the body, which is JSON or nothing.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

pub(crate) fn with(request: reqwest::RequestBuilder, headers: &[(&str, &str)]) -> reqwest::RequestBuilder {
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

pub(crate) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no text `{field}` in {value}")).to_owned()
}

pub(crate) fn client() -> reqwest::Client {
    // The client needs a crypto provider even for plain HTTP; another test may have installed it already.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(1)).build().unwrap()
}

/// Passes on whether something is there that a test needs. Where it is not, the test that asks says so and ends; in CI it must
/// be there.
pub(crate) fn is_there(what: &str, is_there: bool) -> bool {
    assert!(is_there || std::env::var_os("CI").is_none(), "CI needs {what}");
    if !is_there {
        eprintln!("SKIPPED: there is no {what}, so nothing was tested with it");
    }
    is_there
}

/// Makes each named test, a function from a [`Center`], run once on SQLite and once on PostgreSQL.
macro_rules! on_both_databases {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(crate::support::Center::on_sqlite().await).await;
                }
            )*
        }

        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if !crate::support::postgres::is_installed() {
                        return;
                    }
                    super::$name(crate::support::Center::on_postgres().await).await;
                }
            )*
        }
    };
}
pub(crate) use on_both_databases;

/// The whole database as text, as a thief of it would have it.
pub(crate) fn dump(database: &Database) -> String {
    match database {
        Database::Sqlite(path) => {
            let mut bytes = std::fs::read(path).unwrap();
            bytes.extend(std::fs::read(format!("{}-wal", path.display())).unwrap_or_default());
            String::from_utf8_lossy(&bytes).into_owned()
        }
        Database::Postgres(url) => postgres::dump(url),
    }
}
