//! Who operates the fleet, and what they may do: every route for operators asks here.
//!
//! An operator shows the administrator's key or, in a browser, the session of a sign-in. Sessions count on these routes only.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::header::COOKIE;
use axum::http::request::Parts;

use super::{Center, auth, host};
use crate::base::refusal::Refusal;
use crate::base::secret::{Purpose, SecretText};
use crate::domain::audit::Actor;
use crate::domain::operator::Acting;
use crate::domain::permissions::{Role, Scope, Task};
use crate::domain::refuse;
use crate::domain::sessions::{FindSession, LIFE, NoteUse};

/// The operator who sends a request.
#[derive(Clone, Debug)]
pub(super) struct Operating {
    role: Role,
    actor: Actor,
    /// The hash of the session's token; none for the administrator's key.
    session: Option<String>,
}

impl FromRequestParts<Arc<Center>> for Operating {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        let network = auth::network_of(parts, center);
        // What a program sends takes precedence, so that a wrong key is refused. A log-in that the browser has kept does not.
        if !auth::is_program(&parts.headers)
            && let Some(token) = session_token(parts, center)
        {
            host::check(parts, center)?;
            let session = center.secret.hash(Purpose::SessionToken, &[token]);
            if let Some(operating) = Self::in_session(center, session, network.to_string(), is_background(parts)).await? {
                return Ok(operating);
            }
        }
        auth::administrator(parts, center)?;
        Ok(Self { role: Role::Administrator, actor: Actor::administrator(network), session: None })
    }
}

impl Operating {
    /// The operator of a session, unless it has ended. It counts as use of the session, unless it happens in the background.
    async fn in_session(center: &Center, session: String, place: String, is_background: bool) -> Result<Option<Self>, Refusal> {
        let now = center.config.clock.now();
        let found = center.store.read(FindSession { token_hash: session.clone(), now }).await.map_err(refuse)?;
        let Some(found) = found else { return Ok(None) };
        if found.is_to_be_noted && !is_background {
            center.store.write(NoteUse { token_hash: session.clone(), now }).await.map_err(refuse)?;
        }
        Ok(Some(Self { role: found.role, actor: Actor { name: found.operator, place }, session: Some(session) }))
    }

    /// The same operator later in the same answer; refused if the session has ended.
    pub(super) async fn still(&self, center: &Center) -> Result<Self, Refusal> {
        let Some(session) = self.session.clone() else { return Ok(self.clone()) };
        let still = Self::in_session(center, session, self.actor.place.clone(), true).await?;
        still.ok_or(Refusal::AuthenticationRequired)
    }

    /// Where the operator may do something.
    pub(super) fn scope(&self, task: Task) -> Result<Scope, Refusal> {
        self.role.scope(task).ok_or(Refusal::Forbidden)
    }

    /// Whether the operator may do something anywhere.
    pub(super) fn may(&self, task: Task) -> bool {
        self.role.scope(task).is_some()
    }

    /// The operator with the right to do something.
    pub(super) fn acting<'c>(&self, center: &'c Center, task: Task) -> Result<Acting<'c>, Refusal> {
        Ok(center.operator.acting_within(self.actor.clone(), self.scope(task)?))
    }

    /// The name of an operator who has signed in.
    pub(super) fn name(&self) -> Option<&str> {
        self.session.as_ref().map(|_| self.actor.name.as_str())
    }

    /// The hash of the session's token, and who ends it.
    pub(super) fn into_session(self) -> (Option<String>, Actor) {
        (self.session, self.actor)
    }
}

/// Whether a script sends the request, as the page of a device does for its changes: a page that is only left open is not used.
/// Browsers say so where they trust the connection.
fn is_background(parts: &Parts) -> bool {
    parts.headers.get("sec-fetch-dest").is_some_and(|what| what == "empty")
}

/// Whether browsers reach this server over TLS only, its own or that of a proxy.
fn is_secure(center: &Center) -> bool {
    center.config.tls.is_some() || center.config.public_url.as_ref().is_some_and(|url| url.starts_with("https:"))
}

/// The name of the cookie. With the prefix, browsers accept it over TLS and from this host only.
fn cookie_name(center: &Center) -> &'static str {
    if is_secure(center) { "__Host-jarvis-session" } else { "jarvis-session" }
}

fn session_token<'p>(parts: &'p Parts, center: &Center) -> Option<&'p str> {
    let cookies = parts.headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == cookie_name(center)).map(|(_, token)| token)
}

/// The cookie of a session, which scripts cannot read and no page of others can make a browser send.
pub(super) fn cookie(center: &Center, token: &SecretText) -> HeaderValue {
    set_cookie(center, token.expose(), LIFE.as_secs())
}

/// Removes the cookie.
pub(super) fn no_cookie(center: &Center) -> HeaderValue {
    set_cookie(center, "", 0)
}

fn set_cookie(center: &Center, token: &str, seconds: u64) -> HeaderValue {
    let (name, secure) = (cookie_name(center), if is_secure(center) { "; Secure" } else { "" });
    let cookie = format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let mut cookie = HeaderValue::from_str(&cookie).expect("a token is url-safe");
    cookie.set_sensitive(true);
    cookie
}
