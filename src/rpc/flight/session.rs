//! Session options, for which `arrow-flight` has no messages (`Flight.proto`). There is one catalog with one schema,
//! and sessions have no state.

use std::collections::HashMap;

use arrow_flight::Action;
use prost::Message;

use crate::{
    error::Error,
    sql::{CATALOG, SCHEMA},
};

/// `SessionOptionValue`, reduced to strings.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct OptionValue {
    #[prost(string, optional, tag = "1")]
    pub(super) string_value: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct SetSessionOptionsRequest {
    #[prost(map = "string, message", tag = "1")]
    pub(super) session_options: HashMap<String, OptionValue>,
}

/// `SetSessionOptionsResult.Error`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct OptionError {
    #[prost(int32, tag = "1")]
    pub(super) value: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct SetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    pub(super) errors: HashMap<String, OptionError>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct GetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    pub(super) session_options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct CloseSessionResult {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

/// `SetSessionOptionsResult.ErrorValue`.
const INVALID_NAME: i32 = 1;
const INVALID_VALUE: i32 = 2;
/// `CloseSessionResult.Status`.
const CLOSED: i32 = 1;

const OPTIONS: [(&str, &str); 2] = [("catalog", CATALOG), ("schema", SCHEMA)];

/// Returns the response to a session action; `None` for other actions.
pub(super) fn run_action(action: &Action) -> Option<Result<Vec<u8>, Error>> {
    match action.r#type.as_str() {
        "SetSessionOptions" => Some(set(&action.body)),
        "GetSessionOptions" => {
            let option =
                |(name, value): (&str, &str)| (name.to_owned(), OptionValue { string_value: Some(value.to_owned()) });
            let session_options = OPTIONS.into_iter().map(option).collect();
            Some(Ok(GetSessionOptionsResult { session_options }.encode_to_vec()))
        }
        "CloseSession" => Some(Ok(CloseSessionResult { status: CLOSED }.encode_to_vec())),
        _ => None,
    }
}

/// Accepts only values that are set already.
fn set(body: &[u8]) -> Result<Vec<u8>, Error> {
    let request = SetSessionOptionsRequest::decode(body)
        .map_err(|_| Error::Invalid("cannot decode the SetSessionOptionsRequest".to_owned()))?;
    let mut errors = HashMap::new();
    for (name, value) in request.session_options {
        let error = match OPTIONS.into_iter().find(|(known, _)| *known == name) {
            None => INVALID_NAME,
            Some((_, only)) if value.string_value.as_deref().is_some_and(|value| value != only) => INVALID_VALUE,
            Some(_) => continue,
        };
        errors.insert(name, OptionError { value: error });
    }
    Ok(SetSessionOptionsResult { errors }.encode_to_vec())
}

#[cfg(test)]
mod tests;
