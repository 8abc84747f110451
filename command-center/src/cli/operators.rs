//! Commands about operators.

use std::io::{IsTerminal as _, Read as _};

use clap::{Args, Subcommand, ValueEnum};
use command_center::operator::{Acting, Operator};
use command_center::permissions::{Role, Tenant};
use command_center::{SecretText, qr_text};
use serde_json::json;
use zeroize::Zeroizing;

use super::output::{Listing, Table};
use super::{Failure, Format};

#[derive(Debug, Subcommand)]
pub(super) enum OperatorCommand {
    /// Add an operator, who signs in on the page with this name and a password. The password is asked for, or read from standard
    /// input if that is no terminal.
    Add {
        /// The name to sign in with.
        name: String,
        #[command(flatten)]
        rights: Rights,
    },
    /// List operators, by name.
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Change what an operator may do. Ends the operator's sessions.
    Role {
        /// The operator.
        name: String,
        #[command(flatten)]
        rights: Rights,
    },
    /// Set an operator's password, which is asked for or read from standard input. Ends the operator's sessions.
    Password {
        /// The operator.
        name: String,
    },
    /// Require codes of an authenticator app from an operator, and print the QR code to scan with it; the codes of an earlier one
    /// are invalid from then on. Ends the operator's sessions.
    Totp {
        /// The operator.
        name: String,
        /// Require no codes.
        #[arg(long)]
        remove: bool,
    },
    /// Remove an operator, whose sessions end.
    Remove {
        /// The operator.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Rights {
    /// What the operator may do: see everything and change nothing; see and set up the appliances of one site or partner; or everything.
    #[arg(long)]
    role: RoleName,
    /// The site of an installer, by its id.
    #[arg(long, value_name = "ID", conflicts_with = "partner")]
    site: Option<String>,
    /// The partner of an installer.
    #[arg(long, value_name = "SLUG")]
    partner: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleName {
    Viewer,
    Installer,
    Administrator,
}

impl Rights {
    fn role(self) -> Result<Role, Failure> {
        let tenant = self.site.map(Tenant::Site).or(self.partner.map(Tenant::Partner));
        match (self.role, tenant) {
            (RoleName::Viewer, None) => Ok(Role::Viewer),
            (RoleName::Administrator, None) => Ok(Role::Administrator),
            (RoleName::Installer, Some(tenant)) => Ok(Role::Installer(tenant)),
            (RoleName::Installer, None) => Err(Failure::config("an installer has a --site or a --partner".into())),
            (RoleName::Viewer | RoleName::Administrator, Some(_)) => {
                Err(Failure::config("only an installer has a --site or a --partner".into()))
            }
        }
    }
}

impl OperatorCommand {
    pub(super) async fn run(self, operator: &Operator, acting: &Acting<'_>) -> Result<(), Failure> {
        match self {
            Self::Add { name, rights } => {
                let role = rights.role()?;
                acting.add_operator(&name, role, password()?).await?;
            }
            Self::List { format } => return list(operator, format).await,
            Self::Role { name, rights } => acting.set_role(&name, rights.role()?).await?,
            Self::Password { name } => acting.set_password(&name, password()?).await?,
            Self::Totp { name, remove: true } => acting.remove_totp(&name).await?,
            Self::Totp { name, remove: false } => {
                let uri = acting.set_totp(&name).await?;
                if std::io::stdout().is_terminal() {
                    println!("{}", *qr_text(&uri));
                }
                println!("{}", *uri);
            }
            Self::Remove { name } => acting.remove_operator(&name).await?,
        }
        Ok(())
    }
}

async fn list(operator: &Operator, format: Format) -> Result<(), Failure> {
    let mut listing = Listing::new(format.json, Table::new(&["NAME", "ROLE", "PARTNER", "SITE", "TOTP", "ADDED"]));
    for entry in operator.operators().await? {
        let totp = if entry.totp { "yes" } else { "no" };
        let (partner, site) = (entry.partner.as_deref(), entry.site_id.as_deref());
        listing.row(&json!(entry), &[Some(&entry.name), Some(entry.role), partner, site, Some(totp), Some(&entry.created_at)])?;
    }
    Ok(listing.end()?)
}

/// A password that is typed twice at a terminal, or comes from standard input.
fn password() -> Result<SecretText, Failure> {
    if !std::io::stdin().is_terminal() {
        let mut text = Zeroizing::new(String::new());
        std::io::stdin().take(8 * 1024).read_to_string(&mut text)?;
        return Ok(SecretText::new(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let ask = |prompt: &str| {
        let typed = jarvis_program::prompt(prompt)?;
        typed.ok_or_else(|| Failure { code: 1, text: "nothing was changed".into() })
    };
    let mut first = ask("Password: ")?;
    if *first != *ask("Again: ")? {
        return Err(Failure { code: 1, text: "the passwords differ; nothing was changed".into() });
    }
    Ok(SecretText::new(std::mem::take(&mut *first)))
}
