//! Authentication: nodes by their key, users by a bearer token, the administrator by the administrator's key.

use core::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use super::{Center, host};
use crate::base::refusal::Refusal;
use crate::domain::audit::Actor;
use crate::domain::caller::Caller;
use crate::domain::guesses::{Source, network};
use crate::domain::jwt::{self, Signed};
use crate::domain::nodes::{NodeKey, authenticate};

/// The header of node keys and of the administrator's key.
const API_KEY: &str = "x-api-key";

/// A caller of the route that mints tokens, with the refusals of that route.
#[derive(Debug)]
pub(crate) struct Minter(pub(crate) Caller);

impl FromRequestParts<Arc<Center>> for Minter {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        caller(parts, center).await.map(Self).map_err(|refusal| match refusal {
            Refusal::BearerMissing => Refusal::AuthenticationRequired,
            Refusal::BearerExpired | Refusal::BearerInvalid => Refusal::WrongJwt,
            other => other,
        })
    }
}

impl FromRequestParts<Arc<Center>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        caller(parts, center).await
    }
}

/// An API key takes precedence; a bearer token sent with it is ignored.
async fn caller(parts: &Parts, center: &Center) -> Result<Caller, Refusal> {
    if api_key(parts, center)? {
        return Ok(Caller::Administrator(Actor::administrator(network_of(parts, center))));
    }
    let token = bearer(&parts.headers).ok_or(Refusal::BearerMissing)?;
    let now = center.config.clock.now();
    let verified = match Signed::of(token) {
        Some(Signed::WithSecret) => {
            let secret = center.config.jwt_secret.as_ref().ok_or(Refusal::BearerInvalid)?;
            jwt::verify_user(token, secret, now)
        }
        Some(Signed::WithKey(id)) => {
            let key = center.user_keys.key(id.as_deref(), now).await?.ok_or(Refusal::BearerInvalid)?;
            jwt::verify_user_by_key(token, &key, now)
        }
        None => return Err(Refusal::BearerInvalid),
    };
    verified.map(Caller::User).map_err(|fault| match fault {
        jwt::Fault::Expired => Refusal::BearerExpired,
        jwt::Fault::Invalid => Refusal::BearerInvalid,
    })
}

/// Checks that a node shows its own key, and that the path names this node; `otherwise` says that it does not.
pub(super) async fn check_own(center: &Center, key: NodeKey, node_id: &str, otherwise: &'static str) -> Result<(), Refusal> {
    let is_own = key.node_id == node_id;
    authenticate(&center.store, key, center.config.clock.now()).await?;
    if is_own { Ok(()) } else { Err(Refusal::AnotherNodes(otherwise)) }
}

/// The administrator only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Administrator;

impl FromRequestParts<Arc<Center>> for Administrator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        administrator(parts, center).map(|()| Self)
    }
}

/// Whether the administrator's key is shown, in any of the ways that tools know: in the header of its own, as a bearer
/// token, or as the password of a browser's log-in.
pub(super) fn administrator(parts: &Parts, center: &Center) -> Result<(), Refusal> {
    let headers = &parts.headers;
    if let Some(key) = headers.get(API_KEY) {
        return compare(parts, center, key.to_str().unwrap_or_default(), Refusal::NotTheAdministrator);
    }
    if let Some(token) = bearer(headers) {
        return compare(parts, center, token, Refusal::NotTheAdministrator);
    }
    // A browser sends a log-in, or none yet, with every request for the name that it was given for.
    host::check(parts, center)?;
    let login = headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok()?.split_once(' '));
    let login = login.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let login = login.and_then(|(_, login)| BASE64_STANDARD.decode(login.trim()).ok()).map(Zeroizing::new);
    let password = login.as_ref().and_then(|login| Some(std::str::from_utf8(login).ok()?.split_once(':')?.1));
    compare(parts, center, password.ok_or(Refusal::AuthenticationRequired)?, Refusal::NotTheAdministrator)
}

/// Whether a request has credentials that only programs send.
pub(super) fn is_program(headers: &HeaderMap) -> bool {
    headers.contains_key(API_KEY) || bearer(headers).is_some()
}

/// Whether the administrator's key is shown; a wrong one is refused, even beside other valid credentials.
pub(super) fn api_key(parts: &Parts, center: &Center) -> Result<bool, Refusal> {
    let Some(key) = parts.headers.get(API_KEY) else { return Ok(false) };
    compare(parts, center, key.to_str().unwrap_or_default(), Refusal::WrongAdminKey).map(|()| true)
}

/// The administrator, on the routes that make and change nodes.
#[derive(Clone, Debug)]
pub(super) struct NodesAdministrator(pub(super) Actor);

impl FromRequestParts<Arc<Center>> for NodesAdministrator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        let key = parts.headers.get(API_KEY).ok_or_else(key_missing)?;
        compare(parts, center, key.to_str().unwrap_or_default(), Refusal::WrongNodesAdminKey)?;
        Ok(Self(Actor::administrator(network_of(parts, center))))
    }
}

fn key_missing() -> Refusal {
    Refusal::Malformed(vec![format!("header -> {API_KEY}: Field required")])
}

/// Compares a key with the administrator's, unless its network has guessed too often.
fn compare(parts: &Parts, center: &Center, key: &str, wrong: Refusal) -> Result<(), Refusal> {
    center.guessers.check(network_of(parts, center), center.config.clock.now())?;
    let is_right = center.config.admin_key.as_ref().is_some_and(|known| known.matches(key));
    if is_right { Ok(()) } else { Err(wrong) }
}

pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl FromRequestParts<Arc<Center>> for NodeKey {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        let header = parts.headers.get(API_KEY).ok_or_else(key_missing)?;
        let (node_id, key) = header.to_str().ok().and_then(|text| text.split_once(':')).ok_or(Refusal::WrongNodeKey)?;
        Ok(Self { node_id: node_id.to_owned(), key_hash: center.secret.node_key_hash(node_id, key) })
    }
}

/// The address at the other end of the connection; the server puts it into every request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The header in which a proxy names its client.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Where a request comes from: the other end of the connection or, if that is a proxy of ours, what it says in the last
/// place of `X-Forwarded-For`; the places before it were written by others.
#[derive(Clone, Debug)]
pub(crate) struct Asker(pub(crate) Source);

impl FromRequestParts<Arc<Center>> for Asker {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        Ok(Self(Source::network(&center.secret, network_of(parts, center))))
    }
}

/// Like [`Asker`], by the address itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network(pub(super) IpAddr);

impl FromRequestParts<Arc<Center>> for Network {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Infallible> {
        Ok(Self(network_of(parts, center)))
    }
}

/// The address at the other end of the connection.
pub(super) fn peer_of(parts: &Parts) -> IpAddr {
    parts.extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(peer)| *peer)
}

/// The network that a request comes from, as [`Asker`] tells it.
pub(super) fn network_of(parts: &Parts, center: &Center) -> IpAddr {
    let peer = peer_of(parts);
    let forwarded = || {
        let last = parts.headers.get_all(FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
        last.rsplit(',').next()?.trim().parse::<IpAddr>().ok()
    };
    let is_proxy = center.config.trusted_proxies.contains(&peer.to_canonical());
    network(if is_proxy { forwarded().unwrap_or(peer) } else { peer })
}
