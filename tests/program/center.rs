//! A command center in this process, with its data in a temporary folder.

use std::time::Duration;

use command_center::audit::Actor;
use command_center::fleet::Query;
use command_center::operator::{NewCodes, Operator};
use command_center::{Config, Database, Server};
use mobile_test_harness::command_center::{CommandCenter, Order, Owner};
use mobile_test_harness::phone::new_request_id;
use provisioning_core::domain::{CommandCenterUrl, Credentials, Passphrase, ProvisionCode, Ssid};
use provisioning_core::secret::SecretText;
use serde_json::Value;
use tempfile::TempDir;

use crate::place::Place;

pub(crate) const ADMINISTRATOR_KEY: &str = "the key of the administrator";

pub(crate) struct Center {
    server: Server,
    client: CommandCenter,
    config: Config,
    _place: TempDir,
}

impl Center {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// One that clients reach at a public URL.
    pub(crate) async fn start_at(public_url: &str) -> Self {
        Self::start_with(|config| config.public_url = Some(public_url.to_owned())).await
    }

    async fn start_with(configure: impl FnOnce(&mut Config)) -> Self {
        testing::journal::watch();
        let place = tempfile::tempdir().expect("a temporary folder");
        let mut config =
            Config::new("127.0.0.1:0".parse().expect("an address"), Database::Sqlite(place.path().join("center.db")));
        config.admin_key = Some(command_center::SecretText::new(ADMINISTRATOR_KEY.into()));
        configure(&mut config);
        let server = Server::start(config.clone()).await.expect("the command center starts");
        let url = CommandCenterUrl::try_from(format!("http://{}", server.address()).as_str()).expect("a plain URL");
        Self { server, client: CommandCenter::new(url).expect("a client"), config, _place: place }
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.server.address()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Orders a node, and registers the token as a secret of the place.
    pub(crate) async fn order(&self, place: &Place) -> Order {
        let owner = Owner::Administrator(SecretText::new(ADMINISTRATOR_KEY.into()));
        let order = self.client.order(&owner, "home", Some("kitchen")).await.expect("an order");
        place.keep_secret(order.token.expose().as_bytes());
        order
    }

    /// Creates a code for the site `Clinic`, and registers it as a secret of the place.
    pub(crate) async fn code(&self, place: &Place) -> ProvisionCode {
        let operator = Operator::open(&self.config).await.expect("an operator beside the server");
        let site = Some("Clinic".into());
        let wanted = NewCodes { site, partner: "default".into(), expires_in: Duration::from_hours(1), count: 1 };
        let code =
            operator.acting(Actor::at_the_command_line()).create_codes(&wanted, |_| {}).await.expect("a code").remove(0).code;
        operator.close().await;
        place.keep_secret(code.expose().as_bytes());
        ProvisionCode::try_from(code.expose()).expect("16 letters and digits")
    }

    /// Whether no code and no node was ever created.
    pub(crate) async fn is_untouched(&self) -> bool {
        let operator = Operator::open(&self.config).await.expect("an operator beside the server");
        let codes = operator.codes(None).await.expect("a list");
        let nodes = operator.nodes(&Query::default()).await.expect("a list");
        operator.close().await;
        codes.is_empty() && nodes.entries.is_empty()
    }

    /// The ids of all appliances.
    pub(crate) async fn appliances(&self) -> Vec<String> {
        let operator = Operator::open(&self.config).await.expect("an operator beside the server");
        let appliances = operator.appliances(&Query::default()).await.expect("a list");
        operator.close().await;
        appliances.entries.into_iter().map(|appliance| appliance.appliance_id).collect()
    }

    /// Asserts that the node is provisioned as ordered, and that the command center accepts the key in its files.
    pub(crate) async fn assert_enrolled(&self, place: &Place, order: &Order) {
        let status = place.status().await;
        assert_eq!((&status["state"], &status["provisioned"]), (&Value::from("PROVISIONED"), &Value::from(true)), "{status}");
        assert!(place.file(".provisioned").exists());
        assert!(!place.file("pending.enc").exists());
        let config = place.config();
        assert_eq!(config["node_id"], order.node_id);
        let key = config["api_key"].as_str().expect("a key").to_owned();
        place.keep_secret(key.as_bytes());
        let known = self.client.knows(&order.node_id, &SecretText::new(key)).await.expect("an answer");
        assert!(known, "the command center does not accept the node's key");
    }
}

/// The credentials for a node that was ordered at `url`.
pub(crate) fn credentials(ssid: &str, password: &str, url: &str, order: &Order) -> Credentials {
    Credentials {
        request_id: new_request_id(),
        ssid: Some(Ssid::try_from(ssid).expect("a short name")),
        passphrase: Passphrase::try_from(password.to_owned()).expect("a short password"),
        hidden: false,
        room: "kitchen".into(),
        command_center: Some(CommandCenterUrl::try_from(url).expect("a plain URL")),
        config_service: None,
        household_id: "home".into(),
        node_id: order.node_id.clone(),
        token: order.token.clone(),
        provision_code: None,
        time: None,
        country: None,
        seen_frequency: 0,
        enterprise: None,
    }
}

/// The same credentials as JSON, as the existing phone app sends them.
pub(crate) fn json(credentials: &Credentials) -> Value {
    serde_json::json!({
        "wifi_ssid": credentials.ssid.as_ref().map(ToString::to_string).unwrap_or_default(),
        "wifi_password": credentials.passphrase.expose(),
        "room": credentials.room,
        "command_center_url": credentials.command_center.as_ref().map(CommandCenterUrl::as_str),
        "household_id": credentials.household_id,
        "node_id": credentials.node_id,
        "provisioning_token": credentials.token.expose(),
    })
}
