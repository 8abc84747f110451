//! The two kinds of devices in lists.

use serde::Serialize;
use utoipa::ToSchema;

use super::State;
use crate::base::clock::Moment;
use crate::base::refusal::Refusal;
use crate::domain::ending::Ending;
use crate::domain::history::Of;
use crate::domain::nodes::{NodeView, ONLINE, node_fields};
use crate::domain::permissions::{Scope, Tenant};
use crate::store::{Error, Row};

/// An expression, as each database has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expression {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

/// The part of the schema that a kind of device is in. The table of devices is `d` in statements, that of their presence `p`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// `FROM` of a statement that begins with the table of the devices.
    pub(super) devices: &'static str,
    /// Sets `silent_since` to `$1` for the device with the number `$2`.
    pub(super) silence: &'static str,
    /// The joins that follow the devices.
    pub(super) joins: &'static str,
    /// The table of the presence.
    pub(super) presence: &'static str,
    /// The columns of [`Device::from_row`].
    pub(super) columns: &'static str,
    /// The number of these columns.
    pub(super) width: usize,
    /// The column of the ids.
    pub(super) name: &'static str,
    pub(super) place: &'static str,
    pub(super) partner: Option<&'static str>,
    pub(super) status: Option<&'static str>,
    pub(super) version: Option<&'static str>,
    pub(super) id: Expression,
    /// What texts are searched in.
    pub(super) texts: &'static [Expression],
}

impl Kind {
    /// The column that devices in a scope have a value in, and that value; none if all devices are in it.
    pub(super) fn in_scope(self, scope: &Scope) -> Option<(&'static str, &str)> {
        match (scope.tenant()?, self.partner) {
            (Tenant::Partner(own), Some(partner)) => Some((partner, own)),
            (Tenant::Site(own), Some(_)) => Some((self.place, own)),
            // Devices without a partner have no tenant: their place is a household, whose id may read as that of a site.
            (Tenant::Partner(own) | Tenant::Site(own), None) => Some(("NULL", own)),
        }
    }
}

/// `lower` of a column, as the indexes have it.
macro_rules! lower {
    ($column:literal) => {
        Expression { sqlite: concat!("lower(d.", $column, ")"), postgres: concat!("lower(d.", $column, " COLLATE \"C\")") }
    };
}

/// A line of a table of devices.
pub trait Entry: Serialize {
    /// The names of its columns.
    const COLUMNS: &'static [&'static str];

    /// Its values, one for each column.
    fn values(&self) -> Vec<Option<String>>;
}

/// A device in a list.
pub(crate) trait Device: Entry + Sized + Send + 'static {
    /// What kind it is.
    const OF: Of;
    /// Where it is in the database.
    const KIND: Kind;
    /// That there is no such device.
    const UNKNOWN: Refusal;

    /// Reads the columns of its kind.
    fn from_row(row: &Row, now: Moment) -> Result<Self, Error>;

    /// Its id.
    fn id(&self) -> &str;

    /// Its state, as this server sees it.
    fn state(&self) -> State;

    /// What operators call it.
    fn display_name(&self) -> Option<&str>;
}

/// The state, given when the device was last heard of, and how its key has ended.
fn state(last_seen: Option<Moment>, ending: Option<Ending>, now: Moment) -> State {
    match (ending, last_seen) {
        (Some(Ending::Deactivated), _) => State::Deactivated,
        (Some(Ending::Released), _) => State::Released,
        (Some(Ending::Revoked), _) => State::Revoked,
        (None, None) => State::New,
        (None, Some(seen)) if seen >= now.before(ONLINE) => State::Online,
        (None, Some(_)) => State::Silent,
    }
}

/// An appliance in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ApplianceEntry {
    /// Its id.
    pub appliance_id: String,
    /// The id of its site.
    pub site_id: String,
    /// The name of its site.
    pub site: String,
    /// The slug of its partner.
    pub partner: String,
    /// Its hardware address.
    pub mac_address: String,
    /// What it calls itself.
    pub hostname: Option<String>,
    /// Its state, as this server sees it.
    pub state: State,
    /// Its status, in its own words.
    pub status: String,
    /// Its progress, in percent.
    pub progress_percent: i64,
    /// Its message about the status.
    pub message: Option<String>,
    /// When it claimed its code.
    pub claimed_at: String,
    /// When it was last heard of.
    pub last_seen: Option<String>,
    /// Whether its key has been revoked.
    pub revoked: bool,
    /// What operators call it.
    pub display_name: Option<String>,
}

impl Entry for ApplianceEntry {
    const COLUMNS: &'static [&'static str] = &[
        "appliance_id",
        "site_id",
        "site",
        "partner",
        "mac_address",
        "hostname",
        "state",
        "status",
        "progress_percent",
        "message",
        "claimed_at",
        "last_seen",
        "display_name",
    ];

    fn values(&self) -> Vec<Option<String>> {
        vec![
            Some(self.appliance_id.clone()),
            Some(self.site_id.clone()),
            Some(self.site.clone()),
            Some(self.partner.clone()),
            Some(self.mac_address.clone()),
            self.hostname.clone(),
            Some(self.state.word().to_owned()),
            Some(self.status.clone()),
            Some(self.progress_percent.to_string()),
            self.message.clone(),
            Some(self.claimed_at.clone()),
            self.last_seen.clone(),
            self.display_name.clone(),
        ]
    }
}

impl Device for ApplianceEntry {
    const OF: Of = Of::Appliance;
    const KIND: Kind = Kind {
        devices: "appliances d",
        silence: "UPDATE appliances SET silent_since = $1 WHERE number = $2",
        joins: " JOIN sites s ON s.site_id = d.site_id LEFT JOIN appliance_presence p ON p.number = d.number",
        presence: "appliance_presence",
        columns:
            "d.appliance_id, d.site_id, s.name, d.partner, d.mac_address, d.hostname, d.status, d.progress_percent, d.message,
                  d.claimed_at, p.last_seen, d.revoked_at, d.display_name, d.ending",
        width: 14,
        name: "d.appliance_id",
        place: "d.site_id",
        partner: Some("d.partner"),
        status: Some("d.status"),
        version: None,
        id: lower!("appliance_id"),
        texts: &[lower!("appliance_id"), lower!("mac_address"), lower!("hostname"), lower!("display_name")],
    };
    const UNKNOWN: Refusal = Refusal::ApplianceNotFound;

    fn from_row(row: &Row, now: Moment) -> Result<Self, Error> {
        let last_seen = row.column::<Option<i64>>(10)?.map(Moment);
        let ending = Ending::read(row.column(11)?, row.column(13)?);
        Ok(Self {
            appliance_id: row.column(0)?,
            site_id: row.column(1)?,
            site: row.column(2)?,
            partner: row.column(3)?,
            mac_address: row.column(4)?,
            hostname: row.column(5)?,
            state: state(last_seen, ending, now),
            status: row.column(6)?,
            progress_percent: row.column(7)?,
            message: row.column(8)?,
            claimed_at: Moment(row.column(9)?).zoned(),
            last_seen: last_seen.map(Moment::zoned),
            revoked: ending == Some(Ending::Revoked),
            display_name: row.column(12)?,
        })
    }

    fn id(&self) -> &str {
        &self.appliance_id
    }

    fn state(&self) -> State {
        self.state
    }

    fn display_name(&self) -> Option<&str> {
        self.display_name.as_deref()
    }
}

/// A node in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NodeEntry {
    /// What users see of it.
    #[serde(flatten)]
    view: NodeView,
    /// Its state, as this server sees it.
    pub state: State,
    /// When it was registered.
    pub registered_at: String,
    /// What operators call it; `name` is what its household calls it.
    pub display_name: Option<String>,
}

impl NodeEntry {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.view.node_id
    }

    /// The household that it belongs to.
    pub fn household(&self) -> &str {
        &self.view.household_id
    }

    /// Room, name, version, and when it was last heard of.
    pub fn details(&self) -> [Option<&str>; 4] {
        let NodeView { room, name, last_seen_version, last_seen, .. } = &self.view;
        [Some(room), name.as_deref(), last_seen_version.as_deref(), last_seen.as_deref()]
    }
}

impl Entry for NodeEntry {
    const COLUMNS: &'static [&'static str] =
        &["node_id", "household_id", "room", "name", "state", "version", "git_sha", "registered_at", "last_seen", "display_name"];

    fn values(&self) -> Vec<Option<String>> {
        let NodeView { node_id, household_id, room, name, last_seen_version, git_sha, last_seen, .. } = self.view.clone();
        let state = self.state.word().to_owned();
        let registered_at = Some(self.registered_at.clone());
        vec![
            Some(node_id),
            Some(household_id),
            Some(room),
            name,
            Some(state),
            last_seen_version,
            git_sha,
            registered_at,
            last_seen,
            self.display_name.clone(),
        ]
    }
}

impl Device for NodeEntry {
    const OF: Of = Of::Node;
    const KIND: Kind = Kind {
        devices: "nodes d",
        silence: "UPDATE nodes SET silent_since = $1 WHERE number = $2",
        joins: " LEFT JOIN node_presence p ON p.number = d.number",
        presence: "node_presence",
        columns: concat!(node_fields!(), ", registered_at, display_name, ending"),
        width: 16,
        name: "d.node_id",
        place: "d.household_id",
        partner: None,
        status: None,
        version: Some("d.version"),
        id: lower!("node_id"),
        texts: &[lower!("node_id"), lower!("name"), lower!("room"), lower!("display_name")],
    };
    const UNKNOWN: Refusal = Refusal::NodeNotFound;

    fn from_row(row: &Row, now: Moment) -> Result<Self, Error> {
        let view = NodeView::from_row(row, now)?;
        let last_seen = row.column::<Option<i64>>(8)?.map(Moment);
        let registered_at = Moment(row.column(13)?).zoned();
        let ending = Ending::read(row.column(7)?, row.column(15)?);
        Ok(Self { state: state(last_seen, ending, now), registered_at, display_name: row.column(14)?, view })
    }

    fn id(&self) -> &str {
        &self.view.node_id
    }

    fn state(&self) -> State {
        self.state
    }

    fn display_name(&self) -> Option<&str> {
        self.display_name.as_deref()
    }
}
