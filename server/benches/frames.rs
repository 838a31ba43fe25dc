//! What encoding an event costs: once a message, never once a recipient.

use chirm_server::frames;
use chirm_server::model::{EventBody, Message, Position, TopicKey};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const ID: i64 = 1 << 60;

fn body() -> EventBody {
    EventBody::MessageCreated(Message {
        id: ID,
        channel_id: ID,
        author_id: ID,
        content: ".".repeat(200),
        reply_to: ID,
        nonce: "0190b5a2-0000-7000-8000-000000000000".to_owned(),
        ..Message::default()
    })
}

fn frames(c: &mut Criterion) {
    let body = body();
    let (topic, position) = (
        TopicKey::channel(ID),
        Position {
            epoch: ID,
            seq: 1000,
        },
    );
    let payload = frames::encode_body(&body);
    let frame = frames::event_frame(topic, position, &payload);
    let mut group = c.benchmark_group("frames");
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("encode_body", |b| {
        b.iter(|| frames::encode_body(black_box(&body)))
    });
    group.bench_function("event_frame", |b| {
        b.iter(|| frames::event_frame(topic, position, black_box(&payload)));
    });
    group.bench_function("share", |b| b.iter(|| black_box(&frame).clone()));
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
