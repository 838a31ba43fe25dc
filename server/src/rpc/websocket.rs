//! The gateway's streams by WebSocket: what a [`Bridge`] asks of its upstream, in this process.

use super::gateway::sized_input;
use crate::frames::PREFIX_BYTES;
use crate::gateway::{Gateway, Input, InputError, Outbox, Transport};
use crate::mutation;
use bytes::{Buf as _, Bytes};
use chirm_bridge_ws::{Bridge, Frames, Options, Origins, Upstream};
use chirm_proto::v1;
use futures::StreamExt as _;
use futures::channel::mpsc;
use prost::Message as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Sessions of this node's gateway.
#[derive(Clone)]
pub struct Local(Gateway);

/// Mounts WebSockets in front of this node's gateway.
#[must_use]
pub fn bridge(gateway: Gateway, origins: Origins, identify_deadline: Duration) -> Bridge<Local> {
    let limits = gateway.limits();
    let options = Options {
        origins,
        identify_bytes_max: limits.identify_bytes_max,
        request_bytes_max: limits.request_bytes_max,
        identify_deadline: match mutation::on("identify_timeout_off") {
            true => Duration::MAX,
            false => identify_deadline,
        },
    };
    Bridge::new(Local(gateway), options)
}

/// What a session has for its WebSocket.
pub struct Sent(Arc<Outbox>);

impl Upstream for Local {
    type Frames = Sent;

    fn open(&self, inputs: mpsc::Receiver<Bytes>, _: IpAddr) -> Sent {
        let outbox = Arc::new(self.0.outbox());
        let transport = Transport {
            outbox: outbox.clone(),
            one_way: false,
        };
        let gateway = self.0.clone();
        tokio::spawn(async move {
            let max = gateway.limits().request_bytes_max;
            let inputs = inputs.map(move |frame| decode(frame, max));
            gateway.run(inputs, transport).await;
        });
        Sent(outbox)
    }
}

fn decode(frame: Bytes, max: usize) -> Result<Input, InputError> {
    let size = frame.len();
    let frame = v1::ClientFrame::decode(frame).map_err(|_| InputError::Malformed)?;
    sized_input(size, frame, max)
}

impl Frames for Sent {
    // An outbox wakes when it has let go of its lock.
    fn may_be_polled_while_waking(&self) -> bool {
        !self.0.is_syncing()
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let frame = ready!(self.0.poll_frame(cx));
        // A WebSocket's message is its own frame: gRPC's prefix isn't needed.
        Poll::Ready(frame.map(|mut frame| {
            frame.advance(PREFIX_BYTES);
            frame
        }))
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.0.peer_gone();
    }
}
