//! Accounts over HTTP: created by the factory, used by devices to log in.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::Center;
use super::auth::{self, Asker, Network};
use super::body::{Body, Fields, FromFields};
use super::refusal::{BodyRefusals, Detail};
use crate::base::refusal::Refusal;
use crate::base::secret::{Purpose, SecretText};
use crate::domain::accounts::{
    ADMINISTRATOR_ROLE, Account, CreateAccount, FindAccount, IsAccepted, SetPassword, SigningKey, TOKEN_LIFE,
};
use crate::domain::guesses::{CountGuess, Forgive, Source};
use crate::domain::jwt;
use crate::domain::refuse;

/// Passwords tried for one account from one address in a window.
pub(super) const PER_SOURCE: i64 = 10;

/// Passwords tried for one account from anywhere in a window: more than owners mistype, far fewer than guessing takes.
pub(super) const PER_ACCOUNT: i64 = 100;

/// Who may manage accounts: the administrator, or an account of the administrators' role.
#[derive(Debug)]
pub(super) struct Manager;

impl FromRequestParts<Arc<Center>> for Manager {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        if auth::api_key(parts, center)? {
            return Ok(Self);
        }
        match Holder::from_request_parts(parts, center).await {
            Ok(Holder(account)) if account.role == ADMINISTRATOR_ROLE => Ok(Self),
            Ok(_) => Err(Refusal::Forbidden),
            Err(Refusal::BearerMissing) => Err(Refusal::AuthenticationRequired),
            Err(other) => Err(other),
        }
    }
}

/// The holder of a bearer token that this server signed.
#[derive(Debug)]
pub(super) struct Holder(Account);

impl FromRequestParts<Arc<Center>> for Holder {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        let token = auth::bearer(&parts.headers).ok_or(Refusal::BearerMissing)?;
        let key_id = jwt::key_id(token).ok_or(Refusal::BearerInvalid)?;
        let now = center.config.clock.now();
        // The name of the key is not verified yet; a name that we never gave derives a key that never signed anything.
        let key = center.secret.derive(Purpose::SigningKey, &[&key_id]);
        let account = jwt::verify(token, &*key, now).map_err(|fault| match fault {
            jwt::Fault::Expired => Refusal::BearerExpired,
            jwt::Fault::Invalid => Refusal::BearerInvalid,
        })?;
        let is_accepted = center.store.read(IsAccepted { key_id, now }).await.map_err(refuse)?;
        if is_accepted { Ok(Self(account)) } else { Err(Refusal::BearerExpired) }
    }
}

/// An account to be made.
#[derive(Debug, ToSchema)]
pub(super) struct CreateRequest {
    /// The name of the account; upper and lower case are the same.
    #[schema(max_length = 254, pattern = r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^\s\x00-\x1f\x7f-\x9f]+$")]
    email: String,
    /// Its password.
    #[schema(value_type = String, min_length = 8, max_length = 1024)]
    password: SecretText,
    /// What it may do: `ApiAdmin` manages accounts.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^:\x00-\x1f\x7f-\x9f]*$")]
    role: String,
}

impl FromFields for CreateRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self { email: email(fields), password: fields.secret("password", 8..=1024), role: fields.id("role") }
    }
}

/// An address, in lower case, so that no two accounts differ in case only.
fn email(fields: &mut Fields) -> String {
    let parse = |text: &str| {
        let (user, host) = text.split_once('@')?;
        let is_good = !user.is_empty() && !host.is_empty() && text.len() <= 254 && !text.contains(char::is_whitespace);
        is_good.then(|| text.to_ascii_lowercase())
    };
    fields.parsed("email", parse, "Input should be a valid email address").unwrap_or_default()
}

/// An account without its password.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccountAnswer {
    /// Its name.
    email: String,
    /// What it may do.
    role: String,
}

impl From<Account> for AccountAnswer {
    fn from(Account { email, role }: Account) -> Self {
        Self { email, role }
    }
}

/// Makes an account.
#[utoipa::path(
    post,
    path = "/users",
    tag = "accounts",
    request_body = CreateRequest,
    security(("administrator" = []), ("account" = [])),
    responses(
        (status = 201, body = AccountAnswer),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 403, description = "The account may not manage accounts", body = Detail),
        (status = 409, description = "There is such an account", body = Detail),
        BodyRefusals,
    )
)]
pub(super) async fn create(
    State(center): State<Arc<Center>>,
    _: Manager,
    Body(CreateRequest { email, password, role }): Body<CreateRequest>,
) -> Result<(StatusCode, Json<AccountAnswer>), Refusal> {
    let password_hash = center.passwords.hash(password).await?;
    let account = Account { email, role };
    let create = CreateAccount { account: account.clone(), password_hash, now: center.config.clock.now() };
    center.store.write(create).await.map_err(refuse)?;
    tracing::info!(role = account.role, "created an account");
    Ok((StatusCode::CREATED, Json(account.into())))
}

/// A name and a password.
#[derive(Debug, ToSchema)]
pub(super) struct PasswordRequest {
    /// The name of the account.
    #[schema(max_length = 254, pattern = r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^\s\x00-\x1f\x7f-\x9f]+$")]
    email: String,
    /// Its password from here on.
    #[schema(value_type = String, min_length = 8, max_length = 1024)]
    password: SecretText,
}

impl FromFields for PasswordRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self { email: email(fields), password: fields.secret("password", 8..=1024) }
    }
}

/// Sets the password of an account.
#[utoipa::path(
    patch,
    path = "/users/password",
    tag = "accounts",
    request_body = PasswordRequest,
    security(("administrator" = []), ("account" = [])),
    responses(
        (status = 204, description = "Done"),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 403, description = "The account may not manage accounts", body = Detail),
        (status = 404, description = "There is no such account", body = Detail),
        BodyRefusals,
    )
)]
pub(super) async fn set_password(
    State(center): State<Arc<Center>>,
    _: Manager,
    Body(PasswordRequest { email, password }): Body<PasswordRequest>,
) -> Result<StatusCode, Refusal> {
    let password_hash = center.passwords.hash(password).await?;
    let set = SetPassword { email, password_hash, now: center.config.clock.now() };
    center.store.write(set).await.map_err(refuse)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A name and the password to try, of any length: a short one is only wrong.
#[derive(Debug, ToSchema)]
pub(super) struct LoginRequest {
    /// The name of the account.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    email: String,
    /// Its password.
    #[schema(value_type = String, max_length = 1024)]
    password: SecretText,
}

impl FromFields for LoginRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self { email: fields.text("email").to_ascii_lowercase(), password: fields.secret("password", 0..=1024) }
    }
}

/// A bearer token.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LoginAnswer {
    /// A JSON Web Token for `Authorization: Bearer`.
    token: String,
    /// When it ends: UTC, with the zone.
    expires_at: String,
}

/// Gives a bearer token for a name and a password.
///
/// Each guess is counted before the password is checked, and uncounted if the password is right.
#[utoipa::path(
    post,
    path = "/login",
    tag = "accounts",
    request_body = LoginRequest,
    responses(
        (status = 200, body = LoginAnswer),
        (status = 401, description = "No account has this name and password", body = Detail),
        (status = 429, description = "Too many attempts; `Retry-After` says when to try again", body = Detail),
        BodyRefusals,
    )
)]
pub(super) async fn login(
    State(center): State<Arc<Center>>,
    Asker(asker): Asker,
    Network(network): Network,
    Body(LoginRequest { email, password }): Body<LoginRequest>,
) -> Result<Json<LoginAnswer>, Refusal> {
    let now = center.config.clock.now();
    center.guessers.count(network, now)?;
    let account = Source::named(&center.secret, &format!("account {email}"));
    let both = asker.for_account(&center.secret, &email);
    let limits = [(both.clone(), PER_SOURCE), (account.clone(), PER_ACCOUNT)];
    center.store.write(CountGuess { limits, now }).await.map_err(refuse)??;
    let found = center.store.read(FindAccount { email }).await.map_err(refuse)?;
    let (account_found, hash) = found.unzip();
    let is_right = center.passwords.verify(password, hash).await?;
    let holder = account_found.filter(|_| is_right).ok_or(Refusal::WrongLogin)?;
    center.guessers.forgive(network);
    center.store.write(Forgive { sources: [both, account], now }).await.map_err(refuse)?;
    let key_id = center.store.write(SigningKey { now }).await.map_err(refuse)?;
    let key = center.secret.derive(Purpose::SigningKey, &[&key_id]);
    let expires = now.after(TOKEN_LIFE);
    let claims = json!({
        "iss": "jarvis-command-center",
        "sub": holder.email,
        "role": holder.role,
        "iat": now.seconds(),
        "exp": expires.seconds(),
    });
    Ok(Json(LoginAnswer { token: jwt::sign_with(&claims, &*key, Some(&key_id)), expires_at: expires.zoned() }))
}

/// The account that a bearer token belongs to.
#[utoipa::path(
    get,
    path = "/users/current",
    tag = "accounts",
    security(("account" = [])),
    responses(
        (status = 200, body = AccountAnswer),
        (status = 401, description = "No token, or one that is not good", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn current(Holder(account): Holder) -> Json<AccountAnswer> {
    Json(account.into())
}
