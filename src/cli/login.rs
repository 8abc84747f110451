//! `jarvis-provision login`.

use std::path::PathBuf;
use std::time::Duration;

use jarvis_provisioning::login::{Api, ApiUrl, Credentials, Error, Limits, LoggedIn, login};

use super::{Failure, now};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The address of the loader on this node.
    #[arg(long, value_name = "URL", env = "AZAION_LOADER_URL")]
    loader_url: ApiUrl,

    /// The credentials that the factory wrote.
    #[arg(long, value_name = "FILE", default_value = "/etc/azaion/device.conf")]
    device_conf: PathBuf,

    /// The file for the token. Its folder must exist.
    #[arg(long, value_name = "FILE", default_value = "/var/lib/azaion/token")]
    token_file: PathBuf,

    /// A PEM file with the only trusted certificate authorities. Default: the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// The number of tries.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    tries: u16,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let credentials = Credentials { authorities: arguments.ca_file.clone(), ..Credentials::default() };
    let limits = Limits { jobs: 1, tries: arguments.tries.into(), answer: Duration::from_secs(30) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(anyhow::Error::from)?;
    let _entered = runtime.enter();
    let loader = Api::new(arguments.loader_url.clone(), &credentials, limits, now).map_err(anyhow::Error::from)?;
    let token = &arguments.token_file;
    match runtime.block_on(login(&arguments.device_conf, &loader, token)) {
        Ok(LoggedIn::Stored) => println!("logged in; the token is in {}", token.display()),
        Ok(LoggedIn::Kept) => println!("logged in; the loader returned no token"),
        Err(error @ (Error::Read(_) | Error::Missing(_) | Error::Credentials { .. } | Error::Refused(_))) => {
            return Err(Failure::Credentials(error.into()));
        }
        Err(error @ (Error::Loader(_) | Error::NotALoader)) => return Err(Failure::Server(error.into())),
        Err(error @ Error::Store(_)) => return Err(Failure::Other(error.into())),
    }
    Ok(())
}
