//! A gRPC server with fixed responses, for the tests of the client commands.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio_stream::{Iter, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, transport::Server};

use super::super::{ServerArgs, connect::Client};
use crate::rpc::proto::{
    GetActiveConsumerRequest, GetActiveConsumerResponse, GetConsumerRequest, GetConsumerResponse, GetHistoryRequest,
    GetHistoryResponse, GetOffsetRequest, GetOffsetResponse, GetStatusRequest, GetStatusResponse, QueryRequest,
    QueryResponse, SqlRequest, SqlResponse, WatchRequest, WatchResponse,
    offset_service_server::{OffsetService, OffsetServiceServer},
};

/// A server that responds to `sql` with these messages and to `get_consumer` with these pages. The page token is the
/// index of a page.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Fake {
    pub(in crate::cli) sql: Vec<Result<SqlResponse, Status>>,
    pub(in crate::cli) groups: Vec<GetConsumerResponse>,
    /// The value that the `authorization` header must have; `None` if there must be no header.
    pub(in crate::cli) authorization: Option<&'static str>,
}

impl Fake {
    /// Starts the server and returns a client that is connected to it.
    pub(in crate::cli) async fn client(self, token: Option<&str>) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let serve = Server::builder()
            .add_service(OffsetServiceServer::new(self))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serve);
        let args = ServerArgs {
            server: Some(format!("http://{address}")),
            token: token.map(|token| token.to_owned().into()),
            ..ServerArgs::default()
        };
        super::super::connect::connect(&args).await.unwrap()
    }
}

type Stream<T> = Iter<std::vec::IntoIter<Result<T, Status>>>;

#[tonic::async_trait]
impl OffsetService for Fake {
    type SqlStream = Stream<SqlResponse>;
    type WatchStream = Stream<WatchResponse>;

    async fn sql(&self, request: Request<SqlRequest>) -> Result<Response<Self::SqlStream>, Status> {
        let given = request.metadata().get("authorization").map(|value| value.to_str().unwrap());
        if given != self.authorization {
            return Err(Status::unauthenticated("no valid token"));
        }
        Ok(Response::new(tokio_stream::iter(self.sql.clone())))
    }

    async fn get_consumer(
        &self,
        request: Request<GetConsumerRequest>,
    ) -> Result<Response<GetConsumerResponse>, Status> {
        let token = request.into_inner().page_token;
        let at: usize = if token.is_empty() { 0 } else { token.parse().unwrap() };
        Ok(Response::new(self.groups[at].clone()))
    }

    async fn query(&self, _: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn get_offset(&self, _: Request<GetOffsetRequest>) -> Result<Response<GetOffsetResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn get_active_consumer(
        &self,
        _: Request<GetActiveConsumerRequest>,
    ) -> Result<Response<GetActiveConsumerResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn get_history(&self, _: Request<GetHistoryRequest>) -> Result<Response<GetHistoryResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }
}
