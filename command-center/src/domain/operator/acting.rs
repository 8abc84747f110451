//! The operator's actions, each of which is recorded in the audit.

use std::time::Duration;

use super::keys::ChangeKey;
use super::names::Rename;
use super::operations::{AddPartner, CreateCodes, RevokeCode, Revoked};
use super::{CODES_AT_ONCE, KeyChange, NewCode, NewCodes, Operator, OperatorError, Partner};
use crate::base::clock::Moment;
use crate::domain::accounts::{RotateKeys, TOKEN_LIFE};
use crate::domain::audit::Actor;
use crate::domain::claims::{Claim, site_id};
use crate::domain::code::ProvisionCode;
use crate::domain::history::Of;
use crate::domain::permissions::Scope;
use crate::store::{self, Operation};

/// An operator with the right to change something in a scope. What is outside of it is refused like what does not exist.
#[derive(Debug)]
pub struct Acting<'o> {
    pub(super) operator: &'o Operator,
    pub(super) actor: Actor,
    scope: Scope,
}

impl<'o> Acting<'o> {
    pub(super) const fn new(operator: &'o Operator, actor: Actor, scope: Scope) -> Self {
        Self { operator, actor, scope }
    }

    pub(super) fn now(&self) -> Moment {
        self.operator.clock.now()
    }

    pub(super) async fn write<O: Operation>(&self, operation: O) -> Result<O::Answer, store::Error> {
        self.operator.store.write(operation).await
    }

    /// Adds a partner. Adding the same again changes nothing.
    pub async fn add_partner(&self, partner: Partner) -> Result<(), OperatorError> {
        let is_slug = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
        if partner.slug.is_empty() || partner.slug.len() > 50 || !partner.slug.chars().all(is_slug) {
            return Err(OperatorError::Invalid("a slug has 1 to 50 lower-case letters, digits and dashes"));
        }
        check_text(&partner.brand_name)?;
        let color = partner.primary_color.strip_prefix('#').unwrap_or_default();
        if color.len() != 6 || !color.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(OperatorError::Invalid("a colour is `#` and six hexadecimal digits"));
        }
        if let Some(url) = &partner.logo_url {
            check_text(url)?;
            if !url.starts_with("https://") {
                return Err(OperatorError::Invalid("a logo URL must start with https://"));
            }
        }
        let slug = partner.slug.clone();
        let added = self.write(AddPartner { partner, now: self.now(), actor: self.actor.clone() }).await?;
        if added { Ok(()) } else { Err(OperatorError::PartnerExists(slug)) }
    }

    /// Creates codes in portions of [`CODES_AT_ONCE`]; calls `made` after each with their number so far.
    pub async fn create_codes(
        &self,
        wanted: &NewCodes,
        mut made: impl FnMut(usize) + Send,
    ) -> Result<Vec<NewCode>, OperatorError> {
        if let Some(site) = &wanted.site {
            check_text(site)?;
        }
        let now = self.now();
        let expires_at = now.after(wanted.expires_in);
        let mut codes = Vec::with_capacity(wanted.count);
        while codes.len() < wanted.count {
            let portion = (wanted.count - codes.len()).min(CODES_AT_ONCE);
            let portion = (0..portion).map(|_| self.new_code(expires_at, wanted.site.clone())).collect::<Result<Vec<_>, _>>()?;
            let hashes = portion.iter().map(|new| (Claim::hash(&self.operator.secret, &new.code), new.id.clone())).collect();
            let site = wanted.site.clone().map(|name| {
                let id = site_id(&self.operator.secret, &name, &[&wanted.partner, &name]);
                (id, name)
            });
            let (partner, scope, actor) = (wanted.partner.clone(), self.scope.clone(), self.actor.clone());
            if !self.write(CreateCodes { hashes, site, partner, scope, actor, now, expires_at }).await? {
                return Err(OperatorError::UnknownPartner(wanted.partner.clone()));
            }
            codes.extend(portion);
            made(codes.len());
        }
        Ok(codes)
    }

    fn new_code(&self, expires_at: Moment, site: Option<String>) -> Result<NewCode, OperatorError> {
        let code = ProvisionCode::random().map_err(OperatorError::Random)?;
        let id = self.operator.code_id(&code);
        Ok(NewCode { code, id, expires_at, site })
    }

    /// Takes back a code, given by itself or by its handle. Doing it twice is once.
    pub async fn revoke_code(&self, code: &str) -> Result<(), OperatorError> {
        let typed = code.trim();
        let handle = typed.to_ascii_lowercase();
        // A handle may read as a code, so both are looked for; that one is another's handle has no chance.
        let hashed = ProvisionCode::parse(typed).map(|code| self.operator.code_id(&code));
        for id in hashed.into_iter().chain([handle]) {
            match self.write(RevokeCode { id, scope: self.scope.clone(), now: self.now(), actor: self.actor.clone() }).await? {
                Revoked::Done => return Ok(()),
                Revoked::Claimed(by) => return Err(OperatorError::CodeClaimed(by)),
                Revoked::Unknown => {}
            }
        }
        Err(OperatorError::UnknownCode)
    }

    /// Creates a new key for the tokens of accounts and returns its name. Tokens of the old keys are accepted until they
    /// expire or, with `at_once`, no longer.
    pub async fn rotate_keys(&self, at_once: bool) -> Result<String, OperatorError> {
        let grace = if at_once { Duration::ZERO } else { TOKEN_LIFE };
        Ok(self.write(RotateKeys { grace, now: self.now(), actor: self.actor.clone() }).await?)
    }

    /// Changes whether the key of an appliance is valid. Doing it twice is once.
    pub async fn change_appliance_key(&self, appliance_id: &str, change: KeyChange) -> Result<(), OperatorError> {
        self.change_key(Of::Appliance, appliance_id, change).await
    }

    /// Changes whether the key of a node is valid. Doing it twice is once.
    pub async fn change_node_key(&self, node_id: &str, change: KeyChange) -> Result<(), OperatorError> {
        self.change_key(Of::Node, node_id, change).await
    }

    pub(crate) async fn change_key(&self, of: Of, id: &str, change: KeyChange) -> Result<(), OperatorError> {
        if !change.is_for(of) {
            return Err(OperatorError::Invalid("only appliances are handed over"));
        }
        let (id, scope, actor) = (id.to_owned(), self.scope.clone(), self.actor.clone());
        self.write(ChangeKey { of, id, change, scope, now: self.now(), actor }).await?
    }

    /// Gives an appliance a display name; an empty one removes it.
    pub async fn rename_appliance(&self, appliance_id: &str, name: &str) -> Result<(), OperatorError> {
        self.rename(Of::Appliance, appliance_id, name).await
    }

    /// Gives a node a display name; an empty one removes it. What its household calls it does not change.
    pub async fn rename_node(&self, node_id: &str, name: &str) -> Result<(), OperatorError> {
        self.rename(Of::Node, node_id, name).await
    }

    pub(crate) async fn rename(&self, of: Of, id: &str, name: &str) -> Result<(), OperatorError> {
        let name = display_name(name)?;
        let (id, scope, actor) = (id.to_owned(), self.scope.clone(), self.actor.clone());
        let rename = Rename { of, id, name, scope, now: self.now(), actor };
        if self.write(rename).await? { Ok(()) } else { Err(OperatorError::unknown(of)) }
    }
}

/// The text of a display name: none, if there is nothing in it.
fn display_name(text: &str) -> Result<Option<String>, OperatorError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    check_text(text)?;
    Ok(Some(text.to_owned()))
}

fn check_text(text: &str) -> Result<(), OperatorError> {
    if text.is_empty() || text.chars().nth(200).is_some() || text.chars().any(char::is_control) {
        return Err(OperatorError::Invalid("a name has 1 to 200 characters, none of them a control character"));
    }
    Ok(())
}
