//! The operator's page: lists of the fleet, and a form that creates codes. Plain HTML without scripts.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, FromRequestParts, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::Center;
use super::auth;
use super::html::Html;
use crate::base::clock::Moment;
use crate::base::qr::qr_png;
use crate::base::refusal::Refusal;
use crate::domain::operator::{CodeState, NewCode, NewCodes, OperatorError, Overview};

/// The style of the page. Its hash is in the policy below, so that browsers apply no other.
const STYLE: &str = include_str!("page.css");

/// How many codes the page creates at once at most; the command line creates more, and writes them to files.
const MOST_CODES: usize = 24;

/// The operator in a browser: the administrator's key is the password of any user name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Browser;

impl FromRequestParts<Arc<Center>> for Browser {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Response> {
        if auth::administrator(&parts.headers, center) {
            return Ok(Self);
        }
        let mut response = Refusal::AuthenticationRequired.into_response();
        let ask = HeaderValue::from_static("Basic realm=\"Jarvis command center\", charset=\"UTF-8\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, ask);
        Err(response)
    }
}

/// A form that was sent from this server's own page. A browser sends its credentials with the forms of any page, so the
/// origin must be this server.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnForm;

impl FromRequestParts<Arc<Center>> for OwnForm {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Center>) -> Result<Self, Refusal> {
        let text = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let host = text(HOST).ok_or(Refusal::Forbidden)?;
        let origin = text(ORIGIN).and_then(|origin| origin.split_once("://")).ok_or(Refusal::Forbidden)?;
        if origin.1.eq_ignore_ascii_case(host) { Ok(Self) } else { Err(Refusal::Forbidden) }
    }
}

/// `GET /`
pub(super) async fn show(State(center): State<Arc<Center>>, _: Browser) -> Response {
    render(&center, &[], None, StatusCode::OK).await
}

/// The codes to create.
#[derive(Debug, Deserialize)]
pub(super) struct CreateForm {
    #[serde(default)]
    site: String,
    partner: String,
    days: u64,
    count: usize,
}

/// `POST /codes`: the answer shows the codes, once.
pub(super) async fn create(
    State(center): State<Arc<Center>>,
    _: Browser,
    _: OwnForm,
    form: Result<Form<CreateForm>, FormRejection>,
) -> Response {
    let wrong = "Choose 1 to 24 codes that end in 1 to 365 days.";
    let Ok(Form(CreateForm { site, partner, days, count })) = form else {
        return render(&center, &[], Some(wrong), StatusCode::BAD_REQUEST).await;
    };
    if !(1..=MOST_CODES).contains(&count) || !(1..=365).contains(&days) {
        return render(&center, &[], Some(wrong), StatusCode::BAD_REQUEST).await;
    }
    let site = Some(site.trim().to_owned()).filter(|site| !site.is_empty());
    let wanted = NewCodes { site, partner, expires_in: Duration::from_hours(24 * days), count };
    match center.operator.create_codes(&wanted, |_| {}).await {
        Ok(codes) => render(&center, &codes, None, StatusCode::OK).await,
        Err(error) => fail(&center, &error).await,
    }
}

/// The code to revoke.
#[derive(Debug, Deserialize)]
pub(super) struct RevokeForm {
    id: String,
}

/// `POST /codes/revoke`
pub(super) async fn revoke(
    State(center): State<Arc<Center>>,
    _: Browser,
    _: OwnForm,
    form: Result<Form<RevokeForm>, FormRejection>,
) -> Response {
    let id = form.map(|Form(form)| form.id).unwrap_or_default();
    match center.operator.revoke_code(&id).await {
        Ok(()) => Redirect::to("/").into_response(),
        Err(error) => fail(&center, &error).await,
    }
}

async fn fail(center: &Center, error: &OperatorError) -> Response {
    let status = match error {
        OperatorError::Database(_) | OperatorError::Random(_) => {
            tracing::warn!(error = %crate::base::chain(error), "operator request failed");
            return Refusal::Unavailable.into_response();
        }
        OperatorError::UnknownCode | OperatorError::UnknownAppliance => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_REQUEST,
    };
    render(center, &[], Some(&error.to_string()), status).await
}

async fn render(center: &Center, fresh: &[NewCode], fault: Option<&str>, status: StatusCode) -> Response {
    let overview = match center.operator.overview().await {
        Ok(overview) => overview,
        Err(error) => {
            tracing::warn!(error = %crate::base::chain(&error), "rendering the operator page failed");
            return Refusal::Unavailable.into_response();
        }
    };
    let body = page(&overview, fresh, fault, center.config.clock.now());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        BASE64_STANDARD.encode(<sha2::Sha256 as sha2::Digest>::digest(STYLE))
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, policy.as_str()),
        // It shows codes.
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, body).into_response()
}

fn page(overview: &Overview, fresh: &[NewCode], fault: Option<&str>, now: Moment) -> String {
    let mut html = Html::default();
    html.markup("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Jarvis command center</title>\n")
        .markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>")
        .markup(STYLE)
        .markup("</style></head><body>\n<header><h1>Jarvis command center</h1><p>")
        .value(&when(&now.zoned()))
        .markup(" UTC</p></header>\n<main>\n");
    if let Some(fault) = fault {
        html.markup("<p class=\"fault\" role=\"alert\">").value(fault).markup("</p>\n");
    }
    if !fresh.is_empty() {
        show_codes(&mut html, fresh);
    }
    form(&mut html, overview);
    tables(&mut html, overview);
    html.markup("</main></body></html>\n");
    html.finish()
}

fn show_codes(html: &mut Html, fresh: &[NewCode]) {
    html.markup("<section class=\"fresh\"><h2>New codes</h2><p>Shown once: print them, or hold one before a phone.</p><ul>\n");
    for new in fresh {
        let image = BASE64_STANDARD.encode(qr_png(&new.code.uri()));
        html.markup("<li><img alt=\"QR code of ")
            .value(&new.id)
            .markup("\" src=\"data:image/png;base64,")
            .value(&image)
            .markup("\"><code>")
            .value(&new.code.grouped())
            .markup("</code></li>\n");
    }
    html.markup("</ul></section>\n");
}

fn form(html: &mut Html, overview: &Overview) {
    html.markup("<section><h2>Make codes</h2>\n<form method=\"post\" action=\"/codes\">\n")
        .markup("<label>Site <input name=\"site\" maxlength=\"200\" placeholder=\"one of its own\"></label>\n")
        .markup("<label>Partner <select name=\"partner\">");
    for partner in &overview.partners {
        html.markup("<option value=\"").value(&partner.slug).markup("\">").value(&partner.brand_name).markup("</option>");
    }
    html.markup("</select></label>\n")
        .markup("<label>Days <input name=\"days\" type=\"number\" min=\"1\" max=\"365\" value=\"30\"></label>\n")
        .markup("<label>Codes <input name=\"count\" type=\"number\" min=\"1\" max=\"24\" value=\"1\"></label>\n")
        .markup("<button>Make</button>\n</form></section>\n");
}

/// A time for display: to the minute, in UTC as the head of the page says.
fn when(zoned: &str) -> String {
    zoned.chars().take(16).map(|character| if character == 'T' { ' ' } else { character }).collect()
}

fn heading(html: &mut Html, title: &'static str, shown: usize, all: i64, columns: &[&'static str]) {
    html.markup("<section><h2>").markup(title).markup(" <small>");
    let count = if i64::try_from(shown) == Ok(all) { all.to_string() } else { format!("{shown} of {all}") };
    html.value(&count).markup("</small></h2>\n<table><thead><tr>");
    for column in columns {
        html.markup("<th>").markup(column).markup("</th>");
    }
    html.markup("</tr></thead><tbody>\n");
}

fn row(html: &mut Html, columns: &[Option<&str>]) {
    html.markup("<tr>");
    cells(html, columns);
}

fn cells(html: &mut Html, columns: &[Option<&str>]) {
    for column in columns {
        html.markup("<td>").value(column.unwrap_or("–")).markup("</td>");
    }
}

fn tables(html: &mut Html, overview: &Overview) {
    const END: &str = "</tbody></table></section>\n";
    let Overview { counts, sites, codes, appliances, nodes, .. } = overview;
    heading(html, "Sites", sites.len(), counts.sites, &["Site", "Name", "Partner", "Appliances", "Last seen"]);
    for site in sites {
        let count = site.appliances.to_string();
        let seen = site.last_seen.as_deref().map(when);
        row(html, &[Some(&site.site_id), Some(&site.name), Some(&site.partner), Some(&count), seen.as_deref()]);
        html.markup("</tr>\n");
    }
    html.markup(END);
    let columns = ["Code", "State", "", "Ends", "Site", "Partner", "Appliance"];
    heading(html, "Codes", codes.len(), counts.codes, &columns);
    for code in codes {
        row(html, &[Some(&code.id), Some(code.state.word())]);
        html.markup("<td>");
        if code.state == CodeState::Pending {
            html.markup("<form method=\"post\" action=\"/codes/revoke\"><button name=\"id\" value=\"")
                .value(&code.id)
                .markup("\">Revoke</button></form>");
        }
        html.markup("</td>");
        let (site, appliance, ends) = (code.site.as_deref(), code.appliance_id.as_deref(), when(&code.expires_at));
        cells(html, &[Some(&ends), site, Some(&code.partner), appliance]);
        html.markup("</tr>\n");
    }
    html.markup(END);
    let columns = ["Appliance", "Site", "Host", "Status", "Progress", "Last seen"];
    heading(html, "Appliances", appliances.len(), counts.appliances, &columns);
    for appliance in appliances {
        let status = if appliance.revoked { "revoked" } else { &appliance.status };
        row(html, &[Some(&appliance.appliance_id), Some(&appliance.site), appliance.hostname.as_deref(), Some(status)]);
        let percent = appliance.progress_percent.to_string();
        html.markup("<td><progress max=\"100\" value=\"")
            .value(&percent)
            .markup("\"></progress>&nbsp;")
            .value(&percent)
            .markup("&nbsp;% ")
            .value(appliance.message.as_deref().unwrap_or_default())
            .markup("</td><td>")
            .value(&appliance.last_seen.as_deref().map_or_else(|| "–".to_owned(), when))
            .markup("</td></tr>\n");
    }
    html.markup(END);
    heading(html, "Nodes", nodes.len(), counts.nodes, &["Node", "Household", "Room", "Version", "Last seen", "Online"]);
    for node in nodes {
        let [id, household, room, version, seen] = node.columns();
        let online = if node.is_online() { "yes" } else { "no" };
        row(html, &[id, household, room, version, seen.map(when).as_deref(), Some(online)]);
        html.markup("</tr>\n");
    }
    html.markup(END);
}
