//! Codes of an authenticator app: TOTP, RFC 6238, with the parameters that all apps know.

use data_encoding::BASE32_NOPAD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ring::hmac;
use zeroize::Zeroizing;

use crate::base::clock::Moment;
use crate::base::secret::{Purpose, ServerSecret};

/// Seconds of a time step.
const STEP: i64 = 30;

/// Steps by which the clock of a phone may be wrong (RFC 6238 §5.2).
const DRIFT: i64 = 1;

/// The secret that an app and this server share, as long as the output of SHA-1 (RFC 4226 §4).
pub(crate) struct TotpSecret(Zeroizing<[u8; 20]>);

impl TotpSecret {
    /// The secret of an operator. It is derived from the server's secret, so the database has the salt only.
    pub(crate) fn derive(secret: &ServerSecret, name: &str, salt: &str) -> Self {
        let derived = secret.derive(Purpose::Totp, &[name, salt]);
        let mut bytes = Zeroizing::new([0; 20]);
        bytes.copy_from_slice(&derived[..20]);
        Self(bytes)
    }

    /// What an app scans.
    pub(crate) fn uri(&self, name: &str) -> Zeroizing<String> {
        let secret = Zeroizing::new(BASE32_NOPAD.encode(&*self.0));
        let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
        Zeroizing::new(format!("otpauth://totp/Jarvis:{name}?secret={}&issuer=Jarvis", *secret))
    }

    /// The time step whose code this is, if it is later than `used`: a code is accepted once (RFC 6238 §5.2).
    pub(crate) fn step_of(&self, code: &str, used: i64, now: Moment) -> Option<i64> {
        let code = code.trim();
        let current = now.seconds().div_euclid(STEP);
        (current - DRIFT..=current + DRIFT).find(|step| *step > used && self.code(*step) == code)
    }

    /// The code of a time step: six digits (RFC 4226 §5.3).
    fn code(&self, step: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &*self.0);
        let hash = hmac::sign(&key, &step.to_be_bytes());
        let hash = hash.as_ref();
        let offset = usize::from(hash[19] & 15);
        let number = hash[offset..offset + 4].iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> TotpSecret {
        TotpSecret(Zeroizing::new(*b"12345678901234567890"))
    }

    #[test]
    fn codes_are_those_of_the_specification() {
        // RFC 6238 appendix B, SHA-1, the last six digits.
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(secret().step_of(code, 0, Moment(seconds * 1000)), Some(seconds / STEP), "{seconds}");
        }
    }

    #[test]
    fn a_code_is_accepted_once_and_for_one_step_around_its_own() {
        let at = |seconds: i64| Moment(1_111_111_109_000 + seconds * 1000);
        let step = 1_111_111_109 / STEP;
        for (later, used, accepted) in
            [(0, 0, true), (-30, 0, true), (30, 0, true), (-60, 0, false), (60, 0, false), (0, step, false), (0, step - 1, true)]
        {
            assert_eq!(secret().step_of("081804", used, at(later)), accepted.then_some(step), "{later} {used}");
        }
        for wrong in ["", "81804", "0081804", "081805", "x"] {
            assert_eq!(secret().step_of(wrong, 0, at(0)), None, "{wrong}");
        }
    }

    #[test]
    fn an_app_is_told_the_secret_in_base32() {
        let uri = secret().uri("Kim, North");
        assert_eq!(*uri, "otpauth://totp/Jarvis:Kim%2C%20North?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Jarvis");
    }
}
