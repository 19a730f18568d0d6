//! Flight SQL: runs statements for ADBC, JDBC and other clients of Arrow Flight.
//!
//! The server keeps no state between calls. A handle or ticket contains the statement itself ([`handle`]). The
//! statement runs when the ticket is redeemed, each time on a new cut, which the headers of the response name like
//! those of HTTP. Prepare, FlightInfo and DoGet declare the same schema as the engine.

use std::{pin::Pin, sync::Arc};

use arrow::{array::RecordBatch, datatypes::Schema, error::ArrowError, ipc::writer::IpcWriteOptions};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor, FlightEndpoint,
    FlightInfo, HandshakeRequest, HandshakeResponse, IpcMessage, SchemaAsIpc, Ticket,
    encode::FlightDataEncoderBuilder,
    error::FlightError,
    flight_service_server::FlightService,
    sql::{
        ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
        ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, Command,
        CommandPreparedStatementQuery, CommandStatementQuery, DoPutPreparedStatementResult, ProstMessageExt as _,
        SqlInfo, TicketStatementQuery,
        server::{DoPutError, FlightSqlService, PeekableFlightDataStream},
    },
};
use async_stream::try_stream;
use futures::{TryStreamExt as _, stream};
use prost::{Message as _, bytes::Bytes};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

mod frontend;
mod handle;
mod info;
mod metadata;
mod parameters;
mod running;
mod session;

pub(super) use frontend::FlightFrontend;
use handle::Handle;
use running::Running;

use super::{Reply, Service, deadline};
use crate::{
    error::Error,
    sql::{Engine, SqlError, Statement},
    store::cut::Snapshot,
};

type Rows = <Flight as FlightService>::DoGetStream;
type Handshakes = Pin<Box<dyn futures::Stream<Item = Result<HandshakeResponse, Status>> + Send>>;

/// The Flight SQL service.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    engine: Arc<Engine>,
    running: Running,
    stop: CancellationToken,
}

impl Flight {
    fn new(service: &Service) -> Self {
        let shared = &service.shared;
        Self { engine: Arc::clone(&shared.engine), running: Running::default(), stop: shared.stop.clone() }
    }

    /// Returns the schema of a statement, and the ticket that runs it.
    async fn statement_info(&self, handle: Handle, request: Request<FlightDescriptor>) -> Reply<FlightInfo> {
        let deadline = deadline(request.metadata());
        let statement = handle.clone().statement(deadline).await?;
        let description = self.engine.describe(statement).await?;
        let ticket = TicketStatementQuery { statement_handle: handle.ticket().bytes() };
        flight_info(&description.schema, &ticket.as_any(), request.into_inner())
    }

    /// Runs the statement of a ticket.
    async fn redeem(&self, handle: &[u8], metadata: &MetadataMap) -> Reply<Rows> {
        let handle = Handle::read(handle)?;
        let running = self.running.start(handle.execution);
        let statement = handle.statement(deadline(metadata)).await?;
        let mut answer = tokio::select! {
            answer = self.engine.run(statement) => answer?,
            () = running.token.cancelled() => return Err(cancelled()),
        };
        let (schema, snapshot, stop) = (Arc::clone(&answer.schema), answer.stats().snapshot, self.stop.clone());
        // The connection polls the stream. If the client disconnects, the stream is dropped and the statement is
        // cancelled.
        let batches = try_stream! {
            loop {
                let next = tokio::select! {
                    next = answer.next() => next.transpose().map_err(Status::from),
                    () = running.token.cancelled() => Err(cancelled()),
                    () = stop.cancelled() => Err(SqlError::ShuttingDown.into()),
                };
                let Some(batch) = next? else { break };
                yield batch;
            }
        };
        let batches = batches.map_err(|status: Status| FlightError::from(status));
        let data = FlightDataEncoderBuilder::new().with_schema(schema).build(batches);
        let mut response: Response<Rows> = Response::new(Box::pin(data.map_err(Status::from)));
        set_snapshot_headers(response.metadata_mut(), &snapshot);
        Ok(response)
    }

    /// Returns all rows of the response to a metadata command; `None` for other commands.
    fn metadata_rows(&self, command: &Command) -> Result<Option<RecordBatch>, Status> {
        metadata::rows(command.clone(), &self.engine).map_err(|error| metadata::error_of(&error).into())
    }

    /// Cancels the execution of a FlightInfo, if it is running.
    fn cancel(&self, info: &FlightInfo) -> CancelStatus {
        let ticket = info.endpoint.first().and_then(|endpoint| endpoint.ticket.as_ref());
        let any = ticket.and_then(|ticket| Any::decode(&*ticket.ticket).ok());
        let query = any.and_then(|any| any.unpack::<TicketStatementQuery>().ok().flatten());
        match query.and_then(|query| Handle::read(&query.statement_handle).ok()) {
            Some(handle) if self.running.cancel(handle.execution) => CancelStatus::Cancelled,
            // The statement has ended, or the ticket was never redeemed and thus has no resources.
            _ => CancelStatus::NotCancellable,
        }
    }
}

/// Returns a FlightInfo with one endpoint. It has no location, which means this server on the current connection.
fn flight_info(schema: &Schema, ticket: &Any, descriptor: FlightDescriptor) -> Reply<FlightInfo> {
    let ticket = Ticket::new(ticket.encode_to_vec());
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| Error::internal(&error.to_string()))?
        .with_descriptor(descriptor)
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket))
        .with_ordered(true);
    Ok(Response::new(info))
}

/// Sets the headers that name the snapshot, as `POST /v1/sql` does.
fn set_snapshot_headers(metadata: &mut MetadataMap, snapshot: &Snapshot) {
    let incomplete = snapshot.incomplete.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    for (key, value) in [("offsetd-snapshot", &snapshot.id), ("offsetd-incomplete-clusters", &incomplete)] {
        // Always valid: cluster names consist of plain characters (`config`).
        if let Ok(value) = value.parse() {
            metadata.insert(key, value);
        }
    }
}

/// Encodes a schema for the response to a prepare.
fn encode_schema(schema: &Schema) -> Result<Bytes, Status> {
    let message = SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into();
    let IpcMessage(bytes) = message.map_err(|error: ArrowError| Error::internal(&error.to_string()))?;
    Ok(bytes)
}

fn cancelled() -> Status {
    Status::cancelled("the statement was cancelled")
}

#[tonic::async_trait]
impl FlightSqlService for Flight {
    type FlightService = Self;

    /// Returns the token of the call, which has been checked already, as a Bearer token even if it was sent in another
    /// form. If the server requires no tokens, it returns a placeholder, because clients with credentials require a
    /// token.
    async fn do_handshake(&self, request: Request<Streaming<HandshakeRequest>>) -> Reply<Handshakes> {
        let given = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("anonymous").to_owned();
        let bearer = format!("Bearer {token}").parse();
        let answer = HandshakeResponse { protocol_version: 0, payload: token.into() };
        let mut response: Response<Handshakes> = Response::new(Box::pin(stream::iter([Ok(answer)])));
        let bearer = bearer.map_err(|_| Error::Invalid("the token is not valid in a header".to_owned()))?;
        response.metadata_mut().insert("authorization", bearer);
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        self.statement_info(Handle::new(query.query), request).await
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        let handle = Handle::read(&query.prepared_statement_handle)?;
        self.statement_info(handle, request).await
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Request<Ticket>) -> Reply<Rows> {
        self.redeem(&ticket.statement_handle, request.metadata()).await
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Reply<Rows> {
        self.redeem(&query.prepared_statement_handle, request.metadata()).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let handle = Handle::new(query.query);
        let timeout = deadline(request.metadata());
        let unbound = Statement { sql: handle.sql.clone(), timeout, ..Statement::default() };
        let description = self.engine.describe(unbound).await?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: handle.bytes(),
            dataset_schema: encode_schema(&description.schema)?,
            parameter_schema: encode_schema(&description.parameters)?,
        })
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let handle = Handle::read(&query.prepared_statement_handle)?;
        let row = parameters::read(request.into_inner()).await?;
        let bound = handle.bound(row.as_ref())?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(bound.bytes()) })
    }

    async fn do_action_close_prepared_statement(
        &self,
        _: ActionClosePreparedStatementRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        _: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        let info =
            FlightInfo::decode(&*query.info).map_err(|_| Error::Invalid("cannot decode the FlightInfo".to_owned()))?;
        // CancelResult has the same numbers as CancelStatus (FlightSql.proto).
        Ok(ActionCancelQueryResult { result: self.cancel(&info).into() })
    }

    async fn do_action_fallback(&self, request: Request<Action>) -> Reply<<Self as FlightService>::DoActionStream> {
        let action = request.into_inner();
        let body = if action.r#type == "CancelFlightInfo" {
            let request = CancelFlightInfoRequest::decode(&*action.body)
                .map_err(|_| Error::Invalid("cannot decode the CancelFlightInfoRequest".to_owned()))?;
            CancelFlightInfoResult::new(self.cancel(&request.info.unwrap_or_default())).encode_to_vec()
        } else if let Some(answer) = session::run_action(&action) {
            answer?
        } else {
            return Err(Error::Invalid(format!("unknown action {:?}", action.r#type)).into());
        };
        Ok(Response::new(Box::pin(stream::iter([Ok(arrow_flight::Result::new(body))]))))
    }

    async fn do_put_error_callback(
        &self,
        _: Request<PeekableFlightDataStream>,
        error: DoPutError,
    ) -> Reply<<Self as FlightService>::DoPutStream> {
        Err(Error::Invalid(error.to_string()).into())
    }

    /// Does nothing, because the response to GetSqlInfo is fixed.
    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}
