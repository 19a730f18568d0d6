//! The Arrow Flight service around Flight SQL. It responds to metadata commands, adds GetSchema, and maps the errors of
//! `arrow-flight` to the codes of this server.

use arrow_flight::{
    Action, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, PollInfo, SchemaResult,
    Ticket,
    encode::FlightDataEncoderBuilder,
    flight_service_server::FlightService,
    sql::{Any, Command},
};
use futures::{TryStreamExt as _, stream};
use prost::Message as _;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{super::Reply, super::Service, Flight, flight_info};
use crate::{error::Error, sql::SqlError};

/// The service as registered with the gRPC server.
#[derive(Clone, Debug)]
pub(in crate::rpc) struct FlightFrontend(Flight);

impl FlightFrontend {
    pub(in crate::rpc) fn new(service: &Service) -> Self {
        Self(Flight::new(service))
    }
}

/// Decodes the command of a descriptor or a ticket.
fn command(bytes: &[u8]) -> Result<Command, Status> {
    let command = Any::decode(bytes).ok().and_then(|any| Command::try_from(any).ok());
    match command {
        None | Some(Command::Unknown(_)) => Err(malformed()),
        Some(command) => Ok(command),
    }
}

fn malformed() -> Status {
    Error::Invalid("unknown or malformed Flight SQL command".to_owned()).into()
}

/// Replaces errors of `arrow-flight` by those of this server. It reports undecodable messages as internal errors, and
/// commands that [`Flight`] does not implement, because they write data or are not SQL, as unimplemented.
fn translate_error(what: &str) -> impl FnOnce(Status) -> Status {
    move |status| match status.code() {
        Code::Internal if !status.message().starts_with("internal error ") => malformed(),
        Code::Unimplemented => SqlError::NotReadOnly(format!("{what} is not allowed")).into(),
        _ => status,
    }
}

fn command_name(command: &Command) -> &str {
    command.type_url().rsplit('.').next().unwrap_or_default()
}

#[tonic::async_trait]
impl FlightService for FlightFrontend {
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
        let command = command(&request.get_ref().cmd)?;
        match self.0.metadata_rows(&command)? {
            Some(rows) => flight_info(&rows.schema(), &command.into_any(), request.into_inner()),
            None => self.0.get_flight_info(request).await.map_err(translate_error(command_name(&command))),
        }
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Reply<PollInfo> {
        self.0.poll_flight_info(request).await
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Reply<SchemaResult> {
        let info = self.get_flight_info(request).await?.into_inner();
        Ok(Response::new(SchemaResult { schema: info.schema }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Reply<Self::DoGetStream> {
        let command = command(&request.get_ref().ticket)?;
        let Some(rows) = self.0.metadata_rows(&command)? else {
            return self.0.do_get(request).await.map_err(translate_error(command_name(&command)));
        };
        let data = FlightDataEncoderBuilder::new().with_schema(rows.schema()).build(stream::iter([Ok(rows)]));
        Ok(Response::new(Box::pin(data.map_err(Status::from))))
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Reply<Self::DoPutStream> {
        self.0.do_put(request).await.map_err(translate_error("an update"))
    }

    async fn do_exchange(&self, request: Request<Streaming<FlightData>>) -> Reply<Self::DoExchangeStream> {
        self.0.do_exchange(request).await
    }

    async fn do_action(&self, request: Request<Action>) -> Reply<Self::DoActionStream> {
        let action = request.get_ref().r#type.clone();
        self.0.do_action(request).await.map_err(translate_error(&action))
    }

    async fn list_actions(&self, request: Request<Empty>) -> Reply<Self::ListActionsStream> {
        self.0.list_actions(request).await
    }
}
