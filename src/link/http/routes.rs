//! The routes: dispatches a request and makes its response.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::captive::{self, PROBES, Probe};
use super::care;
use super::espressif::Apps;
use super::form::{self, Filled, Language, PAGES, Problem};
use super::host::{Names, is_foreign};
use super::json::{encode, json, problem};
use super::names::NetworkNames;
use super::schema::{
    FactoryResetResponse, K2ProvisionRequest, K2ProvisionResponse, NodeInfo, ProvisionRequest, ProvisionResponse,
    ProvisionStatus, ScanNetworksResponse, cleared_name,
};
use super::sealed::{Caller, Phones, protobuf, random_text};
use super::setup::{self, FILES};
use super::{Answered, Arrival, Config, Operation, Reply, body, k2};
use crate::daemon::Handle;
use provisioning_core::domain::{CommandCenterUrl, Credentials, K2, Network, Passphrase, Security, Ssid, TEXT_LIMIT, TextField};
use provisioning_core::endpoint::{self, Endpoint, PROTOBUF};
use provisioning_core::espressif;
use provisioning_core::fault::Fault;
use provisioning_core::machine::{Answer, LocalRequest};
use provisioning_core::secret::SecretText;
use provisioning_core::wire::PublicStatus;

/// Requests that wait for the loop at one time. The loop answers within the time of a disk write; more are an attack.
const WAITING: usize = 32;
/// The loop did not answer in time.
const LATE: &str = "The device did not answer in time. Try again.";
/// A factory reset has begun, and one of its steps has failed.
const RESET_INCOMPLETE: &str = "The reset is not complete. The device tries again until it is.";
/// Secrets are not accepted in clear.
const SECRETS_REFUSED: &str = "Secrets are not accepted in clear on this device's network, which may not be encrypted. \
    Use an app that seals them, or set secrets_in_clear = true under [access_point] in the device's configuration.";

/// The state of the API.
pub(super) struct Api {
    pub(super) config: Config,
    pub(super) phones: Phones,
    apps: Apps,
    care: Option<care::Api>,
    handle: Handle,
    /// The node's name at the start, which is on its label.
    name: String,
    /// The text that the form without a script carries: another site cannot know it.
    mark: SecretText,
    waiting: Semaphore,
    /// A scan request is under way.
    nudging: AtomicBool,
}

/// The JSON endpoint that has no sealed representation.
pub(super) const FACTORY_RESET: &str = "/api/v1/factory-reset";

/// The published schema. `openapi.rs` generates it and compares it in a test.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");
/// The page with the endpoints, for people.
const PAGE: &str = include_str!("docs.html");

/// The resource at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Endpoint(Endpoint),
    Reset,
    Events,
    Schema,
    Page,
    Setup(setup::File),
    Form(form::Page),
    Probe(Probe),
    Care(care::Operation),
}

/// The routes beside the endpoints and the probes.
const OTHERS: [(&str, Route); 4] =
    [(FACTORY_RESET, Route::Reset), ("/api/v1/events", Route::Events), ("/openapi.json", Route::Schema), ("/docs", Route::Page)];

impl Route {
    /// Every path and its resource.
    fn all() -> impl Iterator<Item = (&'static str, Self)> {
        let endpoints = endpoint::ENDPOINTS.iter().map(|row| (row.path, Self::Endpoint(row.endpoint)));
        let setup = FILES.map(|(path, file)| (path, Self::Setup(file)));
        let form = PAGES.map(|(path, page)| (path, Self::Form(page)));
        let probes = PROBES.map(|(path, probe)| (path, Self::Probe(probe)));
        let care = care::OPERATIONS.map(|(path, operation)| (path, Self::Care(operation)));
        endpoints.chain(OTHERS).chain(setup).chain(form).chain(probes).chain(care)
    }

    /// Whether the path exists with network care only.
    const fn is_of_care(self) -> bool {
        match self {
            Self::Care(care::Operation::Authorize) => false,
            Self::Care(_) => true,
            Self::Setup(file) => file.is_of_care(),
            _ => false,
        }
    }

    fn at(path: &str) -> Option<Self> {
        Self::all().find(|(known, _)| *known == path).map(|(_, route)| route)
    }

    /// The methods of requests that are not sealed.
    pub(super) const fn methods(self) -> &'static [endpoint::Method] {
        match self {
            Self::Endpoint(endpoint) => endpoint.row().methods,
            Self::Reset => &[endpoint::Method::Post],
            Self::Form(form::Page::Form) => &[endpoint::Method::Get, endpoint::Method::Post],
            Self::Events | Self::Schema | Self::Page | Self::Setup(_) | Self::Form(form::Page::Outcome) | Self::Probe(_) => {
                &[endpoint::Method::Get]
            }
            Self::Care(operation) => operation.methods(),
        }
    }

    fn allows(self, method: endpoint::Method, sealed: bool) -> bool {
        match self {
            Self::Endpoint(endpoint) => endpoint.row().allows(method, sealed),
            _ => self.methods().contains(&method),
        }
    }
}

/// See [`super::operations`].
pub(super) fn operations() -> impl Iterator<Item = Operation> {
    let methods = [endpoint::Method::Get, endpoint::Method::Post, endpoint::Method::Delete];
    let kinds = methods.into_iter().flat_map(|method| [(method, false), (method, true)]);
    Route::all().flat_map(move |(path, route)| {
        let takes_sealed = matches!(route, Route::Endpoint(endpoint) if endpoint.row().writable);
        let answers =
            move |(method, sealed)| route.allows(method, sealed) && (!sealed || takes_sealed && method == endpoint::Method::Post);
        kinds.clone().filter(move |kind| answers(*kind)).map(move |(method, sealed)| Operation { path, method, sealed })
    })
}

const fn method(method: &Method) -> Option<endpoint::Method> {
    match *method {
        Method::GET => Some(endpoint::Method::Get),
        Method::POST => Some(endpoint::Method::Post),
        Method::DELETE => Some(endpoint::Method::Delete),
        _ => None,
    }
}

/// Answers a request.
pub(super) async fn answer<B>(api: &Arc<Api>, arrival: &Arrival, request: Request<B>) -> Answered
where
    B: Body<Data = Bytes> + Unpin,
{
    let (head, body) = request.into_parts();
    if let Some(endpoint) = api.espressif(arrival, &head) {
        return Either::Left(api.answer_espressif(endpoint, arrival, &head, body).await);
    }
    let route = match api.route(&head, arrival.sent_to) {
        Ok(route) => route,
        Err(reply) => return Either::Left(*reply),
    };
    if let (Route::Endpoint(_) | Route::Reset | Route::Events, Some(apps)) = (route, &arrival.apps) {
        apps.called(arrival.peer, &head.headers);
    }
    match (route, &api.care) {
        (Route::Care(care::Operation::Authorize), _) => {
            Either::Left(care::authorize(&api.handle, &api.config, arrival, &head, body).await)
        }
        (Route::Care(operation), Some(care)) => care.answer(operation, arrival, &head, body, api.config.limits.body).await,
        _ => Either::Left(answer_at(api, route, arrival, &head, body).await),
    }
}

async fn answer_at<B>(api: &Arc<Api>, route: Route, arrival: &Arrival, head: &Parts, body: B) -> Reply
where
    B: Body<Data = Bytes> + Unpin,
{
    let sealed = is_sealed(&head.headers);
    let method = method(&head.method);
    let Some(method) = method.filter(|method| route.allows(*method, sealed)) else {
        // The path takes sealed messages with this method, and no JSON.
        let is_other_kind = head.headers.contains_key(CONTENT_TYPE) && method.is_some_and(|method| route.allows(method, true));
        return if is_other_kind { unsupported_media_type() } else { method_not_allowed(route) };
    };
    if method != endpoint::Method::Get && is_foreign(&head.headers) {
        return problem(StatusCode::FORBIDDEN, "Requests from another site are not accepted.");
    }
    let caller = Caller { headers: &head.headers, peer: arrival.peer, wait: head.extensions.get() };
    match method {
        endpoint::Method::Get => api.get(route, arrival, &caller).await,
        endpoint::Method::Post => api.post(route, arrival, &caller, body).await,
        // Only a session can be deleted.
        endpoint::Method::Delete => api.phones.close(&head.headers).await,
    }
}

/// Answers a request on port 80, beside the API at port `port`. An owner who types the node's address gets the setup page.
///
/// Espressif's apps use this port as well.
pub(super) async fn answer_captive<B>(api: &Api, arrival: &Arrival, port: u16, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes> + Unpin,
{
    let (head, body) = request.into_parts();
    if let Some(endpoint) = api.espressif(arrival, &head) {
        return api.answer_espressif(endpoint, arrival, &head, body).await;
    }
    let is_typed = head.uri.path() == "/" && api.is_addressed(&head, arrival.sent_to);
    let leads = is_typed || captive::is_portal(api.config.portal, arrival.apps.as_deref(), arrival.peer);
    let page = leads.then(|| SocketAddr::new(arrival.sent_to, port));
    captive::reply(&head.method, head.uri.path(), page)
}

fn unsupported_media_type() -> Reply {
    problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type")
}

fn method_not_allowed(route: Route) -> Reply {
    let methods: Vec<_> = route.methods().iter().map(|method| method.as_str()).collect();
    let mut reply = problem(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    let allow = HeaderValue::try_from(methods.join(", ")).expect("methods are letters");
    reply.headers_mut().insert(ALLOW, allow);
    reply
}

impl Api {
    pub(super) fn new(config: Config, handle: Handle) -> Self {
        let phones = Phones::new(handle.clone(), config.limits.idle, config.limits.answer);
        let apps = Apps::new(handle.clone(), config.limits.idle);
        let name = handle.view().identity.name();
        let care = config.care.clone().map(care::Api::new);
        let mark = SecretText::new(random_text());
        Self { config, phones, apps, care, handle, name, mark, waiting: Semaphore::new(WAITING), nudging: AtomicBool::new(false) }
    }

    /// The endpoint of Espressif's protocol that a request posts to, if it is served there.
    fn espressif(&self, arrival: &Arrival, head: &Parts) -> Option<espressif::Endpoint> {
        let is_served = self.config.espressif && arrival.in_access_point && head.method == Method::POST;
        espressif::Endpoint::from_path(head.uri.path()).filter(|_| is_served)
    }

    async fn answer_espressif<B>(&self, endpoint: espressif::Endpoint, arrival: &Arrival, head: &Parts, body: B) -> Reply
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if !self.is_addressed(head, arrival.sent_to) || is_foreign(&head.headers) {
            return problem(StatusCode::FORBIDDEN, "Requests from another site are not accepted.");
        }
        let body = match body::read(body, self.config.limits.body).await {
            Ok(body) => body,
            Err(unread) => return unread.into(),
        };
        let caller = Caller { headers: &head.headers, peer: arrival.peer, wait: head.extensions.get() };
        self.apps.answer(endpoint, &caller, &body).await
    }

    /// The resource that a request names, or the answer if there is none or the request is for another host.
    fn route(&self, head: &Parts, sent_to: IpAddr) -> Result<Route, Box<Reply>> {
        let path = head.uri.path();
        let at = |path| Route::at(path).filter(|route| self.care.is_some() || !route.is_of_care());
        let route = at(path);
        if !matches!(route, Some(Route::Probe(_))) && !self.is_addressed(head, sent_to) {
            return Err(Box::new(problem(StatusCode::FORBIDDEN, "This host name is not the device's.")));
        }
        route.ok_or_else(|| {
            let shorter = path.trim_end_matches('/');
            Box::new(match at(shorter) {
                Some(_) => redirect(head, shorter),
                None => problem(StatusCode::NOT_FOUND, "Not Found"),
            })
        })
    }

    /// Whether a request is for this node.
    fn is_addressed(&self, head: &Parts, sent_to: IpAddr) -> bool {
        Names { own: &self.name, loopback: sent_to.is_loopback() }.include_host_of(head)
    }

    /// Answers from the last view. Only [`Route::Events`] waits.
    async fn get(self: &Arc<Self>, route: Route, arrival: &Arrival, caller: &Caller<'_>) -> Reply {
        let sealed = accepts_sealed(caller.headers);
        let view = || self.handle.view();
        let language = Language::preferred(caller.headers);
        match route {
            Route::Endpoint(Endpoint::Info) if sealed => protobuf(StatusCode::OK, view().info.encode()),
            Route::Endpoint(Endpoint::Info) => json(StatusCode::OK, &NodeInfo::from(&*view())),
            Route::Endpoint(Endpoint::Status) if sealed => protobuf(StatusCode::OK, PublicStatus::from(&view().status).encode()),
            Route::Endpoint(Endpoint::Status) => json(StatusCode::OK, &ProvisionStatus::from(&view().status)),
            Route::Endpoint(Endpoint::Scan) => {
                self.nudge();
                json(StatusCode::OK, &ScanNetworksResponse::new(&view().networks, self.config.open_security))
            }
            Route::Events => self.phones.ask(caller, None).await,
            Route::Schema => page(DOCUMENT, "application/json"),
            Route::Page => page(PAGE, "text/html; charset=utf-8"),
            Route::Setup(file) => file.reply(&self.name),
            Route::Form(_) if !self.takes_form(arrival) => form::refused(&view(), language),
            Route::Form(form::Page::Form) => {
                self.nudge();
                form::form(&view(), language, self.mark.expose(), None, &form::Kept::default())
            }
            Route::Form(form::Page::Outcome) => form::outcome(&view(), language),
            Route::Probe(probe) => probe.reply(),
            Route::Endpoint(Endpoint::Session | Endpoint::K2 | Endpoint::Credentials) | Route::Reset | Route::Care(_) => {
                method_not_allowed(route)
            }
        }
    }

    async fn post<B>(&self, route: Route, arrival: &Arrival, caller: &Caller<'_>, body: B) -> Reply
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let headers = caller.headers;
        let sealed = match route {
            Route::Endpoint(endpoint) if is_sealed(headers) => Some(endpoint),
            _ => None,
        };
        if sealed.is_none() {
            if route == Route::Endpoint(Endpoint::Session) {
                return unsupported_media_type();
            }
            if matches!(route, Route::Form(_)) && !self.takes_form(arrival) {
                return form::refused(&self.handle.view(), Language::preferred(headers));
            }
            if !self.config.secrets.are_taken_from(arrival) {
                return problem(StatusCode::FORBIDDEN, SECRETS_REFUSED);
            }
        }
        let body = match body::read(body, self.config.limits.body).await {
            Ok(body) => body,
            Err(unread) => return unread.into(),
        };
        if let Some(endpoint) = sealed {
            return match endpoint {
                Endpoint::Session => self.phones.open(caller, &body).await,
                _ => self.phones.ask(caller, Some((endpoint, &body))).await,
            };
        }
        let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        match route {
            Route::Endpoint(Endpoint::Credentials) => match ProvisionRequest::read(kind, &body) {
                Ok(request) => self.provision(request).await,
                Err(invalid) => invalid.into(),
            },
            Route::Endpoint(Endpoint::K2) => match K2ProvisionRequest::read(kind, &body) {
                Ok(request) => self.k2(request).await,
                Err(invalid) => invalid.into(),
            },
            Route::Reset => self.reset().await,
            Route::Form(_) => match Filled::read(headers.get(CONTENT_TYPE), &body) {
                Some((filled, kept)) => self.fill(filled, &kept, Language::preferred(headers)).await,
                None => unsupported_media_type(),
            },
            _ => method_not_allowed(route),
        }
    }

    async fn provision(&self, request: ProvisionRequest) -> Reply {
        let local = attempt(request, &self.handle.view().networks);
        let (success, message) = match self.ask(local).await {
            Some(Answer::Accepted) => (true, "Credentials received. Attempting connection..."),
            Some(Answer::Busy) => (false, "Provisioning already in progress"),
            Some(Answer::Refused(fault)) => (false, fault.text()),
            _ => (false, LATE),
        };
        json(StatusCode::OK, &ProvisionResponse { success, message })
    }

    /// Whether secrets in clear are accepted from there, in the access point.
    const fn takes_form(&self, arrival: &Arrival) -> bool {
        arrival.in_access_point && self.config.secrets.are_taken_from(arrival)
    }

    /// Takes the form without a script.
    async fn fill(&self, Filled { mark, code, hidden, request }: Filled, kept: &form::Kept, language: Language) -> Reply {
        let view = self.handle.view();
        if !self.mark.matches(&mark) {
            return form::refused(&view, language);
        }
        let again = |problem| form::form(&view, language, self.mark.expose(), Some(&problem), kept);
        let mut credentials = match credentials(request, &view.networks) {
            Ok(credentials) => Box::new(credentials),
            Err(fault) => return again(Problem::Fault(fault)),
        };
        credentials.hidden = hidden;
        // A mistake costs no guess, and does not close the access point.
        let may_be_open = hidden || credentials.ssid.as_ref().is_some_and(|ssid| is_open(ssid, &view.networks));
        let is_valid = if credentials.passphrase.is_empty() { may_be_open } else { may_fit(&credentials, &view.networks) };
        if !is_valid {
            return again(Problem::Fault(Fault::InvalidPassphrase));
        }
        match self.ask(LocalRequest::Guess { code: SecretText::new(code.to_string()), credentials }).await {
            Some(Answer::Accepted) => form::begun(),
            Some(Answer::Locked(left)) => again(Problem::Locked(left)),
            Some(Answer::Busy) => again(Problem::Fault(Fault::Busy)),
            Some(Answer::Refused(fault)) => again(Problem::Fault(fault)),
            _ => again(Problem::Late),
        }
    }

    async fn k2(&self, request: K2ProvisionRequest) -> Reply {
        let (node_id, kid) = (request.node_id.clone(), request.kid.clone());
        let response = match key(request) {
            Err(error) => K2ProvisionResponse::refused(error),
            Ok(request) => match self.ask(request).await {
                Some(Answer::K2Stored) => {
                    K2ProvisionResponse { success: true, node_id: Some(node_id), kid: Some(kid), error: None }
                }
                Some(Answer::AlreadyProvisioned) => {
                    K2ProvisionResponse::refused("Node is already provisioned. Re-enter pairing mode to update K2.")
                }
                Some(Answer::Busy) => K2ProvisionResponse::refused(Fault::Busy.text()),
                Some(Answer::Refused(fault)) => K2ProvisionResponse::refused(fault.text()),
                _ => K2ProvisionResponse::refused(LATE),
            },
        };
        json(StatusCode::OK, &response)
    }

    async fn reset(&self) -> Reply {
        let response = match self.ask(LocalRequest::Reset).await {
            Some(Answer::Reset(items)) => {
                FactoryResetResponse { success: true, cleared: items.into_iter().map(cleared_name).collect(), error: None }
            }
            Some(Answer::Busy) => FactoryResetResponse::failed(Fault::Busy.text()),
            Some(Answer::Refused(fault)) => FactoryResetResponse::failed(fault.text()),
            Some(Answer::ResetIncomplete(fault)) => FactoryResetResponse::failed(format!("{RESET_INCOMPLETE} {fault}")),
            _ => FactoryResetResponse::failed(LATE),
        };
        json(StatusCode::OK, &response)
    }

    /// Sends a request to the loop; `None` if it does not answer in time.
    async fn ask(&self, request: LocalRequest) -> Option<Answer> {
        let _permit = self.waiting.try_acquire().ok()?;
        timeout(self.config.limits.answer, self.handle.ask(request)).await.ok()?.ok()
    }

    /// Requests a scan without waiting, once at a time.
    fn nudge(self: &Arc<Self>) {
        if !self.nudging.swap(true, Ordering::Relaxed) {
            let api = Arc::clone(self);
            tokio::spawn(async move {
                // The next request gets the result; this one was answered with the last.
                let _answer = timeout(api.config.limits.answer, api.handle.ask(LocalRequest::Scan)).await;
                api.nudging.store(false, Ordering::Relaxed);
            });
        }
    }
}

/// See [`super::read_json`].
pub(super) fn read_json(endpoint: Endpoint, content_type: Option<&str>, body: &[u8]) -> Result<LocalRequest, Bytes> {
    let kind = content_type.map(str::as_bytes);
    match endpoint {
        Endpoint::Credentials => Ok(attempt(ProvisionRequest::read(kind, body)?, &[])),
        Endpoint::K2 => key(K2ProvisionRequest::read(kind, body)?).map_err(|error| encode(&K2ProvisionResponse::refused(error))),
        Endpoint::Info | Endpoint::Session | Endpoint::Scan | Endpoint::Status => Err(Bytes::new()),
    }
}

/// The machine's request to store a key, or the error text.
fn key(K2ProvisionRequest { kid, k2, created_at, .. }: K2ProvisionRequest) -> Result<LocalRequest, String> {
    // The published API allows an empty name.
    if !kid.is_empty() {
        TextField::Kid.check(&kid).map_err(Fault::text)?;
    }
    Ok(LocalRequest::K2(K2 { key: k2::read(&k2)?, kid, created_at }))
}

/// The machine's request for an attempt. An invalid value becomes an attempt that fails, because the apps expect the error in
/// the status.
fn attempt(request: ProvisionRequest, networks: &[Network]) -> LocalRequest {
    let ssid: String = limited(&request.wifi_ssid).into();
    match credentials(request, networks) {
        Ok(credentials) => LocalRequest::Credentials(Box::new(credentials)),
        Err(fault) => LocalRequest::Unusable { ssid, fault },
    }
}

fn credentials(mut request: ProvisionRequest, networks: &[Network]) -> Result<Credentials, Fault> {
    let text = |field: TextField, text: String| field.check(&text).map(|()| text);
    let ssid = ssid(&request, networks)?;
    if ssid.as_ref().is_some_and(|ssid| is_open(ssid, networks)) {
        // The existing phone app demands a password for every network.
        request.wifi_password = Zeroizing::default();
    }
    let token = SecretText::new(std::mem::take(&mut *request.provisioning_token));
    TextField::Token.check(token.expose())?;
    Ok(Credentials {
        request_id: 0,
        ssid,
        passphrase: Passphrase::try_from(std::mem::take(&mut *request.wifi_password))?,
        hidden: false,
        room: text(TextField::Room, request.room)?,
        command_center: Some(CommandCenterUrl::try_from(request.command_center_url.as_str())?),
        config_service: match request.config_service_url.as_deref() {
            None | Some("") => None,
            Some(url) => Some(CommandCenterUrl::try_from(url).map_err(|_| Fault::InvalidConfigServiceUrl)?),
        },
        household_id: text(TextField::HouseholdId, request.household_id)?,
        node_id: text(TextField::NodeId, request.node_id)?,
        token,
        // The existing phone app does not know provision codes.
        provision_code: None,
        time: None,
        country: None,
        seen_frequency: 0,
        enterprise: None,
    })
}

/// The network to join; none if neither a name nor a password is given.
fn ssid(request: &ProvisionRequest, networks: &[Network]) -> Result<Option<Ssid>, Fault> {
    if request.wifi_ssid.is_empty() && request.wifi_password.is_empty() {
        return Ok(None);
    }
    // A name is sent back as the scan listed it.
    NetworkNames::new(networks).find(&request.wifi_ssid).map(Some)
}

/// Whether a network that was seen, if it was, can have that password: WPA3 has no limits of its own.
fn may_fit(credentials: &Credentials, networks: &[Network]) -> bool {
    let is_it = |network: &&Network| credentials.ssid.as_ref() == Some(&network.ssid);
    let has_sae = |network: &Network| matches!(network.security, Security::Wpa3 | Security::Wpa2Wpa3);
    let passphrase = &credentials.passphrase;
    passphrase.is_printable() && (passphrase.fits_psk() || networks.iter().filter(is_it).any(has_sae))
}

/// Whether every network of that name is without a passphrase; false for a network that was not seen.
fn is_open(ssid: &Ssid, networks: &[Network]) -> bool {
    let mut securities = networks.iter().filter(|network| network.ssid == *ssid).map(|network| network.security).peekable();
    securities.peek().is_some() && securities.all(|security| matches!(security, Security::Open | Security::Owe))
}

/// A text, cut to the length that a status can have.
fn limited(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_LIMIT)]
}

/// Whether the body is a sealed message.
fn is_sealed(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| is_protobuf(kind.as_bytes()))
}

/// Whether the client accepts a protobuf message.
fn accepts_sealed(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|kinds| kinds.as_bytes().split(|byte| *byte == b',').any(is_protobuf))
}

fn is_protobuf(kind: &[u8]) -> bool {
    kind.split(|byte| *byte == b';').next().is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(PROTOBUF.as_bytes()))
}

/// Redirects to the path without its trailing slash.
fn redirect(head: &Parts, path: &str) -> Reply {
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).filter(|host| host.parse::<Authority>().is_ok());
    let base = host.map(|host| format!("http://{host}")).unwrap_or_default();
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut reply = Reply::default();
    *reply.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    let location = HeaderValue::try_from(format!("{base}{path}{query}")).expect("made of the parts of a request's head");
    reply.headers_mut().insert(LOCATION, location);
    reply
}

fn page(content: &'static str, kind: &'static str) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from_static(content.as_bytes())));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}
