//! Provision codes over HTTP: claim, validate, and what an appliance does with its key.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::http::header::HOST;
use axum::http::request::Parts;
use serde::Serialize;
use serde_json::{Value, json};

use super::Center;
use super::auth::{Asker, bearer};
use super::body::{Body, Fields, FromFields};
use crate::claims::{Claim, Claimed, Configuration, Configured, Device, SetStatus, Valid, Validate};
use crate::code::{self, ProvisionCode};
use crate::heartbeats::{ApplianceBeat, Standing};
use crate::operator::Partner;
use crate::refusal::Refusal;
use crate::secret::Purpose;

/// A body whose faults are told in one line, because the clients of these routes show `detail` to people as it is.
#[derive(Debug)]
pub(super) struct Plain<T>(T);

impl<T: FromFields> FromRequest<Arc<Center>> for Plain<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, center: &Arc<Center>) -> Result<Self, Refusal> {
        match Body::from_request(request, center).await {
            Ok(Body(body)) => Ok(Self(body)),
            Err(Refusal::Malformed(faults)) => {
                let lines = faults.iter().map(|fault| fault.strip_prefix("body -> ").unwrap_or(fault));
                Err(Refusal::Unprocessable(lines.collect::<Vec<_>>().join("; ")))
            }
            Err(other) => Err(other),
        }
    }
}

/// Where this server is reached, as far as the asker is concerned: as configured, or as the asker called it.
#[derive(Debug)]
pub(super) struct Endpoint(String);

impl FromRequestParts<Arc<Center>> for Endpoint {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        if let Some(url) = &center.config.public_url {
            return Ok(Self(url.trim_end_matches('/').to_owned()));
        }
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        Ok(Self(format!("{}://{host}", center.scheme())))
    }
}

/// The key of an appliance, hashed. Whether it is right is for the database to say.
#[derive(Debug)]
pub(super) struct ApplianceKey(String);

impl FromRequestParts<Arc<Center>> for ApplianceKey {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        let key = bearer(&parts.headers).ok_or(Refusal::BearerMissing)?;
        Ok(Self(center.secret.hash(Purpose::ApplianceKeyHash, &[key])))
    }
}

/// A device with a code.
#[derive(Debug)]
pub(super) struct ClaimRequest {
    code: String,
    device: Device,
}

impl FromFields for ClaimRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        let code = fields.text("provision_code");
        let mac_address = fields.mac_address("mac_address");
        let device = Device {
            mac_address,
            hostname: fields.optional_text("hostname").filter(|name| !name.is_empty()),
            hardware_id: fields.optional_text("hardware_id"),
            public_key: fields.optional_text("public_key"),
            claim_id: fields.optional_text("claim_id"),
        };
        Self { code, device }
    }
}

/// What an appliance is from here on, and the key it shows from here on.
#[derive(Debug, Serialize)]
pub(super) struct ClaimAnswer {
    status: &'static str,
    site_id: String,
    appliance_id: String,
    partner: Partner,
    api_endpoint: String,
    api_key: String,
    config: Value,
    message: &'static str,
}

/// `POST /api/provision/claim`
pub(super) async fn claim(
    State(center): State<Arc<Center>>,
    asker: Asker,
    Endpoint(endpoint): Endpoint,
    Plain(request): Plain<ClaimRequest>,
) -> Result<Json<ClaimAnswer>, Refusal> {
    let claimed = claim_code(&center, asker, request, false).await?;
    let message = "Appliance provisioned successfully. Run initial discovery.";
    Ok(Json(answer(claimed, endpoint, message)))
}

/// `POST /api/partners/claim`: the same, for appliances that know the claim by this name. Its appliance id has its colons
/// escaped.
pub(super) async fn claim_as_partner(
    State(center): State<Arc<Center>>,
    asker: Asker,
    Endpoint(endpoint): Endpoint,
    Plain(request): Plain<ClaimRequest>,
) -> Result<Json<ClaimAnswer>, Refusal> {
    let claimed = claim_code(&center, asker, request, true).await?;
    let mut answer = answer(claimed, endpoint, "Appliance provisioned successfully");
    answer.appliance_id = answer.appliance_id.replace(':', "%3A");
    Ok(Json(answer))
}

async fn claim_code(
    center: &Center,
    Asker(source): Asker,
    ClaimRequest { code, device }: ClaimRequest,
    by_partner_route: bool,
) -> Result<Claimed, Refusal> {
    // What cannot be a code is no guess.
    let code = ProvisionCode::parse(&code).ok_or(Refusal::UnknownCode)?;
    let code_hash = Claim::hash(&center.secret, &code);
    let (secret, now) = (center.secret.clone(), center.config.clock.now());
    let claim = Claim { code_hash, device, source, secret, by_partner_route, now };
    let claimed = center.store.write(claim).await.map_err(super::refuse)??;
    tracing::info!(appliance_id = claimed.appliance_id, "a code was claimed");
    Ok(claimed)
}

fn answer(claimed: Claimed, api_endpoint: String, message: &'static str) -> ClaimAnswer {
    let Claimed { site_id, appliance_id, partner, api_key } = claimed;
    let api_key = api_key.expose().to_owned();
    ClaimAnswer { status: "claimed", site_id, appliance_id, partner, api_endpoint, api_key, config: json!({}), message }
}

/// Whether a code can be claimed.
#[derive(Debug, Serialize)]
pub(super) struct ValidateAnswer {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(flatten)]
    found: Option<ValidCode>,
}

/// What can be told of a code before it is claimed.
#[derive(Debug, Serialize)]
struct ValidCode {
    client_name: Option<String>,
    partner: PartnerBrand,
}

/// The part of a partner that an installer sees before the claim.
#[derive(Debug, Serialize)]
struct PartnerBrand {
    brand_name: String,
    primary_color: String,
}

/// `GET /api/provision/validate/{code}`
pub(super) async fn validate_path(
    State(center): State<Arc<Center>>,
    asker: Asker,
    Path(code): Path<String>,
) -> Result<Json<ValidateAnswer>, Refusal> {
    validate_code(&center, asker, &code).await
}

/// A code to be looked at.
#[derive(Debug)]
pub(super) struct ValidateRequest(String);

impl FromFields for ValidateRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self(fields.text("provision_code"))
    }
}

/// `POST /api/provision/validate`: the same without a secret in the address, which proxies write into their logs.
pub(super) async fn validate(
    State(center): State<Arc<Center>>,
    asker: Asker,
    Plain(ValidateRequest(code)): Plain<ValidateRequest>,
) -> Result<Json<ValidateAnswer>, Refusal> {
    validate_code(&center, asker, &code).await
}

async fn validate_code(center: &Center, Asker(source): Asker, code: &str) -> Result<Json<ValidateAnswer>, Refusal> {
    let found = match ProvisionCode::parse(code) {
        None => Err(Refusal::UnknownCode),
        Some(code) => {
            let code_hash = Claim::hash(&center.secret, &code);
            let validate = Validate { code_hash, source, now: center.config.clock.now() };
            center.store.write(validate).await.map_err(super::refuse)?
        }
    };
    match found {
        Ok(Valid { site, brand_name, primary_color }) => {
            let found = ValidCode { client_name: site, partner: PartnerBrand { brand_name, primary_color } };
            Ok(Json(ValidateAnswer { valid: true, error: None, found: Some(found) }))
        }
        Err(refusal @ Refusal::TooManyGuesses { .. }) => Err(refusal),
        Err(refusal) => Ok(Json(ValidateAnswer { valid: false, error: Some(refusal.parts().1), found: None })),
    }
}

/// How far an appliance is.
#[derive(Debug)]
pub(super) struct StatusRequest {
    appliance_id: String,
    status: String,
    progress_percent: i64,
    message: Option<String>,
}

impl FromFields for StatusRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self {
            appliance_id: fields.text("appliance_id"),
            status: fields.text("status"),
            progress_percent: fields.optional_integer("progress_percent", 0..=100).unwrap_or(0),
            message: fields.optional_text("message"),
        }
    }
}

/// `POST /api/provision/status`
pub(super) async fn status(
    State(center): State<Arc<Center>>,
    ApplianceKey(key_hash): ApplianceKey,
    Plain(request): Plain<StatusRequest>,
) -> Result<Json<Value>, Refusal> {
    let StatusRequest { appliance_id, status, progress_percent, message } = request;
    let appliance_id = plain_id(&appliance_id);
    let answer = json!({ "status": "updated", "appliance_id": appliance_id, "new_status": status });
    let now = center.config.clock.now();
    let set = SetStatus { appliance_id, key_hash, status, progress_percent, message, now };
    center.store.write(set).await.map_err(super::refuse)?;
    Ok(Json(answer))
}

/// The id of an appliance as the database has it, whichever route it was given out by.
fn plain_id(appliance_id: &str) -> String {
    appliance_id.replace("%3A", ":").replace("%3a", ":")
}

/// A device that tells that it is there.
#[derive(Debug)]
pub(super) struct HeartbeatRequest {
    mac_address: String,
    hostname: Option<String>,
    ip_address: Option<String>,
}

impl FromFields for HeartbeatRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self {
            mac_address: fields.mac_address("mac_address"),
            hostname: fields.optional_text("hostname"),
            ip_address: fields.optional_text("ip_address"),
        }
    }
}

/// `POST /api/provision/heartbeat`: without a key for a device that has not claimed yet, with its key afterwards.
pub(super) async fn heartbeat(
    State(center): State<Arc<Center>>,
    key: Option<ApplianceKey>,
    Plain(request): Plain<HeartbeatRequest>,
) -> Result<Json<Value>, Refusal> {
    let HeartbeatRequest { mac_address, hostname, ip_address } = request;
    let key_hash = key.map(|ApplianceKey(hash)| hash);
    let beat = ApplianceBeat { mac_address, key_hash, hostname, ip_address };
    Ok(Json(match center.appliance_beats.take(beat).await? {
        Standing::Known { appliance_id, site_id } => {
            json!({ "status": "known", "appliance_id": appliance_id, "site_id": site_id })
        }
        Standing::Unknown => {
            json!({ "status": "unknown", "message": "Appliance not provisioned. Use provision code to claim." })
        }
    }))
}

impl axum::extract::OptionalFromRequestParts<Arc<Center>> for ApplianceKey {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Option<Self>, Refusal> {
        match <Self as FromRequestParts<Arc<Center>>>::from_request_parts(parts, center).await {
            Err(Refusal::BearerMissing) => Ok(None),
            other => other.map(Some),
        }
    }
}

/// `GET /api/provision/config/{appliance_id}`
pub(super) async fn configuration(
    State(center): State<Arc<Center>>,
    Endpoint(endpoint): Endpoint,
    ApplianceKey(key_hash): ApplianceKey,
    Path(appliance_id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let appliance_id = plain_id(&appliance_id);
    let ask = Configuration { appliance_id: appliance_id.clone(), key_hash, now: center.config.clock.now() };
    let Configured { site_id, site } = center.store.write(ask).await.map_err(super::refuse)?;
    Ok(Json(json!({
        "appliance_id": appliance_id,
        "site_id": site_id,
        "clinic_name": site,
        "config": { "api_endpoint": endpoint, "site_id": site_id, "appliance_id": appliance_id },
    })))
}

impl Fields {
    /// A hardware address that must be there, in upper case with colons.
    fn mac_address(&mut self, name: &str) -> String {
        self.parsed(name, code::mac_address, "Input should be a valid hardware address").unwrap_or_default()
    }
}
