//! What the server counts, in the text format of Prometheus.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::fleet::FleetCounts;
use crate::base::clock::Moment;
use crate::domain::fleet::State;

/// Upper bounds of the classes of times, in seconds: chosen for heartbeats, and for a disk under load.
const BOUNDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.25, 1.0, 5.0];

/// The reason for `expect` after a write.
const CANNOT_FAIL: &str = "writing to a text cannot fail";

/// The counters. Routes are counted, never paths, whose segments may be secrets.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    routes: Mutex<HashMap<String, Route>>,
    connections: Arc<AtomicI64>,
}

#[derive(Debug, Default)]
struct Route {
    answers: BTreeMap<(&'static str, u16), u64>,
    /// How many took at most as long as each bound, not counting those of smaller bounds.
    classes: [u64; BOUNDS.len()],
    seconds: f64,
    count: u64,
}

/// A connection, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<AtomicI64>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts a connection.
    pub(crate) fn connection(&self) -> OpenConnection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(&self.connections))
    }

    /// Counts an answer.
    pub(crate) fn answer(&self, route: &str, method: &axum::http::Method, status: u16, took: Duration) {
        let method = match method.as_str() {
            "GET" => "GET",
            "POST" => "POST",
            "PATCH" => "PATCH",
            // A client can invent methods.
            _ => "other",
        };
        let seconds = took.as_secs_f64();
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if !routes.contains_key(route) {
            routes.insert(route.to_owned(), Route::default());
        }
        let Some(counted) = routes.get_mut(route) else { return };
        *counted.answers.entry((method, status)).or_default() += 1;
        if let Some(class) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            counted.classes[class] += 1;
        }
        counted.seconds += seconds;
        counted.count += 1;
    }

    /// Everything, as Prometheus reads it. Devices are missing if the database does not answer.
    pub(super) fn text(&self, is_healthy: bool, now: Moment, devices: Option<FleetCounts>) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &str| {
            writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{}", samples.trim_end()).expect(CANNOT_FAIL);
        };
        let version = format!("jarvis_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
        family("jarvis_build_info", "gauge", "Which version runs.", &version);
        let healthy = format!("jarvis_healthy {}", u8::from(is_healthy));
        family("jarvis_healthy", "gauge", "Whether the database takes changes.", &healthy);
        let seconds = format!("jarvis_time_seconds {}", now.0.div_euclid(1000));
        family("jarvis_time_seconds", "gauge", "The server's clock, Unix time.", &seconds);
        if let Some(FleetCounts { appliances, nodes }) = devices {
            let mut counts = String::new();
            for (kind, of_kind) in [("appliance", appliances), ("node", nodes)] {
                for state in State::ALL {
                    let labels = format!("kind=\"{kind}\",state=\"{}\"", state.word());
                    writeln!(counts, "jarvis_devices{{{labels}}} {}", of_kind.of(state)).expect(CANNOT_FAIL);
                }
            }
            family("jarvis_devices", "gauge", "Devices in the database, by kind and state.", &counts);
        }
        let connections = format!("jarvis_connections {}", self.connections.load(Ordering::Relaxed));
        family("jarvis_connections", "gauge", "Open connections.", &connections);

        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let sorted = routes.iter().collect::<BTreeMap<_, _>>();
        let (mut answers, mut times) = (String::new(), String::new());
        for (route, counted) in sorted {
            for ((method, status), count) in &counted.answers {
                let labels = format!("route=\"{route}\",method=\"{method}\",status=\"{status}\"");
                writeln!(answers, "jarvis_http_requests_total{{{labels}}} {count}").expect(CANNOT_FAIL);
            }
            let name = "jarvis_http_request_duration_seconds";
            let mut so_far = 0;
            for (bound, count) in BOUNDS.iter().zip(counted.classes) {
                so_far += count;
                writeln!(times, "{name}_bucket{{route=\"{route}\",le=\"{bound}\"}} {so_far}").expect(CANNOT_FAIL);
            }
            writeln!(times, "{name}_bucket{{route=\"{route}\",le=\"+Inf\"}} {}", counted.count).expect(CANNOT_FAIL);
            writeln!(times, "{name}_sum{{route=\"{route}\"}} {}", counted.seconds).expect(CANNOT_FAIL);
            writeln!(times, "{name}_count{{route=\"{route}\"}} {}", counted.count).expect(CANNOT_FAIL);
        }
        family("jarvis_http_requests_total", "counter", "Answers, by route, method and status.", &answers);
        let help = "Time from a request's head to its answer, by route.";
        family("jarvis_http_request_duration_seconds", "histogram", help, &times);
        text
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;
    use crate::domain::fleet::Counts;

    #[test]
    fn answers_are_counted_by_route_method_and_status() {
        let metrics = Metrics::default();
        let open = metrics.connection();
        metrics.answer("/login", &Method::POST, 200, Duration::from_millis(3));
        metrics.answer("/login", &Method::POST, 401, Duration::from_millis(30));
        metrics.answer("/login", &Method::from_bytes(b"INVENTED").unwrap(), 405, Duration::from_mins(1));
        let counts = Counts { online: 3, silent: 2, ..Counts::default() };
        let devices = FleetCounts { appliances: counts, nodes: Counts::default() };
        let text = metrics.text(true, Moment(1_700_000_000_999), Some(devices));
        for line in [
            "jarvis_healthy 1",
            "jarvis_connections 1",
            "jarvis_time_seconds 1700000000",
            "jarvis_devices{kind=\"appliance\",state=\"silent\"} 2",
            "jarvis_devices{kind=\"node\",state=\"online\"} 0",
            "jarvis_http_requests_total{route=\"/login\",method=\"POST\",status=\"200\"} 1",
            "jarvis_http_requests_total{route=\"/login\",method=\"POST\",status=\"401\"} 1",
            "jarvis_http_requests_total{route=\"/login\",method=\"other\",status=\"405\"} 1",
            "jarvis_http_request_duration_seconds_bucket{route=\"/login\",le=\"0.0025\"} 0",
            "jarvis_http_request_duration_seconds_bucket{route=\"/login\",le=\"0.005\"} 1",
            "jarvis_http_request_duration_seconds_bucket{route=\"/login\",le=\"0.05\"} 2",
            "jarvis_http_request_duration_seconds_bucket{route=\"/login\",le=\"5\"} 2",
            "jarvis_http_request_duration_seconds_bucket{route=\"/login\",le=\"+Inf\"} 3",
            "jarvis_http_request_duration_seconds_count{route=\"/login\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in:\n{text}");
        }
        drop(open);
        let text = metrics.text(false, Moment(0), None);
        assert!(text.contains("jarvis_connections 0\n") && !text.contains("jarvis_devices"), "{text}");
    }
}
