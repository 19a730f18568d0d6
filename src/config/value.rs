//! The kinds of values that settings have: parsing a text to a typed value, and the reverse.

use std::{path::PathBuf, time::Duration};

use regex::Regex;

use super::error::BadValue;
use crate::model::is_topic_name;

mod login;

pub use login::{OauthMethod, Secret};

/// The definition of a setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// The key in its section.
    pub(crate) key: &'static str,
    /// The default, as text.
    pub(crate) default: &'static str,
    /// The meaning and the unit.
    pub(crate) doc: &'static str,
    /// The reason for the default.
    pub(crate) why: &'static str,
    /// The allowed values, as text.
    pub(crate) allowed: &'static str,
    /// The TOML types of the value.
    pub(crate) form: TomlForm,
}

/// The TOML types that a value may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TomlForm {
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
pub(crate) trait ValueKind {
    type Value: Default;
    /// The allowed values, for errors and the example file.
    const ALLOWED: &'static str;
    const FORM: TomlForm;

    /// Parses a text.
    ///
    /// # Errors
    /// Returns the reason why the text is not a value of this kind.
    fn parse(text: &str) -> Result<Self::Value, BadValue>;

    /// Returns the text that [`Self::parse`] reads as this value; `None` if the value is not set.
    fn show(value: &Self::Value) -> Option<String>;
}

/// Defines kinds of values. A row has the name and type of a kind, its TOML form, the functions that parse and show it,
/// and the allowed values.
macro_rules! kinds {
    ($( $name:ident: $value:ty, $form:ident, $parse:expr, $show:expr, $allowed:literal; )+) => {$(
        pub(crate) struct $name;

        impl ValueKind for $name {
            type Value = $value;
            const ALLOWED: &'static str = $allowed;
            const FORM: TomlForm = TomlForm::$form;

            fn parse(text: &str) -> Result<$value, BadValue> {
                $parse(text)
            }

            fn show(value: &$value) -> Option<String> {
                $show(value)
            }
        }
    )+};
}

kinds! {
    Address: String, Text, address, text,
        "\"host:port\", for example \"127.0.0.1:8088\", \"[::1]:8088\" or \"0.0.0.0:0\"";
    Servers: String, Text, servers, text, "\"host:port\", several separated by commas";
    OptionalPath: Option<PathBuf>, Text, optional_path, optional_path_text, "a path, or \"\" for none";
    Text: String, Text, |text: &str| Ok(text.to_owned()), text, "a text, or \"\" for none";
    SqlText: String, Text, sql_text, text, "one SQL statement";
    Folder: String, Text, folder, text, "a path, \"s3://bucket/prefix\", or \"\" for none";
    Pattern: Option<Regex>, Text, pattern, pattern_text, "a regular expression in Rust's syntax, or \"\" for none";
    Hosts: Vec<String>, TextOrArray, |text| each(text, host), list_text,
        "host names without ports, separated by commas or as an array, \"*\" for any, or \"\" for none";
    Origins: Vec<String>, TextOrArray, |text| each(text, origin), list_text,
        "origins, for example \"https://grafana.example.org\", separated by commas or as an array, or \"\" for none";
    Time: Duration, Text, time, time_text,
        "a duration with a unit, for example \"250ms\", \"30s\" or \"5min\", greater than 0 and at most \"365days\"";
    Count: usize, Integer, count, text, "an integer of at least 0";
    Positive: usize, Integer, positive, text, "an integer of at least 1";
    Bytes: usize, TextOrInteger, bytes, bytes_text,
        "bytes as an integer of at least 1, or with a unit, for example \"64KiB\", \"256MiB\" or \"1GiB\"";
    Flag: bool, Bool, |text: &str| text.parse().map_err(|_| BadValue::NotAllowed), text, "true or false";
    TopicName: String, Text, topic, text, "the name of a topic, or \"\" for none";
    WhichOffset: OffsetIs, Text, which_offset, which_offset_text, "\"next\" or \"last\"";
    Mode: ReadMode, Text, mode, mode_text, "\"auto\", \"log\" or \"admin\"";
    MethodName: OauthMethod, Text, login::method, |method: &OauthMethod| text(&method.name()),
        "\"client_credentials\", \"file\", \"msk_iam\", or \"\" for none";
    SecretText: Secret, Secret, |text: &str| Ok(Secret(text.to_owned())), login::secret_text,
        "a string, { file = \"PATH\" }, { env = \"NAME\" }, or \"\" for none";
    HttpUrl: String, Text, login::http_url, text,
        "a URL, for example \"https://login.example.org/oauth2/token\", or \"\" for none";
    Extensions: Vec<String>, TextOrArray, |text| each(text, login::extension), list_text,
        "NAME=VALUE, several separated by commas or as an array, or \"\" for none";
}

fn text(value: &impl ToString) -> Option<String> {
    Some(value.to_string())
}

fn address(text: &str) -> Result<String, BadValue> {
    host_port(text, true).map(|()| text.to_owned())
}

fn servers(text: &str) -> Result<String, BadValue> {
    if text.trim().is_empty() {
        return Err(BadValue::Empty);
    }
    let servers: Vec<&str> = text.split(',').map(str::trim).collect();
    for server in &servers {
        // librdkafka also accepts PLAINTEXT://host:port.
        let address = server.split_once("://").map_or(*server, |(_, address)| address);
        let bad = |cause| BadValue::Server { server: (*server).to_owned(), cause: Box::new(cause) };
        host_port(address, false).map_err(bad)?;
    }
    Ok(servers.join(","))
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

fn sql_text(text: &str) -> Result<String, BadValue> {
    if text.trim().is_empty() { Err(BadValue::Empty) } else { Ok(text.to_owned()) }
}

fn optional_path(text: &str) -> Result<Option<PathBuf>, BadValue> {
    Ok((!text.is_empty()).then(|| text.into()))
}

fn optional_path_text(path: &Option<PathBuf>) -> Option<String> {
    path.as_ref().map(|path| path.display().to_string())
}

fn folder(text: &str) -> Result<String, BadValue> {
    match text.split_once("://") {
        None => Ok(text.to_owned()),
        Some(("s3", rest)) if !rest.is_empty() && !rest.starts_with('/') => Ok(text.to_owned()),
        Some(("s3", _)) => Err(BadValue::NoBucket),
        Some((scheme, _)) => Err(BadValue::Scheme(scheme.to_owned())),
    }
}

fn pattern(text: &str) -> Result<Option<Regex>, BadValue> {
    if text.is_empty() {
        return Ok(None);
    }
    Regex::new(text).map(Some).map_err(|error| {
        // The lines before the last one show the pattern with a marker below the error.
        let message = error.to_string();
        BadValue::Pattern(message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
    })
}

fn pattern_text(pattern: &Option<Regex>) -> Option<String> {
    pattern.as_ref().map(Regex::to_string)
}

/// Parses each part of a text that is separated by commas. Empty parts are ignored.
fn each(text: &str, parse: impl Fn(&str) -> Result<String, BadValue>) -> Result<Vec<String>, BadValue> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse).collect()
}

fn list_text(list: &[String]) -> Option<String> {
    Some(list.join(","))
}

fn host(host: &str) -> Result<String, BadValue> {
    if host == "*" {
        return Ok(host.to_owned());
    }
    let name = url::Host::parse(host.strip_suffix('.').unwrap_or(host)).ok().filter(|_| !host.contains('*'));
    name.map(|name| name.to_string()).ok_or_else(|| BadValue::HostName(host.to_owned()))
}

fn origin(origin: &str) -> Result<String, BadValue> {
    let url = url::Url::parse(origin).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    // A semicolon would end the directive of a content security policy, and no host name has one.
    let url = url.filter(|url| !url.as_str().contains(';'));
    // An origin has only a scheme, a host and a port.
    let url = url.filter(|url| url.as_str().trim_end_matches('/') == url.origin().ascii_serialization());
    url.map(|url| url.origin().ascii_serialization()).ok_or_else(|| BadValue::WebOrigin(origin.to_owned()))
}

/// The longest duration of a setting. The bound ensures that adding a duration to an instant does not overflow.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

fn time(text: &str) -> Result<Duration, BadValue> {
    let duration = humantime::parse_duration(text)?;
    if duration.is_zero() || duration > MAX_DURATION { Err(BadValue::OutOfRange) } else { Ok(duration) }
}

fn time_text(time: &Duration) -> Option<String> {
    Some(humantime::format_duration(*time).to_string())
}

fn count(text: &str) -> Result<usize, BadValue> {
    text.replace('_', "").parse().map_err(|_| BadValue::NotAllowed)
}

fn positive(text: &str) -> Result<usize, BadValue> {
    count(text).and_then(|value| if value == 0 { Err(BadValue::NotAllowed) } else { Ok(value) })
}

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

fn bytes(text: &str) -> Result<usize, BadValue> {
    let (number, unit) = UNITS
        .iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, *unit)))
        .unwrap_or((text, 1));
    positive(number.trim_end())?.checked_mul(unit).ok_or(BadValue::TooLarge)
}

fn bytes_text(bytes: &usize) -> Option<String> {
    let shown =
        |(suffix, unit): &(&str, usize)| bytes.is_multiple_of(*unit).then(|| format!("{}{suffix}", bytes / unit));
    UNITS.iter().take(3).find_map(shown).or_else(|| Some(format!("{bytes}B")))
}

/// The mode in which the offsets of a Kafka cluster are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadMode {
    /// From the log, or with the Admin API if Kafka does not allow the log to be read.
    #[default]
    Auto,
    /// Only from the log `__consumer_offsets`.
    Log,
    /// Only with the Admin API.
    Admin,
}

const MODES: [(&str, ReadMode); 3] = [("auto", ReadMode::Auto), ("log", ReadMode::Log), ("admin", ReadMode::Admin)];

fn mode(text: &str) -> Result<ReadMode, BadValue> {
    MODES.iter().find(|(name, _)| *name == text).map(|(_, mode)| *mode).ok_or(BadValue::NotAllowed)
}

fn mode_text(mode: &ReadMode) -> Option<String> {
    MODES.iter().find(|(_, known)| known == mode).map(|(name, _)| (*name).to_owned())
}

/// The meaning of the offsets in a store outside Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffsetIs {
    /// The offset of the next record to read.
    #[default]
    Next,
    /// The offset of the last processed record.
    Last,
}

const OFFSETS: [(&str, OffsetIs); 2] = [("next", OffsetIs::Next), ("last", OffsetIs::Last)];

fn which_offset(text: &str) -> Result<OffsetIs, BadValue> {
    OFFSETS.iter().find(|(name, _)| *name == text).map(|(_, is)| *is).ok_or(BadValue::NotAllowed)
}

fn which_offset_text(is: &OffsetIs) -> Option<String> {
    OFFSETS.iter().find(|(_, known)| known == is).map(|(name, _)| (*name).to_owned())
}

fn topic(text: &str) -> Result<String, BadValue> {
    if text.is_empty() || is_topic_name(text) { Ok(text.to_owned()) } else { Err(BadValue::Topic) }
}

#[cfg(test)]
mod tests;
