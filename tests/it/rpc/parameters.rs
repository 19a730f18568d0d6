//! Parameters of Flight SQL as a hostile client sends them: the allowed contents of a DoPut, and its memory use.
//!
//! Client and server share one thread, which counts its allocations.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
    FixedSizeListArray, Float64Array, Int64Array, ListArray, ListBuilder, MapBuilder, NullArray, RecordBatch,
    StringArray, StringBuilder, StringDictionaryBuilder, StringViewArray, StringViewBuilder, StructArray,
    TimestampNanosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type, UnionFields};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, CommandPreparedStatementQuery,
    ProstMessageExt as _,
};
use arrow_flight::{Action, FlightData, FlightDescriptor};
use flate2::{Compression, write::GzEncoder};
use futures::{FutureExt as _, TryStreamExt as _, stream};
use offsetd::clock::Clock;
use offsetd::rpc::{self, Service};
use offsetd::sql::Engine;
use proptest::{prelude::*, sample::Index};
use prost::Message;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tower::Service as _;

use crate::decode::allocation::allocated;
use crate::synthetic;

/// Bytes that a request may allocate, whatever its headers claim.
const ROOM: usize = 8 << 20;
/// Uncompressed size of a gzip bomb in bytes.
const BOMB: usize = 64 << 20;

/// A server without a network, and the handle of a prepared statement.
struct InProcessServer {
    runtime: Runtime,
    router: axum::Router,
    handle: prost::bytes::Bytes,
}

impl InProcessServer {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let config = synthetic::config();
        let engine = Engine::new(synthetic::store(&["one"], 1, Clock::system()), config.sql).unwrap();
        let (stop, step) = (CancellationToken::new(), config.history.step);
        let service = Service::new(Arc::new(engine), config.server, step, stop);
        let router = runtime.block_on(async { rpc::routes(service) }).unwrap().0;
        let request = ActionCreatePreparedStatementRequest { query: "SELECT $1".to_owned(), transaction_id: None };
        let action = Action::new("CreatePreparedStatement", request.as_any().encode_to_vec());
        let handle = runtime.block_on(async {
            let mut answers = FlightServiceClient::new(router.clone()).do_action(action).await.unwrap().into_inner();
            answers.message().await.unwrap().unwrap().body
        });
        let created = Any::decode(handle).unwrap().unpack::<ActionCreatePreparedStatementResult>().unwrap().unwrap();
        Self { runtime, router, handle: created.prepared_statement_handle }
    }

    /// Binds parameters, and asserts that this allocates little memory.
    fn bind(&self, mut messages: Vec<FlightData>) -> Result<(), Status> {
        let command = CommandPreparedStatementQuery { prepared_statement_handle: self.handle.clone() };
        let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
        if let Some(first) = messages.first_mut() {
            first.flight_descriptor = Some(descriptor);
        }
        let mut client = FlightServiceClient::new(self.router.clone());
        let put = async {
            let answers = client.do_put(stream::iter(messages)).await?.into_inner();
            answers.try_collect::<Vec<_>>().await.map(drop)
        };
        let (result, allocated) = allocated(|| self.runtime.block_on(put));
        assert!(allocated <= ROOM, "{allocated} bytes for {result:?}");
        result
    }

    /// Sends a gzip bomb to a method; returns the gRPC status from the response headers.
    fn bomb(&self, method: &str, bomb: &[u8]) -> String {
        let frame = [&[1][..], &u32::try_from(bomb.len()).unwrap().to_be_bytes(), bomb].concat();
        let request = http::Request::post(method)
            .version(http::Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let request = request.header("grpc-encoding", "gzip").body(axum::body::Body::from(frame)).unwrap();
        let (answer, allocated) = allocated(|| self.runtime.block_on(self.router.clone().call(request)).unwrap());
        assert!(allocated <= ROOM, "{allocated} bytes for {answer:?}");
        answer.headers().get("grpc-status").unwrap().to_str().unwrap().to_owned()
    }
}

fn messages(columns: &[ArrayRef], compression: Option<CompressionType>) -> Vec<FlightData> {
    let fields = columns.iter().enumerate().map(|(at, column)| (format!("{at}"), Arc::clone(column)));
    let batch = RecordBatch::try_from_iter_with_nullable(fields.map(|(name, column)| (name, column, true))).unwrap();
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let encoder = FlightDataEncoderBuilder::new()
        .with_options(options)
        .with_dictionary_handling(DictionaryHandling::Resend)
        .with_max_flight_data_size(usize::MAX)
        .build(stream::iter([Ok(batch)]));
    encoder.try_collect().now_or_never().expect("encoding rows in memory never waits").unwrap()
}

fn invalid(result: Result<(), Status>, words: &str) {
    let status = result.expect_err(words);
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains(words), "{words:?} is not in {status}");
}

fn array<A: arrow::array::Array + 'static>(array: A) -> ArrayRef {
    Arc::new(array)
}

fn texts(values: &[&str]) -> ListArray {
    let mut list = ListBuilder::new(StringBuilder::new());
    list.append_value(values.iter().map(Some));
    list.finish()
}

/// Returns a list of one row with these values.
fn list(values: &ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    array(ListArray::new(field, OffsetBuffer::from_lengths([values.len()]), Arc::clone(values), None))
}

fn dictionary(value: &str) -> DictionaryArray<Int32Type> {
    let mut dictionary = StringDictionaryBuilder::new();
    dictionary.append_value(value);
    dictionary.finish()
}

/// Returns a row with every type that parameters may have.
fn row() -> Vec<ArrayRef> {
    vec![
        array(Int64Array::from(vec![7])),
        array(Float64Array::from(vec![None])),
        array(BooleanArray::from(vec![true])),
        array(NullArray::new(1)),
        array(StringArray::from(vec!["text"])),
        array(StringViewArray::from(vec!["a view of more than twelve bytes"])),
        array(BinaryArray::from(vec![&b"bytes"[..]])),
        array(BinaryViewArray::from(vec![None::<&[u8]>])),
        array(FixedSizeBinaryArray::try_from_iter([b"four"].into_iter()).unwrap()),
        array(TimestampNanosecondArray::from(vec![1]).with_timezone("UTC")),
        array(Decimal128Array::from(vec![1]).with_precision_and_scale(38, 2).unwrap()),
        array(dictionary("one of few")),
        array(texts(&["orders", "payments"])),
        list(&array(Int64Array::from(vec![Some(1), None]))),
        list(&array(NullArray::new(3))),
    ]
}

#[test]
fn a_row_of_every_type_that_parameters_have_is_bound() {
    let server = InProcessServer::new();
    for column in row() {
        let name = column.data_type().clone();
        server.bind(messages(&[column], None)).unwrap_or_else(|status| panic!("{name}: {status}"));
    }
    server.bind(messages(&row(), None)).unwrap();
    let many: Vec<ArrayRef> = (0..1024).map(|number| array(Int64Array::from(vec![number]))).collect();
    server.bind(messages(&many, None)).unwrap();
}

#[test]
fn types_whose_values_outgrow_their_bytes_are_refused_by_name() {
    let server = InProcessServer::new();
    let long = "x".repeat(100);
    let mut views = ListBuilder::new(StringViewBuilder::new());
    views.append_value([Some(&long)]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.append(true).unwrap();
    let item = |kind: DataType| Arc::new(Field::new("item", kind, true));
    let one: ArrayRef = array(Int64Array::from(vec![1]));
    let union = UnionFields::try_new([0], [Field::new("a", DataType::Int64, true)]).unwrap();
    let union = arrow::array::UnionArray::try_new(union, vec![0].into(), None, vec![Arc::clone(&one)]).unwrap();
    let runs = cast(
        &one,
        &DataType::RunEndEncoded(
            Arc::new(Field::new("run_ends", DataType::Int32, false)),
            Arc::new(Field::new("values", DataType::Int64, true)),
        ),
    );
    for (column, name) in [
        (array(views.finish()), "List"),
        (list(&array(texts(&["a"]))), "List"),
        (list(&array(dictionary("a"))), "List"),
        (cast(&array(texts(&["a"])), &DataType::ListView(item(DataType::Utf8))).unwrap(), "ListView"),
        (array(FixedSizeListArray::new(item(DataType::Int64), 1, Arc::clone(&one), None)), "FixedSizeList"),
        (array(StructArray::from(vec![(item(DataType::Int64), Arc::clone(&one))])), "Struct"),
        (array(StructArray::new_empty_fields(1, None)), "Struct"),
        (array(map.finish()), "Map"),
        (array(union), "Union"),
        (runs.unwrap(), "RunEndEncoded"),
        (
            array(FixedSizeBinaryArray::try_new(0, Vec::<u8>::new().into(), Some(vec![false].into())).unwrap()),
            "FixedSizeBinary",
        ),
    ] {
        invalid(server.bind(messages(&[column], None)), &format!("the unsupported type {name};"));
    }
}

/// Overwrites the length in the first buffer that holds the length of uncompressed bytes.
fn claim(message: &mut FlightData, length: i64) {
    let mut body = message.data_body.to_vec();
    let at = (0..body.len() - 8).step_by(8).find(|at| {
        let value = i64::from_le_bytes(body[*at..*at + 8].try_into().unwrap());
        (1..1 << 30).contains(&value)
    });
    let at = at.expect("the length is found");
    body[at..at + 8].copy_from_slice(&length.to_le_bytes());
    message.data_body = body.into();
}

#[test]
fn compressed_parameters_are_refused_before_they_are_decompressed() {
    let server = InProcessServer::new();
    let text: ArrayRef = array(StringArray::from(vec!["x".repeat(1000)]));
    for codec in [CompressionType::ZSTD, CompressionType::LZ4_FRAME] {
        invalid(server.bind(messages(&[Arc::clone(&text)], Some(codec))), "compressed");
        invalid(server.bind(messages(&[array(dictionary(&"x".repeat(1000)))], Some(codec))), "compressed");
        for claimed in [i64::MAX, i64::MAX - 63, 1 << 40, BOMB as i64] {
            for column in [Arc::clone(&text), array(dictionary(&"x".repeat(1000)))] {
                let mut messages = messages(&[column], Some(codec));
                // In the dictionary, or in the row if there is none.
                claim(&mut messages[1], claimed);
                assert!(messages.iter().map(Message::encoded_len).sum::<usize>() < 2000, "a small request");
                invalid(server.bind(messages), "compressed");
            }
        }
    }
    let bomb = messages(&[array(StringArray::from(vec!["x".repeat(BOMB)]))], Some(CompressionType::ZSTD));
    assert!(bomb.iter().map(Message::encoded_len).sum::<usize>() < 64 << 10, "a small request");
    invalid(server.bind(bomb), "compressed");
    server.bind(messages(&[text], None)).unwrap();
}

#[test]
fn no_number_in_a_header_is_believed() {
    let server = InProcessServer::new();
    let (mut tried, mut columns) = (0, row());
    columns.push(list(&array(BooleanArray::from(vec![true; 9]))));
    for column in columns {
        let good = messages(&[column], None);
        for (which, message) in good.iter().enumerate().skip(1) {
            let body = i64::try_from(message.data_body.len()).unwrap();
            for at in (0..message.data_header.len().saturating_sub(7)).step_by(4) {
                for claimed in [i64::MAX, i64::MIN, -1, 1 << 32, i64::from(i32::MAX), body + 1, body - 1, 1025] {
                    let mut bad = good.clone();
                    let mut header = message.data_header.to_vec();
                    header[at..at + 8].copy_from_slice(&claimed.to_le_bytes());
                    bad[which].data_header = header.into();
                    allowed(server.bind(bad));
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 5000, "{tried}");
}

/// Asserts that the call succeeded or failed with an error for the client.
fn allowed(result: Result<(), Status>) {
    if let Err(status) = result {
        assert!([Code::InvalidArgument, Code::ResourceExhausted].contains(&status.code()), "{status}");
        assert!(!status.message().contains("the decoder failed"), "the decoder panicked");
    }
}

#[test]
fn buffers_that_share_bytes_are_refused() {
    let server = InProcessServer::new();
    let text: ArrayRef = array(StringArray::from(vec!["x".repeat(128 << 10)]));
    let mut good = messages(&[Arc::clone(&text), text], None);
    let row = good.last_mut().unwrap();
    let body = row.data_body.len();
    // The offset of the second column's text is replaced by that of the first one.
    let length = (128_i64 << 10).to_le_bytes();
    let mut header = row.data_header.to_vec();
    let ends: Vec<usize> = (0..=header.len() - 8).filter(|at| header[*at..*at + 8] == length).collect();
    let [first, second] = ends[..] else { panic!("{ends:?}") };
    header.copy_within(first - 8..first, second - 8);
    row.data_header = header.into();
    let mut cut = row.data_body.to_vec();
    cut.truncate(body - (128 << 10));
    row.data_body = cut.into();
    invalid(server.bind(good), "outside of the message body");
}

#[test]
fn a_call_ends_after_a_megabyte_and_after_sixteen_messages() {
    let server = InProcessServer::new();
    let good = messages(&[array(dictionary("a"))], None);
    let mut many = vec![good[0].clone()];
    many.extend(std::iter::repeat_n(good[1].clone(), 16));
    invalid(server.bind(many), "16 messages");
    let text: ArrayRef = array(StringArray::from(vec!["x".repeat(600 << 10)]));
    let long = messages(&[text], None);
    invalid(server.bind(vec![long[0].clone(), long[1].clone(), long[1].clone()]), "1048576 bytes");
    let rows = messages(&[array(Int64Array::from(vec![1, 2]))], None);
    invalid(server.bind(rows), "one row per execution");
}

#[test]
fn a_gzip_bomb_in_any_call_is_refused_at_its_limit() {
    let mut gzip = GzEncoder::new(vec![], Compression::best());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), BOMB as u64), &mut gzip).unwrap();
    let bomb = gzip.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    let server = InProcessServer::new();
    let exhausted = (Code::ResourceExhausted as i32).to_string();
    for method in ["Sql", "Query", "GetOffset", "Watch", "GetHistory"] {
        assert_eq!(server.bomb(&format!("/offsetd.v1.OffsetService/{method}"), &bomb), exhausted, "{method}");
    }
    for method in ["DoPut", "DoGet", "DoAction", "GetFlightInfo"] {
        let path = format!("/arrow.flight.protocol.FlightService/{method}");
        assert_eq!(server.bomb(&path, &bomb), exhausted, "{method}");
    }
    // These services accept no compressed calls.
    for method in ["grpc.health.v1.Health/Check", "grpc.reflection.v1.ServerReflection/ServerReflectionInfo"] {
        assert_eq!(server.bomb(&format!("/{method}"), &bomb), (Code::Unimplemented as i32).to_string(), "{method}");
    }
}

static SEEDS: LazyLock<Vec<Vec<FlightData>>> = LazyLock::new(|| {
    let codecs = [None, Some(CompressionType::ZSTD), Some(CompressionType::LZ4_FRAME)];
    let mut seeds = vec![];
    for codec in codecs {
        seeds.push(messages(&row(), codec));
        seeds.extend(row().into_iter().map(|column| messages(&[column], codec)));
    }
    seeds
});

/// A change of a message's bytes.
#[derive(Clone, Debug)]
enum Tamper {
    Set(Index, u8),
    Number(Index, i64),
    Insert(Index, Vec<u8>),
    Remove(Index, u8),
    Cut(Index),
}

fn tamper() -> impl Strategy<Value = Tamper> {
    let at = any::<Index>;
    let numbers = prop::sample::select(vec![i64::MAX, i64::MIN, -1, 0, 1, 8, 64, 1 << 20, 1 << 31, 1 << 40]);
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Tamper::Set(at, byte)),
        (at(), numbers).prop_map(|(at, number)| Tamper::Number(at, number)),
        (at(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Tamper::Insert(at, bytes)),
        (at(), 1..9_u8).prop_map(|(at, count)| Tamper::Remove(at, count)),
        at().prop_map(Tamper::Cut),
    ]
}

impl Tamper {
    fn apply(&self, bytes: &prost::bytes::Bytes) -> prost::bytes::Bytes {
        let mut bytes = bytes.to_vec();
        let end = bytes.len();
        let place = |at: &Index| at.index(end + 1);
        match self {
            Self::Set(at, byte) => bytes.splice(place(at)..(place(at) + 1).min(end), [*byte]).for_each(drop),
            Self::Number(at, number) => {
                let at = place(at) & !7;
                bytes.splice(at..(at + 8).min(end), number.to_le_bytes()).for_each(drop);
            }
            Self::Insert(at, more) => bytes.splice(place(at)..place(at), more.iter().copied()).for_each(drop),
            Self::Remove(at, count) => {
                bytes.drain(place(at)..(place(at) + usize::from(*count)).min(end)).for_each(drop)
            }
            Self::Cut(at) => bytes.truncate(place(at)),
        }
        bytes.into()
    }
}

thread_local! {
    static SERVER: InProcessServer = InProcessServer::new();
}

/// A debug build takes a minute for 30,000 cases. For a long run:
/// `PROPTEST_CASES=1000000 cargo test --release --test it rpc::parameters`
fn cases() -> ProptestConfig {
    let default = ProptestConfig::default();
    match std::env::var_os("PROPTEST_CASES") {
        None => ProptestConfig { cases: 3000, ..default },
        Some(_) => default,
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn messages_that_were_tampered_with_end_the_call_and_nothing_else(
        seed in any::<Index>(),
        tampers in prop::collection::vec((any::<Index>(), any::<bool>(), tamper()), 1..5),
        other in prop::option::weighted(0.2, any::<Index>()),
    ) {
        let mut messages = SEEDS[seed.index(SEEDS.len())].clone();
        if let Some(other) = other {
            // Rows of one schema follow another schema.
            let other = &SEEDS[other.index(SEEDS.len())];
            messages.truncate(1);
            messages.extend(other.iter().skip(1).cloned());
        }
        for (which, in_body, tamper) in &tampers {
            let which = which.index(messages.len());
            let message = &mut messages[which];
            let bytes = if *in_body { &mut message.data_body } else { &mut message.data_header };
            *bytes = tamper.apply(bytes);
        }
        SERVER.with(|server| allowed(server.bind(messages)));
    }
}
