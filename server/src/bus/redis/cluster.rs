//! Which server of a cluster has which group.

use super::keys::{GROUPS, slot_of};
use redis::aio::MultiplexedConnection;
use redis::{Client, ConnectionAddr, IntoConnectionInfo as _, RedisError, Value};

/// Host and port of the server that has a group; None: nobody has it now.
pub(super) type Addresses = Vec<Option<(String, u16)>>;

/// Reads the map.
pub(super) async fn read(connection: &mut MultiplexedConnection) -> Result<Addresses, String> {
    let mut ask = redis::cmd("CLUSTER");
    let answer: Value = ask
        .arg("SLOTS")
        .query_async(connection)
        .await
        .map_err(|error| error.to_string())?;
    parse(&answer).ok_or_else(|| "its CLUSTER SLOTS isn't understood".into())
}

/// Reads what `CLUSTER SLOTS` answers: ranges of slots, each with its master first.
fn parse(answer: &Value) -> Option<Addresses> {
    let mut addresses = vec![None; GROUPS];
    for range in array(answer)? {
        let [first, last, master, ..] = array(range)? else {
            return None;
        };
        let (first, last) = (number(first)?, number(last)?);
        let [host, port, ..] = array(master)? else {
            return None;
        };
        let (host, port) = (text(host)?, u16::try_from(number(port)?).ok()?);
        for group in 0..=u8::MAX {
            if (first..=last).contains(&i64::from(slot_of(group))) {
                addresses[usize::from(group)] = Some((host.clone(), port));
            }
        }
    }
    Some(addresses)
}

fn array(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

/// A client for another server of the same cluster: with the same user, password and protection.
pub(super) fn client_at(template: &Client, host: &str, port: u16) -> Result<Client, RedisError> {
    let info = template.get_connection_info();
    let (host, here) = (host.to_owned(), info.addr().clone());
    let address = match here {
        // A node that doesn't know its own address says nothing: it is the one that was asked.
        ConnectionAddr::Tcp(known, _) if host.is_empty() => ConnectionAddr::Tcp(known, port),
        ConnectionAddr::TcpTls {
            host: known,
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host: if host.is_empty() { known } else { host },
            port,
            insecure,
            tls_params,
        },
        _ => ConnectionAddr::Tcp(host, port),
    };
    Client::open(info.clone().set_addr(address).into_connection_info()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read() {
        let node = |port| Value::Array(vec![Value::BulkString(b"h".to_vec()), Value::Int(port)]);
        let range = |first, last, port| {
            Value::Array(vec![
                Value::Int(first),
                Value::Int(last),
                node(port),
                node(9),
            ])
        };
        let map = Value::Array(vec![range(0, 9_999, 1), range(10_000, 14_000, 2)]);
        let addresses = parse(&map).unwrap();
        assert_eq!(addresses[1], Some(("h".into(), 1)), "slot 9842");
        assert_eq!(addresses[0], Some(("h".into(), 2)), "slot 13907");
        assert_eq!(addresses[255], None, "slot 14163");
        assert!(parse(&Value::Okay).is_none());
    }
}
