//! Kinds of values: how a text becomes a typed value, and back.

use std::{path::PathBuf, time::Duration};

use regex::Regex;

use super::error::BadValue;

mod login;

pub(super) use login::{Extensions, HttpUrl, MethodName, SecretText};
pub use login::{OauthMethod, Secret};

/// A row of the table of settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// Name in its section.
    pub(super) key: &'static str,
    /// The default, as text.
    pub(super) default: &'static str,
    /// Meaning and unit.
    pub(super) doc: &'static str,
    /// Why the default is what it is.
    pub(super) why: &'static str,
    /// What may be written.
    pub(super) allowed: &'static str,
    /// How TOML writes it.
    pub(super) form: Form,
}

/// How TOML writes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A string.
    Text,
    /// An integer.
    Integer,
    /// A string or an integer.
    TextOrInteger,
    /// A string with commas, or an array of strings.
    TextOrArray,
    /// true or false.
    Bool,
    /// A string, `{ file = "PATH" }` or `{ env = "NAME" }`.
    Secret,
}

/// A kind of value.
pub(super) trait Kind {
    type Value: Default + Shown;
    /// What may be written, for errors and the example file.
    const ALLOWED: &'static str;
    const FORM: Form = Form::Text;

    /// # Errors
    /// The text is not a value of this kind.
    fn parse(text: &str) -> Result<Self::Value, BadValue>;

    /// Returns the text that [`Self::parse`] reads as this value; `None` when it is not set.
    fn show(value: &Self::Value) -> Option<String> {
        value.shown()
    }
}

/// A value as text; `None` when it is not set.
pub(super) trait Shown {
    fn shown(&self) -> Option<String>;
}

impl Shown for String {
    fn shown(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Shown for Option<PathBuf> {
    fn shown(&self) -> Option<String> {
        self.as_ref().map(|path| path.display().to_string())
    }
}

impl Shown for Option<Regex> {
    fn shown(&self) -> Option<String> {
        self.as_ref().map(|regex| regex.as_str().to_owned())
    }
}

impl Shown for Vec<String> {
    fn shown(&self) -> Option<String> {
        Some(self.join(","))
    }
}

impl Shown for Duration {
    fn shown(&self) -> Option<String> {
        Some(humantime::format_duration(*self).to_string())
    }
}

impl Shown for usize {
    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Shown for bool {
    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

pub(super) struct Address;

impl Kind for Address {
    type Value = String;
    const ALLOWED: &'static str = "\"host:port\", as \"127.0.0.1:8088\", \"[::1]:8088\" or \"0.0.0.0:0\"";

    fn parse(text: &str) -> Result<String, BadValue> {
        host_port(text, true).map(|()| text.to_owned())
    }
}

pub(super) struct Servers;

impl Kind for Servers {
    type Value = String;
    const ALLOWED: &'static str = "\"host:port\", several separated by commas";

    fn parse(text: &str) -> Result<String, BadValue> {
        if text.trim().is_empty() {
            return Err(BadValue::Empty);
        }
        let servers: Vec<&str> = text.split(',').map(str::trim).collect();
        for server in &servers {
            // librdkafka takes PLAINTEXT://host:port as well.
            let address = server.split_once("://").map_or(*server, |(_, address)| address);
            let bad = |cause| BadValue::Server { server: (*server).to_owned(), cause: Box::new(cause) };
            host_port(address, false).map_err(bad)?;
        }
        Ok(servers.join(","))
    }
}

fn host_port(text: &str, port_needed: bool) -> Result<(), BadValue> {
    let colons_outside = text.rsplit(']').next().unwrap_or(text).matches(':').count();
    let (host, port) = match (text.rsplit_once(':'), colons_outside) {
        (Some((host, port)), 1) => (host, Some(port)),
        (_, 0) => (text, None),
        _ => return Err(BadValue::NoBrackets),
    };
    if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/') {
        return Err(BadValue::Host);
    }
    match port {
        None if port_needed => Err(BadValue::NoPort),
        Some(port) if port.parse::<u16>().is_err() => Err(BadValue::Port),
        _ => Ok(()),
    }
}

pub(super) struct OptionalPath;

impl Kind for OptionalPath {
    type Value = Option<PathBuf>;
    const ALLOWED: &'static str = "a path, or \"\" for none";

    fn parse(text: &str) -> Result<Option<PathBuf>, BadValue> {
        Ok((!text.is_empty()).then(|| text.into()))
    }
}

pub(super) struct Text;

impl Kind for Text {
    type Value = String;
    const ALLOWED: &'static str = "a text, or \"\" for none";

    fn parse(text: &str) -> Result<String, BadValue> {
        Ok(text.to_owned())
    }
}

pub(super) struct Folder;

impl Kind for Folder {
    type Value = String;
    const ALLOWED: &'static str = "a path, \"s3://bucket/prefix\", or \"\" for none";

    fn parse(text: &str) -> Result<String, BadValue> {
        match text.split_once("://") {
            None => Ok(text.to_owned()),
            Some(("s3", rest)) if !rest.is_empty() && !rest.starts_with('/') => Ok(text.to_owned()),
            Some(("s3", _)) => Err(BadValue::NoBucket),
            Some((scheme, _)) => Err(BadValue::Scheme(scheme.to_owned())),
        }
    }
}

pub(super) struct Pattern;

impl Kind for Pattern {
    type Value = Option<Regex>;
    const ALLOWED: &'static str = "a regular expression in Rust's syntax, or \"\" for none";

    fn parse(text: &str) -> Result<Option<Regex>, BadValue> {
        if text.is_empty() {
            return Ok(None);
        }
        Regex::new(text).map(Some).map_err(|error| {
            // The lines before the last draw the place.
            let message = error.to_string();
            BadValue::Pattern(message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
        })
    }
}

pub(super) struct Hosts;

impl Kind for Hosts {
    type Value = Vec<String>;
    const ALLOWED: &'static str =
        "host names without ports, separated by commas or as an array, \"*\" for any, or \"\" for none";
    const FORM: Form = Form::TextOrArray;

    fn parse(text: &str) -> Result<Vec<String>, BadValue> {
        each(text, |host| {
            if host == "*" {
                return Ok(host.to_owned());
            }
            let name = url::Host::parse(host.strip_suffix('.').unwrap_or(host)).ok().filter(|_| !host.contains('*'));
            name.map(|name| name.to_string()).ok_or_else(|| BadValue::HostName(host.to_owned()))
        })
    }
}

pub(super) struct Origins;

impl Kind for Origins {
    type Value = Vec<String>;
    const ALLOWED: &'static str =
        "origins, as \"https://grafana.example.org\", separated by commas or as an array, or \"\" for none";
    const FORM: Form = Form::TextOrArray;

    fn parse(text: &str) -> Result<Vec<String>, BadValue> {
        each(text, |origin| {
            let url = url::Url::parse(origin).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
            // Nothing but scheme, host and port.
            let url = url.filter(|url| url.as_str().trim_end_matches('/') == url.origin().ascii_serialization());
            let origin = || BadValue::WebOrigin(origin.to_owned());
            url.map(|url| url.origin().ascii_serialization()).ok_or_else(origin)
        })
    }
}

/// Parses the parts of a text between commas, without empty ones.
fn each(text: &str, parse: impl Fn(&str) -> Result<String, BadValue>) -> Result<Vec<String>, BadValue> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse).collect()
}

pub(super) struct Time;

/// Bounded, so that adding it to any instant cannot overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

impl Kind for Time {
    type Value = Duration;
    const ALLOWED: &'static str =
        "a duration with its unit, as \"250ms\", \"30s\" or \"5min\", above 0, at most \"365days\"";

    fn parse(text: &str) -> Result<Duration, BadValue> {
        let duration = humantime::parse_duration(text)?;
        if duration.is_zero() || duration > LONGEST { Err(BadValue::OutOfRange) } else { Ok(duration) }
    }
}

pub(super) struct Count;

impl Kind for Count {
    type Value = usize;
    const ALLOWED: &'static str = "an integer from 0";
    const FORM: Form = Form::Integer;

    fn parse(text: &str) -> Result<usize, BadValue> {
        text.replace('_', "").parse().map_err(|_| BadValue::NotAllowed)
    }
}

pub(super) struct Positive;

impl Kind for Positive {
    type Value = usize;
    const ALLOWED: &'static str = "an integer from 1";
    const FORM: Form = Form::Integer;

    fn parse(text: &str) -> Result<usize, BadValue> {
        Count::parse(text).and_then(|value| if value == 0 { Err(BadValue::NotAllowed) } else { Ok(value) })
    }
}

pub(super) struct Bytes;

const UNITS: [(&str, usize); 8] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
    ("", 1),
];

impl Kind for Bytes {
    type Value = usize;
    const ALLOWED: &'static str = "bytes as an integer from 1, or with a unit, as \"64KiB\", \"256MiB\" or \"1GiB\"";
    const FORM: Form = Form::TextOrInteger;

    fn parse(text: &str) -> Result<usize, BadValue> {
        let (number, unit) = UNITS
            .iter()
            .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, *unit)))
            .unwrap_or((text, 1));
        let number = Positive::parse(number.trim_end())?;
        number.checked_mul(unit).ok_or(BadValue::TooLarge)
    }

    fn show(value: &usize) -> Option<String> {
        let shown =
            |(suffix, unit): &(&str, usize)| value.is_multiple_of(*unit).then(|| format!("{}{suffix}", value / unit));
        UNITS.iter().take(3).find_map(shown).or_else(|| Some(format!("{value}B")))
    }
}

pub(super) struct Flag;

impl Kind for Flag {
    type Value = bool;
    const ALLOWED: &'static str = "true or false";
    const FORM: Form = Form::Bool;

    fn parse(text: &str) -> Result<bool, BadValue> {
        text.parse().map_err(|_| BadValue::NotAllowed)
    }
}

#[cfg(test)]
mod tests;
