//! Everything around the calls: health, reflection, gRPC-Web, compression, unknown methods, shutdown.

use offsetd::rpc::proto::{GetStatusRequest, QueryRequest, QueryResponse, WatchRequest};
use prost::Message as _;
use tonic::codec::CompressionEncoding;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use super::{assert_fails, shop};
use crate::process::wait_for;
use crate::support::{Answer, LIMIT, Lab, Setup, kafka};

const SERVICE: &str = "offsetd.v1.OffsetService";

fn health(lab: &Lab, service: &str) -> Result<ServingStatus, tonic::Status> {
    let request = HealthCheckRequest { service: service.to_owned() };
    lab.block_on(HealthClient::new(lab.channel()).check(request)).map(|answer| answer.into_inner().status())
}

#[test]
fn health_follows_readiness_for_the_server_and_for_the_service() {
    let kafka = kafka(1);
    kafka.mock().unwrap().broker_down(1).unwrap();
    let lab = Setup::default().start(&kafka);
    for service in ["", SERVICE] {
        wait_for("not serving", LIMIT, || match health(&lab, service) {
            Ok(ServingStatus::NotServing) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    assert_fails(health(&lab, "offsetd.v1.Other"), Code::NotFound, &[]);
    kafka.mock().unwrap().broker_up(1).unwrap();
    for service in ["", SERVICE] {
        wait_for("serving", LIMIT, || match health(&lab, service) {
            Ok(ServingStatus::Serving) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

fn reflect(lab: &Lab, request: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    lab.block_on(async {
        let requests = tokio_stream::iter([request]);
        let answer = ServerReflectionClient::new(lab.channel()).server_reflection_info(requests).await.unwrap();
        answer.into_inner().message().await.unwrap().unwrap().message_response.unwrap()
    })
}

#[test]
fn reflection_lists_the_services_and_their_messages() {
    let lab = Lab::new(1);
    let MessageResponse::ListServicesResponse(list) = reflect(&lab, MessageRequest::ListServices(String::new())) else {
        panic!("no list")
    };
    let names: Vec<_> = list.service.iter().map(|service| &*service.name).collect();
    assert!(names.contains(&SERVICE) && names.contains(&"grpc.health.v1.Health"), "{names:?}");
    let symbol = MessageRequest::FileContainingSymbol(format!("{SERVICE}.Query"));
    let MessageResponse::FileDescriptorResponse(file) = reflect(&lab, symbol) else { panic!("no file") };
    let files: Vec<_> = file.file_descriptor_proto.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
    assert!(files.iter().any(|file| file.contains("OffsetEntry") && file.contains("committed_offset")));
}

/// Returns the frames of a gRPC-Web body: data, and the trailers as text.
fn frames(answer: &Answer) -> (Vec<Vec<u8>>, String) {
    let (mut rest, mut data, mut trailers) = (&*answer.body, vec![], String::new());
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
        let (frame, after) = rest[5..].split_at(length);
        match rest[0] {
            0 => data.push(frame.to_vec()),
            0x80 => trailers = String::from_utf8(frame.to_vec()).unwrap(),
            other => panic!("frame {other}"),
        }
        rest = after;
    }
    (data, trailers)
}

fn grpc_web(lab: &Lab, method: &str, message: &impl prost::Message, headers: &[(&str, &str)]) -> Answer {
    let bytes = message.encode_to_vec();
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&bytes);
    let mut request = lab.http().post(lab.url(&format!("/{SERVICE}/{method}")));
    for (name, value) in [("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")].iter().chain(headers) {
        request = request.header(*name, *value);
    }
    Answer::read(request.send(&*body).unwrap())
}

fn of(group: &str) -> QueryRequest {
    QueryRequest { group_id: group.to_owned(), topic: "orders".to_owned(), ..QueryRequest::default() }
}

#[test]
fn a_browser_calls_over_http_1_with_grpc_web() {
    let lab = shop();
    let answer = grpc_web(&lab, "Query", &of("billing"), &[]);
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/grpc-web+proto"));
    let (data, trailers) = frames(&answer);
    let entry = QueryResponse::decode(&*data[0]).unwrap().entry.unwrap();
    assert_eq!((data.len(), entry.committed_offset), (1, 90));
    assert!(trailers.contains("grpc-status:0"), "{trailers:?}");

    let answer = grpc_web(&lab, "Query", &of("missing"), &[]);
    let (data, trailers) = frames(&answer);
    let said = if trailers.is_empty() { answer.header("grpc-status").to_owned() } else { trailers };
    assert!(data.is_empty() && said.contains('5'), "{said:?}");
}

#[test]
fn the_callers_deadline_ends_a_statement_on_the_server() {
    let lab = Lab::new(1);
    let statement = "SELECT count(*) FROM columns a, columns b, columns c, (SELECT * FROM columns LIMIT 20) d WHERE a.position + d.position < 0";
    let request = offsetd::rpc::proto::SqlRequest { statement: statement.to_owned(), ..Default::default() };
    // tonic's client would apply the deadline itself, so the request is sent without it.
    let answer = grpc_web(&lab, "Sql", &request, &[("grpc-timeout", "300m")]);
    let (_, trailers) = frames(&answer);
    let said = format!("{trailers}{:?}", answer.headers);
    assert!(said.contains("grpc-status:4") || answer.header("grpc-status") == "4", "{said}");
}

#[test]
fn an_unknown_method_or_service_is_unimplemented() {
    let lab = Lab::new(1);
    for path in ["/offsetd.v1.OffsetService/Nothing", "/offsetd.v2.OffsetService/Query"] {
        let status = lab.block_on(async {
            let mut grpc = tonic::client::Grpc::new(lab.channel());
            grpc.ready().await.unwrap();
            let codec = tonic_prost::ProstCodec::<QueryRequest, QueryResponse>::default();
            grpc.unary(Request::new(of("g")), PathAndQuery::from_static(path), codec).await.unwrap_err()
        });
        assert_eq!(status.code(), Code::Unimplemented, "{path}: {status}");
    }
}

#[test]
fn answers_are_compressed_for_who_accepts_it() {
    let lab = shop();
    let mut client =
        lab.client().accept_compressed(CompressionEncoding::Gzip).send_compressed(CompressionEncoding::Gzip);
    let answer = lab.block_on(client.query(of("billing"))).unwrap();
    assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), "gzip");
    assert_eq!(answer.into_inner().entry.unwrap().committed_offset, 90);
}

#[test]
fn a_stop_ends_streams_as_unavailable_and_the_server_cleanly() {
    let lab = shop();
    let mut watch = lab.block_on(lab.client().watch(WatchRequest::default())).unwrap().into_inner();
    lab.block_on(lab.client().get_status(GetStatusRequest {})).unwrap();
    lab.ask_to_stop();
    let end = lab.block_on(async { tokio::time::timeout(LIMIT, watch.message()).await }).expect("an end of the stream");
    assert_fails(end, Code::Unavailable, &["shutting down"]);
    lab.stop_cleanly();
}

#[test]
fn a_stop_ends_statements_under_way() {
    let lab = Lab::new(1);
    let statement = "SELECT sum(a.position * b.position * c.position * d.position) FROM columns a, columns b, columns c, \
                     (SELECT * FROM columns LIMIT 20) d";
    let request = offsetd::rpc::proto::SqlRequest { statement: statement.to_owned(), ..Default::default() };
    let mut stream = lab.block_on(lab.client().sql(request)).unwrap().into_inner();
    assert!(lab.block_on(stream.message()).unwrap().is_some(), "the schema");
    lab.ask_to_stop();
    let end =
        lab.block_on(async { tokio::time::timeout(LIMIT, stream.message()).await }).expect("an end of the stream");
    assert_fails(end, Code::Unavailable, &["shutting down"]);
    lab.stop_cleanly();
}
