//! `jarvis-provision diagnose`.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use jarvis_http::client::{AddressPolicy, Client, Trust};
use jarvis_provisioning::care::{self, CheckUrl, Configured, InvalidCheckUrl};
use jarvis_provisioning::command_center::{Limits, Registrar};
use jarvis_provisioning::config::{self, Config};
use jarvis_provisioning::store;
use provisioning_core::care::diagnosis::{Finding, Verdict, diagnose};
use serde_json::json;

use super::care::report;
use super::terminal::{colour, is_coloured};
use super::{Failure, Settings, now, paths};

/// The exit status if a layer does not work.
const FAILED: u8 = 8;
/// The limit of the command center's health check. The other probes end meanwhile.
pub(super) const HEALTH_LIMIT: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: Settings,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    report(arguments.json, print(arguments))
}

fn print(arguments: &Arguments) -> Result<(), Failure> {
    let config = arguments.settings.read()?;
    let settings = settings(&config)?;
    let findings = diagnose(&collect(&config, &settings)?);
    // What was not reached has failed below, or is not for this user to check.
    let works = findings.iter().all(|finding| finding.verdict != Verdict::Failed);
    let mut out = std::io::stdout().lock();
    let written = if arguments.json {
        writeln!(out, "{}", object(&findings, works))
    } else {
        let coloured = is_coloured(&out);
        out.write_all(table(&findings, coloured).as_bytes())
    };
    written.map_err(anyhow::Error::from)?;
    if works { Ok(()) } else { Err(Failure::Reported(FAILED)) }
}

/// What is probed, with the present time and the configured command center.
pub(super) fn settings(config: &Config) -> Result<care::Settings, Failure> {
    let mut settings = care::Settings::new(command_center(config), now());
    settings.interface.clone_from(&config.interface);
    settings.hostapd = config.backend == config::Backend::Hostapd;
    if let Some(url) = &config.care.check_url {
        settings.check = check_url(url)?;
    }
    Ok(settings)
}

fn check_url(text: &str) -> Result<CheckUrl, Failure> {
    let invalid = config::Error::Setting { name: "care.check_url", expected: InvalidCheckUrl::EXPECTED };
    CheckUrl::try_from(text).map_err(|_| invalid.into())
}

/// The configured command center. Reads one file and creates none, because every user may run this.
fn command_center(config: &Config) -> Configured {
    match store::configured_command_center(&paths(config)) {
        Ok(Some(url)) => Configured::At(url),
        Ok(None) => Configured::Nowhere,
        Err(error) => {
            tracing::debug!(error = provisioning_core::fault::chain(&error), "the configuration could not be read");
            Configured::Unreadable
        }
    }
}

fn collect(config: &Config, settings: &care::Settings) -> Result<provisioning_core::care::diagnosis::Evidence, Failure> {
    let policy = match (config.simulate, config.command_center.strict) {
        (true, _) => AddressPolicy::SIMULATION,
        (false, true) => AddressPolicy::STRICT,
        (false, false) => AddressPolicy::DEVICE,
    };
    let trust = config.command_center.certificates.clone().map_or(Trust::System, Trust::SystemAnd);
    let limits = Limits { health: HEALTH_LIMIT, ..Limits::default() };
    let registrar = Registrar::new(Client::new(policy, trust)).with_limits(limits);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let evidence = runtime.block_on(async {
        if config.simulate {
            care::collect_simulated(settings, &registrar).await
        } else {
            care::collect(settings, &registrar).await
        }
    });
    // The system's resolver may still be waiting for an answer in a thread.
    runtime.shutdown_background();
    Ok(evidence)
}

fn object(findings: &[Finding], works: bool) -> serde_json::Value {
    let layer = |finding: &Finding| {
        json!({
            "layer": finding.layer.name(),
            "verdict": finding.verdict.name(),
            "evidence": finding.evidence,
            "advice": finding.advice,
        })
    };
    json!({ "ok": works, "layers": findings.iter().map(layer).collect::<Vec<_>>() })
}

/// One line for each layer, and one for the advice to a failed one.
fn table(findings: &[Finding], coloured: bool) -> String {
    findings.iter().map(|finding| lines(finding, coloured)).collect()
}

fn lines(finding: &Finding, coloured: bool) -> String {
    let (word, code) = match finding.verdict {
        Verdict::Ok => ("ok", "32"),
        Verdict::Failed => ("FAILED", "31"),
        Verdict::NotReached => ("not reached", "2"),
    };
    let word = format!("{word:<13}");
    let word = colour(&word, code, coloured);
    let name = finding.layer.name().replace('_', " ");
    let advice = finding.advice.as_ref().map(|advice| format!("{:29}{advice}\n", "")).unwrap_or_default();
    format!("{name:<16}{word}{}\n{advice}", finding.evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use provisioning_core::care::diagnosis::Layer;

    fn findings() -> [Finding; 2] {
        let finding = |layer, verdict, advice: Option<&'static str>| Finding {
            layer,
            verdict,
            evidence: "seen".into(),
            advice: advice.map(Into::into),
        };
        [finding(Layer::Radio, Verdict::Ok, None), finding(Layer::CommandCenter, Verdict::Failed, Some("Do this."))]
    }

    #[test]
    fn the_table_has_a_line_for_each_layer_and_for_advice() {
        let expected = "\
radio           ok           seen
command center  FAILED       seen
                             Do this.
";
        assert_eq!(table(&findings(), false), expected);
        let coloured = table(&findings(), true);
        assert!(coloured.contains("\x1b[32mok") && coloured.contains("\x1b[31mFAILED"), "{coloured:?}");
    }

    #[test]
    fn the_object_has_the_names_for_programs() {
        let object = object(&findings(), false);
        assert_eq!(object["ok"], false);
        assert_eq!(object["layers"][0]["advice"], serde_json::Value::Null);
        assert_eq!(
            (&object["layers"][1]["layer"], &object["layers"][1]["verdict"]),
            (&json!("command_center"), &json!("failed"))
        );
    }
}
