//! Traces of sends, with a collector that speaks OTLP over a real socket.

use crate::support::{PATIENCE, TestNode};
use crate::world::User;
use chirm_proto::v1::{self, client_frame, event::Event, server_frame::Frame};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    came: Arc<Notify>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let nodes = request.into_inner().resource_spans;
        let scopes = nodes.into_iter().flat_map(|node| node.scope_spans);
        let spans = scopes.flat_map(|scope| scope.spans);
        self.spans.lock().expect("no panic").extend(spans);
        self.came.notify_one();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Starts one; its address.
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let service = TraceServiceServer::new(self.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        format!("http://{address}")
    }

    fn names(&self) -> BTreeSet<String> {
        let spans = self.spans.lock().expect("no panic");
        spans.iter().map(|span| span.name.clone()).collect()
    }

    async fn until_named(&self, names: &[&str]) {
        let all = async {
            while !names.iter().all(|name| self.names().contains(*name)) {
                self.came.notified().await;
            }
        };
        let all = tokio::time::timeout(PATIENCE, all).await;
        all.unwrap_or_else(|_| panic!("only these came: {:?}", self.names()));
    }
}

const CONTENT: &str = "for the eyes of readers";
const NONCE: &str = "0b7c0f3c-6a3e-4d0c-9a3e-6f5d2c1b0a99";

/// Two sessions, of which one sends; until both have the message.
async fn send(node: &TestNode) -> v1::Message {
    let ann = User::mint(node, "ann").await;
    let (_, channel) = ann.create_server("s").await;
    let (mut reader, _) = ann.connect(vec![]).await;
    let (mut sender, _) = ann.connect(vec![]).await;
    let send = v1::SendMessageRequest {
        channel_id: channel,
        content: CONTENT.to_owned(),
        nonce: NONCE.to_owned(),
        ..Default::default()
    };
    let frame = client_frame::Frame::SendMessage(send);
    sender.call(1, frame).await;
    let made = |frame: &Frame| match frame {
        Frame::Event(event) => match &event.event {
            Some(Event::MessageCreated(made)) => made.message.clone(),
            _ => None,
        },
        _ => None,
    };
    reader.until(made).await;
    sender.until(made).await
}

fn named<'a>(spans: &'a [Span], name: &'a str) -> impl Iterator<Item = &'a Span> {
    spans.iter().filter(move |span| span.name == name)
}

fn attribute(span: &Span, key: &str) -> Option<Value> {
    let found = span.attributes.iter().find(|it| it.key == key)?;
    found.value.clone()?.value
}

#[tokio::test]
async fn a_send_is_traced_from_the_call_to_the_sockets() {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let settings = [("tracing.endpoint", &*endpoint), ("tracing.ratio", "1")];
    let node = TestNode::start(&settings).await;
    let message = send(&node).await;
    let steps = ["authorise", "reserve", "persist", "publish"];
    let ways = ["send", "fan out", "deliver"];
    collector
        .until_named(&[&steps[..], &ways[..]].concat())
        .await;
    // What is left comes when the node stops.
    node.stop().await;
    let spans = collector.spans.lock().expect("no panic").clone();
    assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id));
    assert_eq!(named(&spans, "send").count(), 1);
    let root = named(&spans, "send").next().expect("a root");
    assert!(root.parent_span_id.is_empty());
    let below = steps.map(|step| (step, "send")).into_iter();
    for (name, of) in below.chain([("fan out", "publish"), ("deliver", "fan out")]) {
        let above = named(&spans, of).next().expect(of);
        for span in named(&spans, name) {
            assert_eq!(span.parent_span_id, above.span_id, "{span:?}");
        }
    }
    assert_eq!(named(&spans, "deliver").count(), 2, "one a session");
    let told = |name, key| attribute(named(&spans, name).next()?, key);
    let number = |number| Some(Value::IntValue(number));
    assert_eq!(told("send", "chirm.channel_id"), number(message.channel_id));
    assert_eq!(told("send", "chirm.message_id"), number(message.id));
    assert_eq!(told("fan out", "chirm.recipients"), number(2));
    let stream = Value::StringValue("stream".to_owned());
    assert_eq!(told("send", "chirm.transport"), Some(stream));
    let all = format!("{spans:?}");
    assert!(!all.contains(CONTENT) && !all.contains(NONCE), "{all}");
}

#[tokio::test]
async fn without_a_share_nothing_is_traced() {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let settings = [("tracing.endpoint", &*endpoint), ("tracing.ratio", "0")];
    let node = TestNode::start(&settings).await;
    send(&node).await;
    node.stop().await;
    assert_eq!(collector.names(), BTreeSet::new());
}

#[tokio::test]
async fn without_its_collector_sends_go_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("it"));
    drop(listener);
    let settings = [("tracing.endpoint", &*endpoint), ("tracing.ratio", "1")];
    let node = TestNode::start(&settings).await;
    send(&node).await;
    node.stop().await;
}
