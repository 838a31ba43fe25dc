//! More connections than the caps allow.

use super::*;

/// Tries until a connection is answered: the end of the last one may not be noticed yet.
pub(super) async fn answers_soon(port: &Port) {
    while !port.answers().await {
        tokio::time::sleep(SHORT / 10).await;
    }
}

/// A connection that is surely served: it has been answered, and stays.
pub(super) async fn held(port: &Port) -> TcpStream {
    let mut stream = port.say(b"GET / HTTP/1.1\r\nhost: chirm\r\n\r\n").await;
    until(&mut stream, "tls=false").await;
    stream
}

#[tokio::test]
async fn an_address_has_only_so_many() {
    let port = Port::start(|config| config.limits.connections_per_address = Some(2)).await;
    let first = held(&port).await;
    let mut second = held(&port).await;
    assert!(!port.answers().await);
    second.write_all(REQUEST.as_bytes()).await.unwrap();
    assert!(
        !rest(&mut second).await.is_empty(),
        "those inside are not disturbed"
    );
    drop((first, second));
    answers_soon(&port).await;
}

#[tokio::test]
async fn all_have_only_so_many_even_where_an_address_may_have_any() {
    let port = Port::start(|config| {
        config.limits.connections = 2;
        config.limits.connections_per_address = None;
    })
    .await;
    let first = held(&port).await;
    let _second = held(&port).await;
    assert!(!port.answers().await);
    drop(first);
    answers_soon(&port).await;
}

#[tokio::test]
async fn an_upgraded_connection_still_counts() {
    let port = Port::start(|config| config.limits.connections_per_address = Some(1)).await;
    let upgrade = "GET /upgrade HTTP/1.1\r\nhost: chirm\r\nconnection: upgrade\r\n\
                   upgrade: echo\r\n\r\n";
    let mut stream = port.say(upgrade.as_bytes()).await;
    assert!(
        until(&mut stream, "\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 101")
    );
    stream.write_all(b"echo me").await.unwrap();
    assert_eq!(until(&mut stream, "me").await, "echo me");
    assert!(!port.answers().await);
    drop(stream);
    answers_soon(&port).await;
}
