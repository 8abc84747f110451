//! Factory identities: from a list of serials to images that can log in.
//!
//! Each device gets an account at the admin API, credentials in its image's file tree, and the pairing secrets that its
//! label shows. The steps for each device, each synced to the disk before the next:
//!
//! 1. the ledger records `planned`;
//! 2. password and pairing secrets are generated and written into the tree, the password under a temporary name;
//! 3. the ledger records `written`, with the files' hashes;
//! 4. the server receives the password: `POST /users`, and if the account exists and is ours, `PATCH /users/password`;
//! 5. the password's file is renamed to `device.conf`;
//! 6. the ledger records `registered`.
//!
//! A second run therefore completes a run that was interrupted anywhere: it uses the password in the tree and does not
//! generate another, and a `device.conf` exists only if the server has accepted its password.
//!
//! An existing account is ours if the ledger says `registered`. If it only says `written`, or a request had no clear
//! answer, the password is the proof: the account is ours if the password logs in to it. A server without a login endpoint
//! receives the password because the ledger says `written`. Any other account may belong to a deployed device, which could
//! no longer log in, and is unchanged unless the operator uses `--reissue`.
//!
//! | module | what it holds |
//! |---|---|
//! | `serial` | serials, the rule for accounts, lists |
//! | `image` | the files in an image's tree |
//! | `ledger` | intentions and results |
//! | `batch` | the steps for each device, concurrently |
//! | `manifest` | the results, without secrets |
//! | `sheet` | labels on paper |

mod batch;
mod image;
mod ledger;
mod manifest;
mod serial;
mod sheet;

pub use batch::{Batch, Failure, Outcome, Plan, Report, label};
pub use image::{DEVICE_CONF, LabelError, Layout};
pub use jarvis_provisioning::config::PAIRING;
pub use ledger::{Clock, Error as LedgerError, Ledger, Record};
pub use manifest::{device_table, manifest};
pub use serial::{AccountRule, AccountRuleError, Device, ListError, Problem, Serial, SerialError, read_list};
pub use sheet::{Form, Sheet};
