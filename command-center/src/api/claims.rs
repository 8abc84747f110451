//! Provision codes over HTTP: claim, validate, and what an appliance does with its key.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::header::HOST;
use axum::http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;

use super::Center;
use super::auth::{Asker, bearer};
use super::body::{Body, Fields, FromFields, Segment};
use super::refusal::{Detail, PlainBodyRefusals, Released, ValidationError};
use crate::base::refusal::Refusal;
use crate::base::secret::Purpose;
use crate::domain::claims::{Claim, Claimed, Configuration, Configured, Device, SetStatus, Valid, Validate};
use crate::domain::code::{self, ProvisionCode};
use crate::domain::heartbeats::{ApplianceBeat, Standing};
use crate::domain::operator::Partner;
use crate::domain::refuse;

/// A body whose faults are reported in one line, because the clients of these routes show `detail` unchanged.
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

/// The URL of this server for the client: as configured, or as in the client's request.
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
#[derive(Debug, ToSchema)]
pub(super) struct ClaimRequest {
    /// The code, as it was typed or scanned: case, dashes and blanks do not matter.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", example = "ABCD-1234-EFGH-5678")]
    provision_code: String,
    /// The device's hardware address.
    #[schema(pattern = "^[0-9A-Fa-f]{2}([-:]?[0-9A-Fa-f]{2}){5}$", example = "84:3A:5B:91:B6:61")]
    mac_address: String,
    /// What it calls itself; names the site of a code that has none.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    hostname: Option<String>,
    /// What its maker calls it.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    hardware_id: Option<String>,
    /// Its public key.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    public_key: Option<String>,
    /// 128 random bits that the device stored before the claim. They identify the device when it repeats the claim.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    claim_id: Option<String>,
}

impl FromFields for ClaimRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self {
            provision_code: fields.text("provision_code"),
            mac_address: fields.mac_address("mac_address"),
            hostname: fields.optional_text("hostname").filter(|name| !name.is_empty()),
            hardware_id: fields.optional_text("hardware_id"),
            public_key: fields.optional_text("public_key"),
            claim_id: fields.optional_text("claim_id"),
        }
    }
}

/// The identity and the key of a new appliance.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClaimAnswer {
    /// Always `claimed`.
    status: &'static str,
    /// The id of the appliance's site.
    site_id: String,
    /// Which appliance it is.
    appliance_id: String,
    /// The partner whose brand it shows.
    partner: Partner,
    /// The URL to report to.
    api_endpoint: String,
    /// Its key: 43 url-safe characters.
    api_key: String,
    /// Settings that differ from the appliance's own; none so far.
    config: NoSettings,
    /// What happened, for people.
    message: &'static str,
}

/// An object without fields.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NoSettings {}

/// Claims a code.
///
/// The same device asking again gets the same answer, until it has used its key.
#[utoipa::path(
    post,
    path = "/api/provision/claim",
    tag = "appliances",
    request_body = ClaimRequest,
    responses(
        (status = 200, body = ClaimAnswer),
        (status = 400, description = "The code is claimed, revoked or expired", body = Detail),
        (status = 404, description = "There is no such code", body = Detail),
        (status = 429, description = "Too many wrong codes; `Retry-After` says when to try again", body = Detail),
        PlainBodyRefusals,
    )
)]
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

/// Claims a code, for appliances that know the claim by this name. The colons of the appliance id are escaped.
#[utoipa::path(
    post,
    path = "/api/partners/claim",
    tag = "appliances",
    request_body = ClaimRequest,
    responses(
        (status = 200, body = ClaimAnswer),
        (status = 400, description = "The code is claimed, revoked or expired", body = Detail),
        (status = 404, description = "There is no such code", body = Detail),
        (status = 429, description = "Too many wrong codes; `Retry-After` says when to try again", body = Detail),
        PlainBodyRefusals,
    )
)]
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
    request: ClaimRequest,
    by_partner_route: bool,
) -> Result<Claimed, Refusal> {
    let ClaimRequest { provision_code, mac_address, hostname, hardware_id, public_key, claim_id } = request;
    // A malformed code is not counted as a guess.
    let code = ProvisionCode::parse(&provision_code).ok_or(Refusal::UnknownCode)?;
    let device = Device { mac_address, hostname, hardware_id, public_key, claim_id };
    let code_hash = Claim::hash(&center.secret, &code);
    let (secret, now) = (center.secret.clone(), center.config.clock.now());
    let claim = Claim { code_hash, device, source, secret, by_partner_route, now };
    let claimed = center.store.write(claim).await.map_err(refuse)??;
    tracing::info!(appliance_id = claimed.appliance_id, "claimed a code");
    Ok(claimed)
}

fn answer(claimed: Claimed, api_endpoint: String, message: &'static str) -> ClaimAnswer {
    let Claimed { site_id, appliance_id, partner, api_key } = claimed;
    let api_key = api_key.expose().to_owned();
    let (status, config) = ("claimed", NoSettings {});
    ClaimAnswer { status, site_id, appliance_id, partner, api_endpoint, api_key, config, message }
}

/// Whether a code can be claimed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum ValidateAnswer {
    /// It can.
    Valid(ValidCode),
    /// It cannot.
    Invalid(InvalidCode),
}

/// What is known of a code before it is claimed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ValidCode {
    /// Always true.
    valid: bool,
    /// The name of its site, if it has one.
    client_name: Option<String>,
    /// The partner whose brand the appliance will show.
    partner: PartnerBrand,
}

/// Why a code cannot be claimed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InvalidCode {
    /// Always false.
    valid: bool,
    /// The reason, for people.
    error: &'static str,
}

/// The part of a partner that an installer sees before the claim.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PartnerBrand {
    /// Its name for people.
    brand_name: String,
    /// `#RRGGBB`.
    primary_color: String,
}

/// Whether a code can be claimed. The other route of this name keeps the code out of the logs of proxies.
#[utoipa::path(
    get,
    path = "/api/provision/validate/{code}",
    tag = "appliances",
    params(("code" = String, Path, description = "The code")),
    responses(
        (status = 200, body = ValidateAnswer),
        (status = 400, description = "The path is not text", body = ValidationError),
        (status = 429, description = "Too many wrong codes; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn validate_path(
    State(center): State<Arc<Center>>,
    asker: Asker,
    Segment(code): Segment,
) -> Result<Json<ValidateAnswer>, Refusal> {
    validate_code(&center, asker, &code).await
}

/// A code to validate.
#[derive(Debug, ToSchema)]
pub(super) struct ValidateRequest {
    /// The code, as it was typed or scanned.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    provision_code: String,
}

impl FromFields for ValidateRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self { provision_code: fields.text("provision_code") }
    }
}

/// Whether a code can be claimed.
#[utoipa::path(
    post,
    path = "/api/provision/validate",
    tag = "appliances",
    request_body = ValidateRequest,
    responses(
        (status = 200, body = ValidateAnswer),
        (status = 429, description = "Too many wrong codes; `Retry-After` says when to try again", body = Detail),
        PlainBodyRefusals,
    )
)]
pub(super) async fn validate(
    State(center): State<Arc<Center>>,
    asker: Asker,
    Plain(request): Plain<ValidateRequest>,
) -> Result<Json<ValidateAnswer>, Refusal> {
    validate_code(&center, asker, &request.provision_code).await
}

async fn validate_code(center: &Center, Asker(source): Asker, code: &str) -> Result<Json<ValidateAnswer>, Refusal> {
    let found = match ProvisionCode::parse(code) {
        None => Err(Refusal::UnknownCode),
        Some(code) => {
            let code_hash = Claim::hash(&center.secret, &code);
            let validate = Validate { code_hash, source, now: center.config.clock.now() };
            center.store.write(validate).await.map_err(refuse)?
        }
    };
    match found {
        Ok(Valid { site, brand_name, primary_color }) => {
            let partner = PartnerBrand { brand_name, primary_color };
            Ok(Json(ValidateAnswer::Valid(ValidCode { valid: true, client_name: site, partner })))
        }
        Err(refusal @ Refusal::TooManyGuesses { .. }) => Err(refusal),
        Err(refusal) => Ok(Json(ValidateAnswer::Invalid(InvalidCode { valid: false, error: refusal.parts().1 }))),
    }
}

/// The progress of an appliance.
#[derive(Debug, ToSchema)]
pub(super) struct StatusRequest {
    /// The id of the appliance, from the answer to its claim.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    appliance_id: String,
    /// Its status, in its own words, such as `configuring`, `testing`, `active` or `failed`.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    status: String,
    /// Its progress in percent; 0 by default.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 100)]
    progress_percent: i64,
    /// Its message about the status.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
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

/// The stored progress.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StatusAnswer {
    /// Always `updated`.
    status: &'static str,
    /// Which appliance it is.
    appliance_id: String,
    /// The stored status.
    new_status: String,
}

/// Stores the progress of an appliance.
#[utoipa::path(
    post,
    path = "/api/provision/status",
    tag = "appliances",
    request_body = StatusRequest,
    security(("appliance" = [])),
    responses(
        (status = 200, body = StatusAnswer),
        (status = 401, description = "No key, or an unknown one", body = Detail),
        (status = 404, description = "Not this appliance's key", body = Detail),
        (status = 410, description = "The appliance has been released from its site: this was its key", body = Released),
        PlainBodyRefusals,
    )
)]
pub(super) async fn status(
    State(center): State<Arc<Center>>,
    ApplianceKey(key_hash): ApplianceKey,
    Plain(request): Plain<StatusRequest>,
) -> Result<Json<StatusAnswer>, Refusal> {
    let StatusRequest { appliance_id, status, progress_percent, message } = request;
    let appliance_id = plain_id(&appliance_id);
    let answer = StatusAnswer { status: "updated", appliance_id: appliance_id.clone(), new_status: status.clone() };
    let now = center.config.clock.now();
    let set = SetStatus { appliance_id, key_hash, status, progress_percent, message, now };
    center.store.write(set).await.map_err(refuse)?;
    Ok(Json(answer))
}

/// The id of an appliance as the database has it, whichever route it was given out by.
fn plain_id(appliance_id: &str) -> String {
    appliance_id.replace("%3A", ":").replace("%3a", ":")
}

/// The heartbeat of a device.
#[derive(Debug, ToSchema)]
pub(super) struct HeartbeatRequest {
    /// The device's hardware address.
    #[schema(pattern = "^[0-9A-Fa-f]{2}([-:]?[0-9A-Fa-f]{2}){5}$", example = "84:3A:5B:91:B6:61")]
    mac_address: String,
    /// Its host name.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    hostname: Option<String>,
    /// Its IP address.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
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

/// What the server knows of a device.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "lowercase")]
pub(super) enum HeartbeatAnswer {
    /// It has claimed a code.
    Known {
        /// Which appliance it is.
        appliance_id: String,
        /// The id of the appliance's site.
        site_id: String,
    },
    /// It has not.
    Unknown {
        /// What to do, for people.
        message: &'static str,
    },
}

/// Reports that a device is alive: without a key before it has claimed a code, with its key afterwards.
#[utoipa::path(
    post,
    path = "/api/provision/heartbeat",
    tag = "appliances",
    request_body = HeartbeatRequest,
    security((), ("appliance" = [])),
    responses(
        (status = 200, body = HeartbeatAnswer),
        (status = 401, description = "The device has claimed, and this is not its key", body = Detail),
        (status = 410, description = "The appliance has been released from its site: this was its key", body = Released),
        PlainBodyRefusals,
    )
)]
pub(super) async fn heartbeat(
    State(center): State<Arc<Center>>,
    key: Option<ApplianceKey>,
    Plain(request): Plain<HeartbeatRequest>,
) -> Result<Json<HeartbeatAnswer>, Refusal> {
    let HeartbeatRequest { mac_address, hostname, ip_address } = request;
    let key_hash = key.map(|ApplianceKey(hash)| hash);
    let beat = ApplianceBeat { mac_address, key_hash, hostname, ip_address };
    Ok(Json(match center.appliance_beats.take(beat).await? {
        Standing::Known { appliance_id, site_id } => HeartbeatAnswer::Known { appliance_id, site_id },
        Standing::Unknown => HeartbeatAnswer::Unknown { message: "Appliance not provisioned. Use provision code to claim." },
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

/// An appliance and its configuration.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConfigurationAnswer {
    /// Which appliance it is.
    appliance_id: String,
    /// The id of the appliance's site.
    site_id: String,
    /// The name of that place.
    clinic_name: String,
    /// The fields of its configuration.
    config: ConfigurationFields,
}

/// The configuration of an appliance.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConfigurationFields {
    /// The URL to report to.
    api_endpoint: String,
    /// The id of the appliance's site.
    site_id: String,
    /// Which appliance it is.
    appliance_id: String,
}

/// Returns the configuration of an appliance.
#[utoipa::path(
    get,
    path = "/api/provision/config/{appliance_id}",
    tag = "appliances",
    params(("appliance_id" = String, Path, description = "Which appliance it is")),
    security(("appliance" = [])),
    responses(
        (status = 200, body = ConfigurationAnswer),
        (status = 400, description = "The path is not text", body = ValidationError),
        (status = 401, description = "No key, or an unknown one", body = Detail),
        (status = 404, description = "Not this appliance's key", body = Detail),
        (status = 410, description = "The appliance has been released from its site: this was its key", body = Released),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn configuration(
    State(center): State<Arc<Center>>,
    Endpoint(endpoint): Endpoint,
    ApplianceKey(key_hash): ApplianceKey,
    Segment(appliance_id): Segment,
) -> Result<Json<ConfigurationAnswer>, Refusal> {
    let appliance_id = plain_id(&appliance_id);
    let ask = Configuration { appliance_id: appliance_id.clone(), key_hash, now: center.config.clock.now() };
    let Configured { site_id, site } = center.store.write(ask).await.map_err(refuse)?;
    let config = ConfigurationFields { api_endpoint: endpoint, site_id: site_id.clone(), appliance_id: appliance_id.clone() };
    Ok(Json(ConfigurationAnswer { appliance_id, site_id, clinic_name: site, config }))
}

impl Fields {
    /// A hardware address that must be there, in upper case with colons.
    fn mac_address(&mut self, name: &str) -> String {
        self.parsed(name, code::mac_address, "Input should be a valid hardware address").unwrap_or_default()
    }
}
