//! SASL/OAUTHBEARER tokens for librdkafka clients.

use std::ffi::{CString, c_char};

use rdkafka::{bindings as sys, types::RDKafkaRespErr};

use super::{super::client::Client, handle, text};
use crate::{model::Millis, source::kafka::RequestError};

/// A token in the form that librdkafka requires.
#[derive(Clone, Copy)]
pub(in super::super) struct Bearer<'a> {
    /// The token. Must be printable ASCII, because librdkafka quotes a token with other bytes in its error.
    pub(in super::super) token: &'a str,
    /// The principal, which appears only in librdkafka's debug log.
    pub(in super::super) principal: &'a str,
    pub(in super::super) expires_at: Millis,
    /// SASL extensions, as alternating names and values.
    pub(in super::super) extensions: &'a [String],
}

/// Sets the token for the next logins of a client. Open connections stay.
///
/// # Errors
/// Returns an error if librdkafka rejects the token.
pub(in super::super) fn set_token(client: &Client, bearer: Bearer<'_>) -> Result<(), RequestError> {
    let c_text = |text: &str| {
        CString::new(text).map_err(|_| RequestError::Client { reason: "the token contains a zero byte".to_owned() })
    };
    let (token, principal) = (c_text(bearer.token)?, c_text(bearer.principal)?);
    let extensions: Vec<CString> = bearer.extensions.iter().map(|text| c_text(text)).collect::<Result<_, _>>()?;
    let mut pointers: Vec<*const c_char> = extensions.iter().map(|text| text.as_ptr()).collect();
    let mut message: [c_char; 512] = [0; 512];
    // SAFETY: the handle is live. We own the strings, which the call copies; it ends its message with a zero byte.
    let code = unsafe {
        sys::rd_kafka_oauthbearer_set_token(
            handle(client),
            token.as_ptr(),
            bearer.expires_at,
            principal.as_ptr(),
            pointers.as_mut_ptr(),
            pointers.len(),
            message.as_mut_ptr(),
            message.len(),
        )
    };
    match code {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        _ => Err(RequestError::Client { reason: text(message.as_ptr()) }),
    }
}

/// Reports to a client why there is no new token. The client emits that as an error, once per reason, and keeps its
/// current token.
pub(in super::super) fn set_token_failure(client: &Client, reason: &str) {
    let Ok(reason) = CString::new(reason.replace('\0', " ")) else { return };
    // SAFETY: the handle is live. We own the text, which the call copies.
    unsafe { sys::rd_kafka_oauthbearer_set_token_failure(handle(client), reason.as_ptr()) };
}
