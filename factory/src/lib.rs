//! Factory identities: from a list of serials to images that can log in.
//!
//! Each device gets an account at the admin API, its credentials in the tree that its image is made of, and the pairing
//! secrets that its label shows. For each, in this order, each step on the disk before the next:
//!
//! 1. the ledger says `planned`;
//! 2. password and pairing secrets are made and written into the tree, the password under a name that no image reads;
//! 3. the ledger says `written`, with the files' hashes;
//! 4. the server learns the password: `POST /users`, and if the account exists and is ours, `PATCH /users/password`;
//! 5. the password's file takes its name, `device.conf`;
//! 6. the ledger says `registered`.
//!
//! So a run that was interrupted anywhere is finished by another: the password in the tree is used again, never another
//! one made, and a `device.conf` is there only if the server knows what is in it.
//!
//! An account that exists is ours if the ledger says `registered`. If it only says `written`, or a try had no clear
//! answer, the password itself is the proof: the account is ours if it can be logged in to with it. A server that knows no
//! logins is told the password, as the ledger's intention says. Any other account may be a device's in the field, which
//! would never log in again, and is left alone unless the operator says so.
//!
//! | module | what it holds |
//! |---|---|
//! | `serial` | serials, the rule for accounts, lists |
//! | `image` | what is written into it |
//! | `ledger` | what was meant and what was done |
//! | `batch` | the steps for each device, many at once |
//! | `manifest` | what was made, without secrets |
//! | `sheet` | labels on paper |

mod batch;
mod image;
mod ledger;
mod manifest;
mod serial;
mod sheet;

pub use batch::{Batch, Failure, Outcome, Plan, Report, label};
pub use image::{DEVICE_CONF, Layout};
pub use jarvis_provisioning::config::PAIRING;
pub use ledger::{Clock, Error as LedgerError, Ledger, Record};
pub use manifest::{device_table, manifest};
pub use serial::{AccountRule, AccountRuleError, Device, ListError, Problem, Serial, SerialError, read_list};
pub use sheet::{Form, Sheet};
