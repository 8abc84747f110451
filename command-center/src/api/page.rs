//! The operator's pages: codes, and lists of the fleet. HTML; only the page of a device has a script, which shows
//! its changes.

pub(super) mod action;
pub(super) mod device;
pub(super) mod devices;
pub(super) mod sign_in;

use std::sync::{Arc, LazyLock};
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
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Deserialize;
use url::form_urlencoded::Serializer;

use super::Center;
use super::body::Asked;
use super::html::Value;
use super::operating::Operating;
use crate::base::clock::Moment;
use crate::base::qr::qr_png;
use crate::base::refusal::Refusal;
use crate::domain::audit::AuditEntry;
use crate::domain::fleet::Device;
use crate::domain::history::Of;
use crate::domain::operator::{CodeEntry, CodeState, MANY, NewCode, NewCodes, OperatorError, Overview, SiteEntry};
use crate::domain::operators::AnyOperator;
use crate::domain::permissions::{Task, Tenant};
use crate::domain::refuse;
use crate::domain::sheet::{Paper, sheet};

/// The style of the page. Its hash is in the policy below, so that browsers apply no other.
const STYLE: &str = include_str!("page.css");

/// The script of the pages that change while they are shown, the only one that the policy allows.
const LIVE: &str = include_str!("page/live.js");

/// What the pages may load and run.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| BASE64_STANDARD.encode(<sha2::Sha256 as sha2::Digest>::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(LIVE)
    )
});

/// A space at which no line ends.
const NO_BREAK: PreEscaped<&str> = PreEscaped("&nbsp;");

/// How many codes the page creates at once at most; the command line creates more, and writes them to files.
const MOST_CODES: usize = 24;

/// Asks a browser for the administrator's key, which is the password of any user name.
const BASIC: &str = "Basic realm=\"Jarvis command center\", charset=\"UTF-8\"";

/// The operator in a browser, who has signed in or whose log-in is the administrator's key.
#[derive(Clone, Debug)]
pub(super) struct Browser(Operating);

impl FromRequestParts<Arc<Center>> for Browser {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Response> {
        let refusal = match Operating::from_request_parts(parts, center).await {
            Ok(operating) => return Ok(Self(operating)),
            Err(refusal) => refusal,
        };
        // Where nobody can sign in, the browser is asked for the key.
        if refusal == Refusal::AuthenticationRequired
            && center.store.read(AnyOperator).await.map_err(|error| refuse(error).into_response())?
        {
            return Err(Redirect::to("/sign-in").into_response());
        }
        let mut response = refusal.into_response();
        if response.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(BASIC));
        }
        Err(response)
    }
}

/// A form that was sent from this server's own page. A browser sends its credentials with the forms of any page, so the
/// origin must be this server.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnForm;

impl FromRequestParts<Arc<Center>> for OwnForm {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        let text = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let host = text(HOST).ok_or(Refusal::Forbidden)?;
        let origin = text(ORIGIN).and_then(|origin| origin.split_once("://")).ok_or(Refusal::Forbidden)?;
        // Without TLS of its own the server may be behind a proxy that has it, so there both schemes are its own.
        let is_own_scheme = center.config.tls.is_none() || origin.0.eq_ignore_ascii_case("https");
        if is_own_scheme && origin.1.eq_ignore_ascii_case(host) { Ok(Self) } else { Err(Refusal::Forbidden) }
    }
}

/// `GET /`
pub(super) async fn show(State(center): State<Arc<Center>>, Browser(operating): Browser) -> Response {
    render(&center, &operating, &[], None, StatusCode::OK).await
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
    Browser(operating): Browser,
    _: OwnForm,
    form: Result<Form<CreateForm>, FormRejection>,
) -> Response {
    let acting = match operating.acting(&center, Task::CreateCodes) {
        Ok(acting) => acting,
        Err(refusal) => return refusal.into_response(),
    };
    let wrong = "Choose 1 to 24 codes that end in 1 to 365 days.";
    let Ok(Form(CreateForm { site, partner, days, count })) = form else {
        return render(&center, &operating, &[], Some(wrong), StatusCode::BAD_REQUEST).await;
    };
    if !(1..=MOST_CODES).contains(&count) || !(1..=365).contains(&days) {
        return render(&center, &operating, &[], Some(wrong), StatusCode::BAD_REQUEST).await;
    }
    let site = Some(site.trim().to_owned()).filter(|site| !site.is_empty());
    let wanted = NewCodes { site, partner, expires_in: Duration::from_hours(24 * days), count };
    match acting.create_codes(&wanted, |_| {}).await {
        Ok(codes) => render(&center, &operating, &codes, None, StatusCode::OK).await,
        Err(error) => fail(&center, &operating, &error).await,
    }
}

/// The code to revoke.
#[derive(Debug, Deserialize)]
pub(super) struct RevokeForm {
    id: String,
}

/// `GET /codes/revoke`: asks for the confirmation.
pub(super) async fn confirm_revocation(
    State(center): State<Arc<Center>>,
    Browser(operating): Browser,
    asked: Result<Asked<RevokeForm>, Refusal>,
) -> Response {
    let id = match (operating.scope(Task::RevokeCode), asked) {
        (Ok(_), Ok(Asked(RevokeForm { id }))) => id,
        (Err(refusal), _) | (_, Err(refusal)) => return refusal.into_response(),
    };
    let content = html! {
        nav aria-label="Up" { a href="/" { "Back to the codes" } }
        h2 { "Revoke " (Value(&id)) "?" }
        p { "The code cannot be claimed from then on. This cannot be undone." }
        form method="post" action="/codes/revoke" { button name="id" value=(Value(&id)) { "Revoke" } }
    };
    answer(&center, &operating, Place::Codes, "Revoke", &content, StatusCode::OK)
}

/// `POST /codes/revoke`
pub(super) async fn revoke(
    State(center): State<Arc<Center>>,
    Browser(operating): Browser,
    _: OwnForm,
    form: Result<Form<RevokeForm>, FormRejection>,
) -> Response {
    let acting = match operating.acting(&center, Task::RevokeCode) {
        Ok(acting) => acting,
        Err(refusal) => return refusal.into_response(),
    };
    let id = form.map(|Form(form)| form.id).unwrap_or_default();
    match acting.revoke_code(&id).await {
        Ok(()) => Redirect::to("/").into_response(),
        Err(error) => fail(&center, &operating, &error).await,
    }
}

/// The status of a page that shows an error.
fn status(error: &OperatorError) -> Result<StatusCode, Refusal> {
    match error {
        OperatorError::Database(_) | OperatorError::Random(_) => {
            tracing::warn!(error = %crate::base::chain(error), "operator request failed");
            Err(Refusal::Unavailable)
        }
        OperatorError::UnknownCode | OperatorError::UnknownAppliance | OperatorError::UnknownNode => Ok(StatusCode::NOT_FOUND),
        _ => Ok(StatusCode::BAD_REQUEST),
    }
}

async fn fail(center: &Center, operating: &Operating, error: &OperatorError) -> Response {
    match status(error) {
        Ok(status) => render(center, operating, &[], Some(&error.to_string()), status).await,
        Err(refusal) => refusal.into_response(),
    }
}

async fn render(center: &Center, operating: &Operating, fresh: &[NewCode], fault: Option<&str>, status: StatusCode) -> Response {
    let scope = match operating.scope(Task::SeeCodes) {
        Ok(scope) => scope,
        Err(refusal) => return refusal.into_response(),
    };
    let has_site = matches!(scope.tenant(), Some(Tenant::Site(_)));
    let sees_actions = operating.may(Task::SeeAudit);
    let overview = match center.operator.overview(scope, sees_actions).await {
        Ok(overview) => overview,
        Err(error) => {
            tracing::warn!(error = %crate::base::chain(&error), "rendering the operator page failed");
            return Refusal::Unavailable.into_response();
        }
    };
    let content = html! {
        @if let Some(fault) = fault { p.fault role="alert" { (Value(fault)) } }
        @if !fresh.is_empty() { (new_codes(fresh)) }
        @if operating.may(Task::CreateCodes) { (create_form(&overview, has_site)) }
        (codes(&overview, operating.may(Task::RevokeCode)))
        (sites(&overview))
        @if sees_actions { (actions(&overview)) }
    };
    answer(center, operating, Place::Codes, "Codes and sites", &content, status)
}

/// A page of its own in the head of all pages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Codes,
    Appliances,
    Nodes,
}

impl Place {
    /// The pages that an operator has.
    fn of_operator(operating: &Operating) -> impl Iterator<Item = Self> {
        // Nodes have no tenant.
        let has_nodes = operating.scope(Task::SeeFleet).is_ok_and(|scope| scope.tenant().is_none());
        [Self::Codes, Self::Appliances].into_iter().chain(has_nodes.then_some(Self::Nodes))
    }

    /// The page of a kind of devices.
    const fn of<D: Device>() -> Self {
        match D::OF {
            Of::Appliance => Self::Appliances,
            Of::Node => Self::Nodes,
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Codes => "/",
            Self::Appliances => "/appliances",
            Self::Nodes => "/nodes",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Codes => "Codes",
            Self::Appliances => "Appliances",
            Self::Nodes => "Nodes",
        }
    }
}

fn answer(center: &Center, operating: &Operating, place: Place, title: &str, content: &Markup, status: StatusCode) -> Response {
    let head = html! {
        nav aria-label="Pages of the command center" {
            @for other in Place::of_operator(operating) {
                a href=(other.path()) aria-current=[(other == place).then_some("page")] { (other.name()) }
            }
        }
        @if let Some(name) = operating.name() {
            form method="post" action="/sign-out" { span { (Value(name)) } button { "Sign out" } }
        }
    };
    respond(center, &head, title, content, status)
}

/// A page with what `head` has beside its title.
fn respond(center: &Center, head: &Markup, title: &str, content: &Markup, status: StatusCode) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY.as_str()),
        // It shows codes.
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, page(head, title, content, center.config.clock.now())).into_response()
}

fn page(head: &Markup, title: &str, content: &Markup, now: Moment) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (Value(title)) " – Jarvis command center" }
                meta name="viewport" content="width=device-width, initial-scale=1";
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header {
                    h1 { "Jarvis command center" }
                    (head)
                    p { (when(&now.zoned())) " UTC" }
                }
                main #content { (content) }
            }
        }
    };
    page.into_string()
}

fn new_codes(fresh: &[NewCode]) -> Markup {
    let image = |new: &NewCode| format!("data:image/png;base64,{}", BASE64_STANDARD.encode(qr_png(&new.code.uri())));
    // In this answer, because the codes cannot be read again.
    let document = |paper| format!("data:application/pdf;base64,{}", BASE64_STANDARD.encode(sheet(paper, fresh)));
    html! {
        section.fresh {
            h2 { "New codes" }
            p { "Shown once: print them, or hold one before a phone." }
            ul {
                @for new in fresh {
                    li { img alt={ "QR code of " (Value(&new.id)) } src=(image(new)); code { (new.code.grouped()) } }
                }
            }
            p {
                "Sheet of labels: "
                @for (name, paper) in [("A4", Paper::A4), ("US Letter", Paper::Letter)] {
                    a download="codes.pdf" href=(document(paper)) { (name) (NO_BREAK) "(PDF)" } " "
                }
            }
        }
    }
}

/// The form that creates codes. The codes of an operator who has a site are for that one.
fn create_form(overview: &Overview, has_site: bool) -> Markup {
    html! {
        section {
            h2 { "Create codes" }
            form.filters method="post" action="/codes" {
                @if has_site {
                    label { "Site " input value=(Value(overview.sites.first().map_or("", |site| &site.name))) disabled; }
                } @else {
                    label { "Site " input name="site" maxlength="200" placeholder="a new one for each"; }
                }
                label {
                    "Partner "
                    select name="partner" {
                        @for partner in &overview.partners {
                            option value=(Value(&partner.slug)) { (Value(&partner.brand_name)) }
                        }
                    }
                }
                label { "Days " input name="days" type="number" min="1" max="365" value="30"; }
                label { "Codes " input name="count" type="number" min="1" max="24" value="1"; }
                button { "Create" }
            }
        }
    }
}

/// A time for display: to the minute, in UTC as the head of the page says.
fn when(zoned: &str) -> String {
    zoned.chars().take(16).map(|character| if character == 'T' { ' ' } else { character }).collect()
}

/// A section with a table of the newest entries of a kind.
fn table(title: &str, columns: &[&str], rows: &[Markup]) -> Markup {
    html! {
        section {
            h2 { (title) }
            @if rows.is_empty() {
                p.empty { "None." }
            } @else {
                div.scroll tabindex="0" role="region" aria-label=(title) {
                    table {
                        thead { tr { @for column in columns { th scope="col" { (column) } } } }
                        tbody { @for row in rows { tr { (row) } } }
                    }
                }
            }
        }
    }
}

/// Cells, with a dash for what is absent.
fn cells(texts: &[Option<&str>]) -> Markup {
    html! { @for text in texts { td { (Value(text.unwrap_or("–"))) } } }
}

fn sites(Overview { sites, .. }: &Overview) -> Markup {
    let row = |site: &SiteEntry| {
        let count = if site.appliances < MANY { site.appliances.to_string() } else { format!("{MANY} or more") };
        let query = Serializer::new(String::new()).append_pair("site", &site.site_id).finish();
        html! {
            (cells(&[Some(&site.site_id), Some(&site.name), Some(&site.partner)]))
            td { a href={ "/appliances?" (Value(&query)) } { (count) } }
        }
    };
    table("Newest sites", &["Site", "Name", "Partner", "Appliances"], &sites.iter().map(row).collect::<Vec<_>>())
}

fn actions(Overview { actions, .. }: &Overview) -> Markup {
    let row = |entry: &AuditEntry| {
        let AuditEntry { actor, place, action, subject, detail, .. } = entry;
        cells(&[Some(&when(&entry.at)), Some(action), Some(subject), detail.as_deref(), Some(actor), Some(place)])
    };
    let columns = ["When", "Action", "Of", "Detail", "By", "From"];
    table("Newest actions", &columns, &actions.iter().map(row).collect::<Vec<_>>())
}

fn codes(Overview { codes, .. }: &Overview, may_revoke: bool) -> Markup {
    let row = |code: &CodeEntry| {
        let (ends, site, appliance) = (when(&code.expires_at), code.site.as_deref(), code.appliance_id.as_deref());
        html! {
            (cells(&[Some(&code.id), Some(code.state.word())]))
            @if may_revoke {
                td {
                    @if code.state == CodeState::Pending {
                        form method="get" action="/codes/revoke" {
                            button name="id" value=(Value(&code.id)) aria-label={ "Revoke code " (Value(&code.id)) } { "Revoke" }
                        }
                    }
                }
            }
            (cells(&[Some(&ends), site, Some(&code.partner), appliance]))
        }
    };
    let mut columns = vec!["Code", "State", "Action", "Ends", "Site", "Partner", "Appliance"];
    columns.retain(|column| may_revoke || *column != "Action");
    table("Newest codes", &columns, &codes.iter().map(row).collect::<Vec<_>>())
}
