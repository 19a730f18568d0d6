//! How values are written: text ⇄ typed value, with what is allowed.

use std::{path::PathBuf, time::Duration};

use regex::Regex;

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
}

/// A kind of value.
pub(super) trait Kind {
    type Value: Default;
    /// What may be written, for errors and the example file.
    const ALLOWED: &'static str;
    const FORM: Form;

    /// # Errors
    /// Why it is not one, or nothing when [`Self::ALLOWED`] says it all.
    fn parse(text: &str) -> Result<Self::Value, String>;

    /// As [`Self::parse`] reads it; `None` when it is not set.
    fn show(value: &Self::Value) -> Option<String>;
}

pub(super) struct Address;

impl Kind for Address {
    type Value = String;
    const ALLOWED: &'static str = "\"host:port\", as \"127.0.0.1:8088\", \"[::1]:8088\" or \"0.0.0.0:0\"";
    const FORM: Form = Form::Text;

    fn parse(text: &str) -> Result<String, String> {
        host_port(text, true).map(|()| text.to_owned())
    }

    fn show(value: &String) -> Option<String> {
        Some(value.clone())
    }
}

pub(super) struct Servers;

impl Kind for Servers {
    type Value = String;
    const ALLOWED: &'static str = "\"host:port\", several separated by commas";
    const FORM: Form = Form::Text;

    fn parse(text: &str) -> Result<String, String> {
        if text.trim().is_empty() {
            return Err("not given".to_owned());
        }
        let servers: Vec<&str> = text.split(',').map(str::trim).collect();
        for server in &servers {
            // librdkafka takes PLAINTEXT://host:port as well.
            let address = server.split_once("://").map_or(*server, |(_, address)| address);
            host_port(address, false).map_err(|problem| format!("in {server:?}: {problem}"))?;
        }
        Ok(servers.join(","))
    }

    fn show(value: &String) -> Option<String> {
        Some(value.clone())
    }
}

fn host_port(text: &str, port_needed: bool) -> Result<(), String> {
    let colons_outside = text.rsplit(']').next().unwrap_or(text).matches(':').count();
    let (host, port) = match (text.rsplit_once(':'), colons_outside) {
        (Some((host, port)), 1) => (host, Some(port)),
        (_, 0) => (text, None),
        _ => return Err("an IPv6 address stands in brackets".to_owned()),
    };
    if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/') {
        return Err("the host is missing or malformed".to_owned());
    }
    match port {
        None if port_needed => Err("the port is missing".to_owned()),
        Some(port) if port.parse::<u16>().is_err() => Err("the port is not a number up to 65535".to_owned()),
        _ => Ok(()),
    }
}

pub(super) struct OptionalPath;

impl Kind for OptionalPath {
    type Value = Option<PathBuf>;
    const ALLOWED: &'static str = "a path, or \"\" for none";
    const FORM: Form = Form::Text;

    fn parse(text: &str) -> Result<Option<PathBuf>, String> {
        Ok((!text.is_empty()).then(|| text.into()))
    }

    fn show(value: &Option<PathBuf>) -> Option<String> {
        value.as_ref().map(|path| path.display().to_string())
    }
}

pub(super) struct Text;

impl Kind for Text {
    type Value = String;
    const ALLOWED: &'static str = "a text, or \"\" for none";
    const FORM: Form = Form::Text;

    fn parse(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    fn show(value: &String) -> Option<String> {
        Some(value.clone())
    }
}

pub(super) struct Folder;

impl Kind for Folder {
    type Value = String;
    const ALLOWED: &'static str = "a path, \"s3://bucket/prefix\", or \"\" for none";
    const FORM: Form = Form::Text;

    fn parse(text: &str) -> Result<String, String> {
        match text.split_once("://") {
            None => Ok(text.to_owned()),
            Some(("s3", rest)) if !rest.is_empty() && !rest.starts_with('/') => Ok(text.to_owned()),
            Some(("s3", _)) => Err("the bucket is missing".to_owned()),
            Some((scheme, _)) => Err(format!("{scheme} is no store that there is")),
        }
    }

    fn show(value: &String) -> Option<String> {
        Some(value.clone())
    }
}

pub(super) struct Pattern;

impl Kind for Pattern {
    type Value = Option<Regex>;
    const ALLOWED: &'static str = "a regular expression in Rust's syntax, or \"\" for none";
    const FORM: Form = Form::Text;

    fn parse(text: &str) -> Result<Option<Regex>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        Regex::new(text).map(Some).map_err(|error| {
            // The lines before the last draw the place.
            let message = error.to_string();
            message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        })
    }

    fn show(value: &Option<Regex>) -> Option<String> {
        value.as_ref().map(|regex| regex.as_str().to_owned())
    }
}

pub(super) struct Hosts;

impl Kind for Hosts {
    type Value = Vec<String>;
    const ALLOWED: &'static str =
        "host names without ports, separated by commas or as an array, \"*\" for any, or \"\" for none";
    const FORM: Form = Form::TextOrArray;

    fn parse(text: &str) -> Result<Vec<String>, String> {
        each(text, |host| {
            if host == "*" {
                return Ok(host.to_owned());
            }
            let name = url::Host::parse(host.strip_suffix('.').unwrap_or(host)).ok().filter(|_| !host.contains('*'));
            name.map(|name| name.to_string()).ok_or_else(|| format!("{host:?} is not a host name"))
        })
    }

    fn show(value: &Vec<String>) -> Option<String> {
        Some(value.join(","))
    }
}

pub(super) struct Origins;

impl Kind for Origins {
    type Value = Vec<String>;
    const ALLOWED: &'static str =
        "origins, as \"https://grafana.example.org\", separated by commas or as an array, or \"\" for none";
    const FORM: Form = Form::TextOrArray;

    fn parse(text: &str) -> Result<Vec<String>, String> {
        each(text, |origin| {
            let url = url::Url::parse(origin).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
            // Nothing but scheme, host and port.
            let url = url.filter(|url| url.as_str().trim_end_matches('/') == url.origin().ascii_serialization());
            url.map(|url| url.origin().ascii_serialization()).ok_or_else(|| format!("{origin:?} is not an origin"))
        })
    }

    fn show(value: &Vec<String>) -> Option<String> {
        Some(value.join(","))
    }
}

/// The parts of a text between commas, without empty ones.
fn each(text: &str, parse: impl Fn(&str) -> Result<String, String>) -> Result<Vec<String>, String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse).collect()
}

pub(super) struct Time;

/// Bounded, so that adding it to any instant cannot overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

impl Kind for Time {
    type Value = Duration;
    const ALLOWED: &'static str =
        "a duration with its unit, as \"250ms\", \"30s\" or \"5min\", above 0, at most \"365days\"";
    const FORM: Form = Form::Text;

    fn parse(text: &str) -> Result<Duration, String> {
        let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
        if duration.is_zero() || duration > LONGEST { Err("out of range".to_owned()) } else { Ok(duration) }
    }

    fn show(value: &Duration) -> Option<String> {
        Some(humantime::format_duration(*value).to_string())
    }
}

pub(super) struct Count;

impl Kind for Count {
    type Value = usize;
    const ALLOWED: &'static str = "an integer from 0";
    const FORM: Form = Form::Integer;

    fn parse(text: &str) -> Result<usize, String> {
        text.replace('_', "").parse().map_err(|_| String::new())
    }

    fn show(value: &usize) -> Option<String> {
        Some(value.to_string())
    }
}

pub(super) struct Positive;

impl Kind for Positive {
    type Value = usize;
    const ALLOWED: &'static str = "an integer from 1";
    const FORM: Form = Form::Integer;

    fn parse(text: &str) -> Result<usize, String> {
        Count::parse(text).and_then(|value| if value == 0 { Err(String::new()) } else { Ok(value) })
    }

    fn show(value: &usize) -> Option<String> {
        Count::show(value)
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

    fn parse(text: &str) -> Result<usize, String> {
        let (number, unit) = UNITS
            .iter()
            .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, *unit)))
            .unwrap_or((text, 1));
        let number = Positive::parse(number.trim_end())?;
        number.checked_mul(unit).ok_or_else(|| "too large".to_owned())
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

    fn parse(text: &str) -> Result<bool, String> {
        text.parse().map_err(|_| String::new())
    }

    fn show(value: &bool) -> Option<String> {
        Some(value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_take_units_and_show_what_they_read() {
        assert_eq!(Bytes::parse("64KiB"), Ok(65_536));
        assert_eq!(Bytes::parse("1 GiB"), Ok(1 << 30));
        assert_eq!(Bytes::parse("4096"), Ok(4096));
        assert_eq!(Bytes::parse("2MB"), Ok(2_000_000));
        for bad in ["", "0", "-1", "1TB", "1.5GiB", "99999999999GiB", "MiB"] {
            assert!(Bytes::parse(bad).is_err(), "{bad}");
        }
        for text in ["64KiB", "3MiB", "1GiB", "1000B"] {
            assert_eq!(Bytes::show(&Bytes::parse(text).unwrap()).as_deref(), Some(text));
        }
        assert_eq!(Time::parse("5min"), Ok(Duration::from_secs(300)));
        assert_eq!(Time::parse("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "30", "0s", "-1s", "3 parsecs", "1000years", "99999999999999999999s"] {
            assert!(Time::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_and_origins_are_kept_as_browsers_write_them() {
        let texts = |texts: &[&str]| Ok(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            Hosts::parse("Offsetd.Example.org., *,,bücher.example"),
            texts(&["offsetd.example.org", "*", "xn--bcher-kva.example"])
        );
        assert_eq!(Hosts::parse(" "), texts(&[]));
        for bad in ["a:8088", "http://a", "a/b", "*.example.org", "a b", "a@b"] {
            assert!(Hosts::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Origins::parse("HTTPS://A.example:443/, http://b:3000"),
            texts(&["https://a.example", "http://b:3000"])
        );
        for bad in ["*", "null", "a.example", "https://a.example/path", "https://u@a.example", "ftp://a", "https://"] {
            assert!(Origins::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_need_a_host_and_a_port() {
        for good in ["127.0.0.1:8088", "[::1]:0", "localhost:1", "0.0.0.0:65535"] {
            assert!(Address::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "8088", ":8088", "localhost", "::1:8088", "a:b", "a:65536", "a b:1", "http://a:1"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Servers::parse("a:9092, SSL://b:9093,c").as_deref(), Ok("a:9092,SSL://b:9093,c"));
        for bad in ["", " ", "a:1,,b:2", "a:x", "a b"] {
            assert!(Servers::parse(bad).is_err(), "{bad}");
        }
    }
}
