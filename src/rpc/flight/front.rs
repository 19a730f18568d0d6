//! The calls of Arrow Flight around Flight SQL: adds GetSchema, and gives malformed commands the
//! code that they have everywhere.

use arrow_flight::{
    Action, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, PollInfo, SchemaResult,
    Ticket, flight_service_server::FlightService,
};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{super::Reply, super::Service, Flight};
use crate::error::Error;

/// The service as it is served.
#[derive(Clone, Debug)]
pub(in crate::rpc) struct Front(Flight);

impl Front {
    pub(in crate::rpc) fn new(service: &Service) -> Self {
        Self(Flight::new(service))
    }
}

/// `arrow-flight` calls what it cannot decode an internal error, in Rust's debug form.
fn malformed(status: Status) -> Status {
    let own = status.message().starts_with("internal error ");
    if status.code() == Code::Internal && !own {
        return super::to_status(Error::Invalid("not a command of Flight SQL".to_owned()));
    }
    status
}

#[tonic::async_trait]
impl FlightService for Front {
    type HandshakeStream = <Flight as FlightService>::HandshakeStream;
    type ListFlightsStream = <Flight as FlightService>::ListFlightsStream;
    type DoGetStream = <Flight as FlightService>::DoGetStream;
    type DoPutStream = <Flight as FlightService>::DoPutStream;
    type DoActionStream = <Flight as FlightService>::DoActionStream;
    type ListActionsStream = <Flight as FlightService>::ListActionsStream;
    type DoExchangeStream = <Flight as FlightService>::DoExchangeStream;

    async fn handshake(&self, request: Request<Streaming<HandshakeRequest>>) -> Reply<Self::HandshakeStream> {
        self.0.handshake(request).await
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Reply<Self::ListFlightsStream> {
        self.0.list_flights(request).await
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Reply<FlightInfo> {
        self.0.get_flight_info(request).await.map_err(malformed)
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Reply<PollInfo> {
        self.0.poll_flight_info(request).await
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Reply<SchemaResult> {
        let info = self.get_flight_info(request).await?.into_inner();
        Ok(Response::new(SchemaResult { schema: info.schema }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Reply<Self::DoGetStream> {
        self.0.do_get(request).await.map_err(malformed)
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Reply<Self::DoPutStream> {
        self.0.do_put(request).await.map_err(malformed)
    }

    async fn do_exchange(&self, request: Request<Streaming<FlightData>>) -> Reply<Self::DoExchangeStream> {
        self.0.do_exchange(request).await
    }

    async fn do_action(&self, request: Request<Action>) -> Reply<Self::DoActionStream> {
        self.0.do_action(request).await.map_err(malformed)
    }

    async fn list_actions(&self, request: Request<Empty>) -> Reply<Self::ListActionsStream> {
        self.0.list_actions(request).await
    }
}
