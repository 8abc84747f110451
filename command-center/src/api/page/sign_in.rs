//! Signing in and out: the session of an operator's browser.

use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, FromRequestParts, State};
use axum::http::header::{RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{BASIC, Browser, OwnForm, respond};
use crate::api::accounts::{PER_ACCOUNT, PER_SOURCE};
use crate::api::auth::{Asker, Network};
use crate::api::html::Value;
use crate::api::{Center, auth, host, operating};
use crate::base::refusal::Refusal;
use crate::base::secret::{Purpose, SecretText, random_text};
use crate::domain::audit::Actor;
use crate::domain::guesses::{CountGuess, Forgive, Source};
use crate::domain::operators::{FindOperator, Known, RecordFailure};
use crate::domain::refuse;
use crate::domain::sessions::{EndSession, StartSession};
use crate::domain::totp::TotpSecret;

/// A browser that uses a name of this server: nobody is to type a password at a name of others.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct OwnName;

impl FromRequestParts<Arc<Center>> for OwnName {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        host::check(parts, center).map(|()| Self)
    }
}

/// `GET /sign-in`
pub(in crate::api) async fn form(State(center): State<Arc<Center>>, _: OwnName) -> Response {
    show(&center, None, StatusCode::OK)
}

/// What an operator signs in with.
#[derive(Deserialize)]
pub(in crate::api) struct SignInForm {
    name: String,
    password: Zeroizing<String>,
    /// Of the authenticator app; empty without one.
    #[serde(default)]
    code: Zeroizing<String>,
}

/// `POST /sign-in`
pub(in crate::api) async fn sign_in(
    State(center): State<Arc<Center>>,
    _: OwnName,
    _: OwnForm,
    Asker(asker): Asker,
    network: Network,
    form: Result<Form<SignInForm>, FormRejection>,
) -> Response {
    let Ok(Form(form)) = form else { return show(&center, Some("Enter a name and a password."), StatusCode::BAD_REQUEST) };
    let refusal = match start(&center, &asker, network, form).await {
        Ok(token) => return ([(SET_COOKIE, operating::cookie(&center, &token))], Redirect::to("/")).into_response(),
        Err(refusal) => refusal,
    };
    let fault = match refusal {
        Refusal::WrongLogin => "No operator has this name, password and code.",
        Refusal::TooManyGuesses { .. } => refusal.parts().1,
        _ => return refusal.into_response(),
    };
    let refused = refusal.into_response();
    let mut response = show(&center, Some(fault), refused.status());
    if let Some(seconds) = refused.headers().get(RETRY_AFTER) {
        response.headers_mut().insert(RETRY_AFTER, seconds.clone());
    }
    response
}

/// Starts a session. Each guess is counted before it is checked, and uncounted if it is right.
async fn start(center: &Arc<Center>, asker: &Source, Network(network): Network, form: SignInForm) -> Result<SecretText, Refusal> {
    let now = center.config.clock.now();
    center.guessers.count(network, now)?;
    let SignInForm { name, password, code } = form;
    let name = name.trim().to_owned();
    if name.contains('\0') {
        return Err(Refusal::WrongLogin);
    }
    let account = format!("operator {name}");
    let sources = [asker.for_account(&center.secret, &account), Source::named(&center.secret, &account)];
    let [both, account] = sources.clone();
    center.store.write(CountGuess { limits: [(both, PER_SOURCE), (account, PER_ACCOUNT)], now }).await.map_err(refuse)??;
    let found = center.store.read(FindOperator { name: name.clone() }).await.map_err(refuse)?;
    let place = network.to_string();
    let (known, totp_step) = match check(center, found, password, &code).await {
        Err(Refusal::WrongLogin) => {
            // Not waited for: the time of the answer would tell whether there is such an operator.
            let (store, failure) = (Arc::clone(&center.store), RecordFailure { name, place, now });
            tokio::spawn(async move {
                if let Err(error) = store.write(failure).await {
                    tracing::warn!(error = %crate::base::chain(&error), "recording a refused sign-in failed");
                }
            });
            return Err(Refusal::WrongLogin);
        }
        checked => checked?,
    };
    let token = random_text().map_err(|_| Refusal::Internal)?;
    let token_hash = center.secret.hash(Purpose::SessionToken, &[token.expose()]);
    let actor = Actor { name, place };
    center.store.write(StartSession { known, totp_step, token_hash, actor, now }).await.map_err(refuse)?;
    center.guessers.forgive(network);
    center.store.write(Forgive { sources, now }).await.map_err(refuse)?;
    Ok(token)
}

/// The operator and the time step of the code, if all is right.
async fn check(
    center: &Center,
    found: Option<Known>,
    mut password: Zeroizing<String>,
    code: &str,
) -> Result<(Known, Option<i64>), Refusal> {
    let hash = found.as_ref().map(|known| known.password_hash.clone());
    let is_right = center.passwords.verify(SecretText::new(std::mem::take(&mut *password)), hash).await?;
    let known = found.filter(|_| is_right).ok_or(Refusal::WrongLogin)?;
    let Some(salt) = &known.totp_salt else { return Ok((known, None)) };
    let secret = TotpSecret::derive(&center.secret, &known.name, salt);
    let step = secret.step_of(code, known.totp_step, center.config.clock.now()).ok_or(Refusal::WrongLogin)?;
    Ok((known, Some(step)))
}

/// `POST /sign-out`
pub(in crate::api) async fn sign_out(State(center): State<Arc<Center>>, Browser(operating): Browser, _: OwnForm) -> Response {
    let now = center.config.clock.now();
    let (token_hash, actor) = operating.into_session();
    if let Some(token_hash) = token_hash
        && let Err(error) = center.store.write(EndSession { token_hash, actor, now }).await
    {
        return refuse(error).into_response();
    }
    ([(SET_COOKIE, operating::no_cookie(&center))], Redirect::to("/sign-in")).into_response()
}

/// `GET /administrator`: asks the browser for the administrator's key, which it then sends with all requests.
pub(in crate::api) async fn by_key(State(center): State<Arc<Center>>, parts: Parts) -> Response {
    match auth::administrator(&parts, &center) {
        Ok(()) => Redirect::to("/").into_response(),
        Err(refusal) => {
            let mut response = refusal.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(BASIC));
            }
            response
        }
    }
}

fn show(center: &Center, fault: Option<&str>, status: StatusCode) -> Response {
    let content: Markup = html! {
        h2 { "Sign in" }
        @if let Some(fault) = fault { p.fault role="alert" { (Value(fault)) } }
        form.credentials method="post" action="/sign-in" {
            label { "Name" input name="name" autocomplete="username" autocapitalize="none" maxlength="64" required; }
            label { "Password" input type="password" name="password" autocomplete="current-password" maxlength="1024" required; }
            label {
                "Code of the authenticator app, if you use one"
                input name="code" inputmode="numeric" autocomplete="one-time-code" maxlength="6" pattern="[0-9]{6}";
            }
            button { "Sign in" }
        }
        p { a href="/administrator" { "Use the administrator’s key" } }
    };
    respond(center, &html! {}, "Sign in", &content, status)
}
