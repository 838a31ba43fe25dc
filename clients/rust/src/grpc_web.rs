//! `Listen` by gRPC-Web, as a browser's fetch has it.

use crate::{
    config::Config,
    error::Error,
    stream::FRAME_BYTES_MAX,
    wire::{Cutter, Wire},
};
use chirm_proto::v1::{self, gateway_service_client::GatewayServiceClient};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;
use tonic::{Streaming, transport::Uri};
use tonic_web::GrpcWebClientLayer;
use tower::Layer as _;

pub(crate) async fn listen(
    config: &Config,
    identify: v1::Identify,
    cutter: Arc<Cutter>,
) -> Result<Streaming<v1::ServerFrame>, Error> {
    let uri: Uri = config.server.parse().map_err(Error::config)?;
    if uri.scheme_str() != Some("http") || !config.listen_only {
        return Err(Error::config(
            "gRPC-Web is for http:// alone here, and carries no stream from the client: set \
             listen_only",
        ));
    }
    let connector = tower::service_fn(move |uri: Uri| {
        let cutter = cutter.clone();
        Box::pin(async move { Wire::open(&uri, cutter).await.map(TokioIo::new) })
    });
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let client = GrpcWebClientLayer::new().layer(client);
    let mut gateway =
        GatewayServiceClient::with_origin(client, uri).max_decoding_message_size(FRAME_BYTES_MAX);
    let response = gateway.listen(identify).await;
    let response = response.map_err(|status| Error::of_stream(&status))?;
    Ok(response.into_inner())
}
