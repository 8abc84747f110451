//! Answers of a server to claims.

use testing::server::{self, Act};

/// An answer with a status and a body.
pub(crate) fn answer(status: &str, body: &str) -> Act {
    Act::Send(server::answer(status, body).into_bytes())
}

/// A granted claim without a key.
pub(crate) fn claimed() -> Act {
    answer(
        "200 OK",
        r##"{"status":"claimed","site_id":"partner-clinic-abc123","appliance_id":"partner-clinic-abc123-84%3A3A%3A5B%3A91%3AB6%3A61",
            "partner":{"slug":"nepa-it","brand_name":"NEPA IT Solutions","primary_color":"#2563EB","logo_url":null},
            "api_endpoint":"https://api.osiriscare.net","message":"Appliance provisioned successfully"}"##,
    )
}
