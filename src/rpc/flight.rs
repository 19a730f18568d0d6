//! Flight SQL: the statements of the Sql call for ADBC, JDBC and other clients of Arrow Flight.
//!
//! Nothing is kept between calls: a handle or a ticket is the statement itself ([`handle`]), which
//! runs when the ticket is redeemed, each time on a cut of its own, which the headers of the answer
//! name as those of HTTP do. Prepare, FlightInfo and DoGet declare the schema that the engine does.

use std::{pin::Pin, sync::Arc};

use arrow::datatypes::Schema;
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor, FlightEndpoint,
    FlightInfo, HandshakeRequest, HandshakeResponse, Ticket,
    encode::FlightDataEncoderBuilder,
    error::FlightError,
    flight_service_server::FlightService,
    sql::{
        ActionBeginSavepointRequest, ActionBeginSavepointResult, ActionBeginTransactionRequest,
        ActionBeginTransactionResult, ActionCancelQueryRequest, ActionCancelQueryResult,
        ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
        ActionCreatePreparedSubstraitPlanRequest, ActionEndSavepointRequest, ActionEndTransactionRequest, Any,
        CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys,
        CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
        CommandGetXdbcTypeInfo, CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest,
        CommandStatementQuery, CommandStatementSubstraitPlan, CommandStatementUpdate, DoPutPreparedStatementResult,
        ProstMessageExt, SqlInfo, TicketStatementQuery,
        server::{DoPutError, FlightSqlService, PeekableFlightDataStream},
    },
};
use futures::{TryStreamExt as _, stream};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

mod data;
mod front;
mod handle;
mod info;
mod metadata;
mod parameters;
mod running;
mod session;

use data::{Batches, ipc, name};
pub(super) use front::Front;
use handle::Handle;
use metadata::Lookup;
use running::Running;

use super::{Reply, Service, deadline, to_status};
use crate::{
    error::Error,
    sql::{Engine, SqlError, Statement},
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

    /// What a statement will give, and the ticket to run it with.
    async fn statement_info(&self, handle: Handle, request: Request<FlightDescriptor>) -> Reply<FlightInfo> {
        let deadline = deadline(request.metadata());
        let statement = handle.clone().statement(deadline).await.map_err(to_status)?;
        let description = self.engine.describe(statement).await.map_err(|error| to_status(error.into()))?;
        let ticket = TicketStatementQuery { statement_handle: handle.ticket().bytes() };
        flight_info(&description.schema, &ticket, request.into_inner())
    }

    /// Runs the statement of a ticket.
    async fn redeem(&self, handle: &[u8], metadata: &MetadataMap) -> Reply<Rows> {
        let handle = Handle::read(handle).map_err(to_status)?;
        let running = self.running.start(handle.execution);
        let statement = handle.statement(deadline(metadata)).await.map_err(to_status)?;
        let answer = tokio::select! {
            answer = self.engine.run(statement) => answer.map_err(|error| to_status(error.into()))?,
            () = running.token.cancelled() => return Err(cancelled()),
        };
        let (schema, snapshot) = (Arc::clone(&answer.schema), answer.stats().snapshot);
        let batches = Batches { answer, running, stop: self.stop.clone(), done: false };
        // Pulled by the connection: a client that goes drops the answer, which cancels the statement.
        let batches = stream::unfold(batches, |mut batches| async move {
            let batch = batches.next().await?;
            Some((batch.map_err(FlightError::from), batches))
        });
        let data = FlightDataEncoderBuilder::new().with_schema(schema).build(batches);
        let mut response: Response<Rows> = Response::new(Box::pin(data.map_err(Status::from)));
        name(response.metadata_mut(), &snapshot);
        Ok(response)
    }

    fn lookup_info(&self, command: impl Lookup, request: Request<FlightDescriptor>) -> Reply<FlightInfo> {
        let rows = command.clone().rows(&self.engine).map_err(|error| to_status(metadata::bug(&error)))?;
        flight_info(&rows.schema(), &command, request.into_inner())
    }

    fn lookup(&self, command: impl Lookup) -> Reply<Rows> {
        let rows = command.rows(&self.engine).map_err(|error| to_status(metadata::bug(&error)))?;
        let data = FlightDataEncoderBuilder::new().with_schema(rows.schema()).build(stream::iter([Ok(rows)]));
        Ok(Response::new(Box::pin(data.map_err(Status::from))))
    }

    /// Ends the execution of a FlightInfo, if it runs.
    fn cancel(&self, info: &FlightInfo) -> CancelStatus {
        let ticket = info.endpoint.first().and_then(|endpoint| endpoint.ticket.as_ref());
        let any = ticket.and_then(|ticket| Any::decode(&*ticket.ticket).ok());
        let query = any.and_then(|any| any.unpack::<TicketStatementQuery>().ok().flatten());
        match query.and_then(|query| Handle::read(&query.statement_handle).ok()) {
            Some(handle) if self.running.cancel(handle.execution) => CancelStatus::Cancelled,
            // No statement runs: it has ended, or the ticket was never redeemed, and an unredeemed ticket holds nothing.
            _ => CancelStatus::NotCancellable,
        }
    }
}

/// One endpoint without location, which is this server by the connection that there is.
fn flight_info(schema: &Schema, ticket: &impl ProstMessageExt, descriptor: FlightDescriptor) -> Reply<FlightInfo> {
    let ticket = Ticket::new(ticket.as_any().encode_to_vec());
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| to_status(Error::internal(&error.to_string())))?
        .with_descriptor(descriptor)
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket))
        .with_ordered(true);
    Ok(Response::new(info))
}

fn cancelled() -> Status {
    Status::cancelled("the statement was cancelled")
}

fn refused<T>(what: &str) -> Result<T, Status> {
    Err(to_status(SqlError::NotReadOnly(format!("{what} is refused")).into()))
}

#[tonic::async_trait]
impl FlightSqlService for Flight {
    type FlightService = Self;

    /// Gives the token that the call came with, which has been checked, and as Bearer however it was given; where no
    /// tokens are wanted, some, since clients with credentials insist on one.
    async fn do_handshake(&self, request: Request<Streaming<HandshakeRequest>>) -> Reply<Handshakes> {
        let given = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("anonymous").to_owned();
        let bearer = format!("Bearer {token}").parse();
        let answer = HandshakeResponse { protocol_version: 0, payload: token.into() };
        let mut response: Response<Handshakes> = Response::new(Box::pin(stream::iter([Ok(answer)])));
        let bearer = bearer.map_err(|_| to_status(Error::Invalid("the token is not text".to_owned())))?;
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
        let handle = Handle::read(&query.prepared_statement_handle).map_err(to_status)?;
        self.statement_info(handle, request).await
    }

    async fn get_flight_info_substrait_plan(
        &self,
        _: CommandStatementSubstraitPlan,
        _: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        refused("a Substrait plan")
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
        let description = self.engine.describe(unbound).await.map_err(|error| to_status(error.into()))?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: handle.bytes(),
            dataset_schema: ipc(&description.schema)?,
            parameter_schema: ipc(&description.parameters)?,
        })
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let handle = Handle::read(&query.prepared_statement_handle).map_err(to_status)?;
        let row = parameters::read(request.into_inner()).await?;
        let bound = handle.bound(row.as_ref()).map_err(to_status)?;
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
        let info = FlightInfo::decode(&*query.info)
            .map_err(|_| to_status(Error::Invalid("the FlightInfo cannot be read".to_owned())))?;
        // CancelResult counts like CancelStatus (FlightSql.proto).
        Ok(ActionCancelQueryResult { result: self.cancel(&info).into() })
    }

    async fn do_action_fallback(&self, request: Request<Action>) -> Reply<<Self as FlightService>::DoActionStream> {
        let action = request.into_inner();
        let invalid = |text: String| to_status(Error::Invalid(text));
        let body = if action.r#type == "CancelFlightInfo" {
            let request = CancelFlightInfoRequest::decode(&*action.body)
                .map_err(|_| invalid("not a CancelFlightInfoRequest".to_owned()))?;
            CancelFlightInfoResult::new(self.cancel(&request.info.unwrap_or_default())).encode_to_vec()
        } else if let Some(answer) = session::act(&action) {
            answer.map_err(to_status)?
        } else {
            return Err(invalid(format!("no such action: {:?}", action.r#type)));
        };
        Ok(Response::new(Box::pin(stream::iter([Ok(arrow_flight::Result::new(body))]))))
    }

    async fn get_flight_info_catalogs(&self, c: CommandGetCatalogs, r: Request<FlightDescriptor>) -> Reply<FlightInfo> {
        self.lookup_info(c, r)
    }

    async fn do_get_catalogs(&self, c: CommandGetCatalogs, _: Request<Ticket>) -> Reply<Rows> {
        self.lookup(c)
    }

    async fn get_flight_info_schemas(&self, c: CommandGetDbSchemas, r: Request<FlightDescriptor>) -> Reply<FlightInfo> {
        self.lookup_info(c, r)
    }

    async fn do_get_schemas(&self, c: CommandGetDbSchemas, _: Request<Ticket>) -> Reply<Rows> {
        self.lookup(c)
    }

    async fn get_flight_info_tables(&self, c: CommandGetTables, r: Request<FlightDescriptor>) -> Reply<FlightInfo> {
        self.lookup_info(c, r)
    }

    async fn do_get_tables(&self, c: CommandGetTables, _: Request<Ticket>) -> Reply<Rows> {
        self.lookup(c)
    }

    async fn get_flight_info_table_types(
        &self,
        c: CommandGetTableTypes,
        r: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        self.lookup_info(c, r)
    }

    async fn do_get_table_types(&self, c: CommandGetTableTypes, _: Request<Ticket>) -> Reply<Rows> {
        self.lookup(c)
    }

    async fn get_flight_info_sql_info(&self, c: CommandGetSqlInfo, r: Request<FlightDescriptor>) -> Reply<FlightInfo> {
        self.lookup_info(c, r)
    }

    async fn do_get_sql_info(&self, c: CommandGetSqlInfo, _: Request<Ticket>) -> Reply<Rows> {
        self.lookup(c)
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        c: CommandGetXdbcTypeInfo,
        r: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        self.lookup_info(c, r)
    }

    async fn do_get_xdbc_type_info(&self, c: CommandGetXdbcTypeInfo, _: Request<Ticket>) -> Reply<Rows> {
        self.lookup(c)
    }

    async fn get_flight_info_primary_keys(
        &self,
        c: CommandGetPrimaryKeys,
        r: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        self.lookup_info(c, r)
    }

    async fn do_get_primary_keys(&self, c: CommandGetPrimaryKeys, _: Request<Ticket>) -> Reply<Rows> {
        self.lookup(c)
    }

    async fn get_flight_info_exported_keys(
        &self,
        c: CommandGetExportedKeys,
        r: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        self.lookup_info(c, r)
    }

    async fn do_get_exported_keys(&self, c: CommandGetExportedKeys, _: Request<Ticket>) -> Reply<Rows> {
        self.lookup(c)
    }

    async fn get_flight_info_imported_keys(
        &self,
        c: CommandGetImportedKeys,
        r: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        self.lookup_info(c, r)
    }

    async fn do_get_imported_keys(&self, c: CommandGetImportedKeys, _: Request<Ticket>) -> Reply<Rows> {
        self.lookup(c)
    }

    async fn get_flight_info_cross_reference(
        &self,
        c: CommandGetCrossReference,
        r: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        self.lookup_info(c, r)
    }

    async fn do_get_cross_reference(&self, c: CommandGetCrossReference, _: Request<Ticket>) -> Reply<Rows> {
        self.lookup(c)
    }

    async fn do_put_error_callback(
        &self,
        _: Request<PeekableFlightDataStream>,
        error: DoPutError,
    ) -> Reply<<Self as FlightService>::DoPutStream> {
        Err(to_status(Error::Invalid(error.to_string())))
    }

    async fn do_put_statement_update(
        &self,
        _: CommandStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        refused("an update")
    }

    async fn do_put_prepared_statement_update(
        &self,
        _: CommandPreparedStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        refused("an update")
    }

    async fn do_put_statement_ingest(
        &self,
        _: CommandStatementIngest,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        refused("ingesting rows")
    }

    async fn do_put_substrait_plan(
        &self,
        _: CommandStatementSubstraitPlan,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        refused("a Substrait plan")
    }

    async fn do_action_create_prepared_substrait_plan(
        &self,
        _: ActionCreatePreparedSubstraitPlanRequest,
        _: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        refused("a Substrait plan")
    }

    async fn do_action_begin_transaction(
        &self,
        _: ActionBeginTransactionRequest,
        _: Request<Action>,
    ) -> Result<ActionBeginTransactionResult, Status> {
        refused("a transaction")
    }

    async fn do_action_end_transaction(
        &self,
        _: ActionEndTransactionRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        refused("a transaction")
    }

    async fn do_action_begin_savepoint(
        &self,
        _: ActionBeginSavepointRequest,
        _: Request<Action>,
    ) -> Result<ActionBeginSavepointResult, Status> {
        refused("a savepoint")
    }

    async fn do_action_end_savepoint(&self, _: ActionEndSavepointRequest, _: Request<Action>) -> Result<(), Status> {
        refused("a savepoint")
    }

    /// Of no use: the answer to GetSqlInfo is fixed.
    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}
