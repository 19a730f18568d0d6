//! Checkpoints in HDFS, read by the REST interface of the NameNode or of HttpFS (WebHDFS).

use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::{Client, Response, StatusCode, redirect::Policy};
use serde::Deserialize;
use url::Url;

use super::{Entry, Failure, MAX_FILE_BYTES, TIMEOUT, reason};
use crate::{model::Millis, source::spark::SparkError};

/// Maximum size in bytes of an answer that is not a file. A page of a listing has about 1,000 entries
/// (`dfs.ls.limit`).
const MAX_ANSWER_BYTES: u64 = 8 << 20;
/// A NameNode redirects a read to one DataNode.
const MAX_REDIRECTS: usize = 2;
/// The error of a NameNode that is not the active one.
const STANDBY: &str = "StandbyException";

/// The client of a file system.
pub(super) struct WebHdfs {
    client: Client,
    /// The URLs of the NameNodes.
    nodes: Vec<Url>,
    /// Index of the node that answered last.
    active: AtomicUsize,
    /// The query parameter that identifies the user, if there is one.
    login: Option<(&'static str, String)>,
}

/// An error reply.
#[derive(Deserialize)]
struct ErrorReply {
    #[serde(rename = "RemoteException")]
    exception: RemoteException,
}

#[derive(Default, Deserialize)]
struct RemoteException {
    exception: String,
    message: String,
}

/// The reply to `LISTSTATUS_BATCH`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListingReply {
    directory_listing: DirectoryListing,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DirectoryListing {
    partial_listing: PartialListing,
    remaining_entries: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PartialListing {
    file_statuses: FileStatuses,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FileStatuses {
    file_status: Vec<FileStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileStatus {
    path_suffix: String,
    #[serde(rename = "type")]
    kind: String,
    modification_time: Millis,
}

/// The reply to `GETFILESTATUS`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StatusReply {
    file_status: FileStatus,
}

impl FileStatus {
    fn is_folder(&self) -> bool {
        self.kind == "DIRECTORY"
    }
}

impl WebHdfs {
    pub(super) fn new(tls: bool, user: &str, nodes: &[String], token: &str) -> Result<Self, SparkError> {
        let scheme = if tls { "https" } else { "http" };
        let nodes = nodes.iter().map(|node| Url::parse(&format!("{scheme}://{node}/webhdfs/v1")));
        let client = Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(TIMEOUT)
            .redirect(Policy::limited(MAX_REDIRECTS))
            .https_only(tls)
            .build()?;
        // A token identifies its user.
        let login = match (token, user) {
            ("", "") => None,
            ("", user) => Some(("user.name", user.to_owned())),
            (token, _) => Some(("delegation", token.to_owned())),
        };
        Ok(Self { client, nodes: nodes.collect::<Result<_, _>>()?, active: AtomicUsize::new(0), login })
    }

    pub(super) async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        let length = (MAX_FILE_BYTES + 1).to_string();
        match self.request(path, "OPEN", &[("length", &length)]).await? {
            Some(answer) => body(answer, MAX_FILE_BYTES).await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn exists(&self, path: &str) -> Result<bool, Failure> {
        match self.request(path, "GETFILESTATUS", &[]).await? {
            Some(answer) => Ok(!json::<StatusReply>(answer).await?.file_status.is_folder()),
            None => Ok(false),
        }
    }

    /// Adds a page of the entries of a folder. Returns the name after which the next page starts, if there is one, or
    /// `None` if the folder does not exist.
    pub(super) async fn list(
        &self,
        path: &str,
        after: Option<String>,
        entries: &mut Vec<Entry>,
    ) -> Result<Option<Option<String>>, Failure> {
        let after: Vec<(&str, &str)> = after.iter().map(|after| ("startAfter", after.as_str())).collect();
        let Some(answer) = self.request(path, "LISTSTATUS_BATCH", &after).await? else { return Ok(None) };
        let listing = json::<ListingReply>(answer).await?.directory_listing;
        let files = listing.partial_listing.file_statuses.file_status;
        let last = files.last().map(|file| file.path_suffix.clone());
        entries.extend(files.into_iter().filter(|file| !file.path_suffix.is_empty()).map(|file| Entry {
            is_folder: file.is_folder(),
            name: file.path_suffix,
            modified_at: Some(file.modification_time).filter(|at| *at > 0),
        }));
        Ok(Some(last.filter(|_| listing.remaining_entries > 0)))
    }

    /// Sends a GET to the active NameNode. Returns `None` if the path does not exist.
    async fn request(
        &self,
        path: &str,
        operation: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Option<Response>, Failure> {
        let first = self.active.load(Ordering::Relaxed);
        let mut last = Failure::Unreachable("no NameNode".to_owned());
        for index in (0..self.nodes.len()).map(|offset| (first + offset) % self.nodes.len()) {
            let Some(node) = self.nodes.get(index) else { continue };
            let mut url = node.clone();
            // A URL with a host always has segments.
            url.path_segments_mut()
                .map_err(|()| Failure::Name)?
                .extend(path.split('/').filter(|part| !part.is_empty()));
            let login = self.login.iter().map(|(name, value)| (*name, value.as_str()));
            url.query_pairs_mut().append_pair("op", operation).extend_pairs(parameters).extend_pairs(login);
            match self.client.get(url).send().await {
                Ok(answer) if answer.status() == StatusCode::OK => {
                    self.active.store(index, Ordering::Relaxed);
                    return Ok(Some(answer));
                }
                Ok(answer) => match refusal(answer).await {
                    Refusal::Missing => {
                        self.active.store(index, Ordering::Relaxed);
                        return Ok(None);
                    }
                    Refusal::Standby => last = Failure::Unreachable("no NameNode is active".to_owned()),
                    Refusal::Failure(failure) => return Err(failure),
                },
                // The URL in the error may contain a token.
                Err(error) => last = Failure::Unreachable(reason(&error.without_url())),
            }
        }
        Err(last)
    }
}

/// What a reply other than 200 says.
enum Refusal {
    Missing,
    Standby,
    Failure(Failure),
}

async fn refusal(answer: Response) -> Refusal {
    let status = answer.status();
    let exception = json::<ErrorReply>(answer).await.map(|reply| reply.exception).unwrap_or_default();
    let line = exception.message.lines().next().unwrap_or_default();
    let line = line.get(..line.floor_char_boundary(super::MAX_REASON_BYTES)).unwrap_or_default();
    let text = format!("{status} {}: {line}", exception.exception);
    match status {
        StatusCode::NOT_FOUND if exception.exception == "FileNotFoundException" => Refusal::Missing,
        _ if exception.exception == STANDBY => Refusal::Standby,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Refusal::Failure(Failure::Forbidden(format!(" ({text})"))),
        _ => Refusal::Failure(Failure::Unreachable(text)),
    }
}

async fn json<T: serde::de::DeserializeOwned>(answer: Response) -> Result<T, Failure> {
    let body = body(answer, MAX_ANSWER_BYTES).await?;
    serde_json::from_slice(&body).map_err(|error| Failure::Unreachable(format!("unexpected reply of WebHDFS: {error}")))
}

/// Reads the body of an answer.
async fn body(mut answer: Response, max_bytes: u64) -> Result<Vec<u8>, Failure> {
    let mut body = vec![];
    while let Some(chunk) = answer.chunk().await.map_err(|error| Failure::Unreachable(reason(&error.without_url())))? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > max_bytes {
            return Err(Failure::TooLong);
        }
    }
    Ok(body)
}
