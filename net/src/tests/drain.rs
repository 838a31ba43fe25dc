//! The end of a node: what is in progress may end, what does not is closed.

use super::*;

#[tokio::test]
async fn requests_in_progress_end_and_no_new_ones_start() {
    let port = Port::start(|config| config.net.drain = Duration::from_secs(600)).await;
    let (client, connection) = h2_client(port.connect().await).await;
    let waiting = h2_get(&client, "/wait").await.unwrap();
    let mut http1 = port.say(b"GET /wait HTTP/1.1\r\nhost: chirm\r\n\r\n").await;
    let mut unused = port.connect().await;
    port.wait.came.acquire_many(2).await.unwrap().forget();

    port.shutdown.cancel();
    assert!(rest(&mut unused).await.is_empty());
    // The listener is gone as soon as the first connection was told.
    while TcpStream::connect(port.address).await.is_ok() {
        tokio::time::sleep(SHORT / 10).await;
    }
    port.wait.may_end.add_permits(2);
    assert_eq!(h2_text(waiting).await.unwrap(), "waited");
    assert!(rest(&mut http1).await.ends_with(b"waited"));
    connection.await.unwrap().unwrap();
    port.serving.await.unwrap();
}

#[tokio::test]
async fn what_does_not_end_is_closed() {
    let port = Port::start(|config| config.net.drain = SHORT).await;
    let (client, connection) = h2_client(port.connect().await).await;
    let mut hanging = h2_get(&client, "/hang")
        .await
        .unwrap()
        .await
        .unwrap()
        .into_body();
    assert_eq!(hanging.data().await.unwrap().unwrap(), "first");
    port.shutdown.cancel();
    port.serving.await.unwrap();
    assert!(!matches!(hanging.data().await, Some(Ok(_))));
    let _ = connection.await.unwrap();
}
