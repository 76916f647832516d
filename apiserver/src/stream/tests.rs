//! Streams without a network: locations, frames, and a whole session between the two protocols.

use super::location::{self, Error};
use super::remote_command::{Session, Wanted};
use super::spdy::{self, Frame};
use api_types::core::v1::{Container, Node, NodeAddress, Pod};
use bytes::{Bytes, BytesMut};
use std::io::Read as _;

fn pod(containers: &[&str]) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = "p".into();
    pod.metadata.namespace = "ns".into();
    pod.spec.containers =
        containers.iter().map(|name| Container { name: (*name).into(), ..Default::default() }).collect();
    pod
}

fn query(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn the_container_is_found_or_asked_for() {
    assert_eq!(location::container(&pod(&["a"]), ""), Ok("a"));
    assert_eq!(location::container(&pod(&["a", "b"]), "b"), Ok("b"));
    let text = |asked: &str| location::container(&pod(&["a", "b"]), asked).expect_err("an error").to_string();
    assert_eq!(text(""), "a container name must be specified for pod p, choose one of: [a b]");
    assert_eq!(text("c"), "container c is not valid for pod p");
}

#[test]
fn options_take_the_kubelets_names() {
    let exec = query(&[
        ("command", "sh -c"),
        ("command", "a&b"),
        ("stdin", "true"),
        ("stdout", "true"),
        ("tty", "true"),
    ]);
    assert_eq!(
        location::remote_command("exec", &pod(&["a"]), &exec).expect("a path"),
        "/exec/ns/p/a?input=1&output=1&tty=1&command=sh%20-c&command=a%26b"
    );
    assert_eq!(
        location::remote_command("exec", &pod(&["a"]), &query(&[("command", "x")])),
        Err(Error::NoStream)
    );
    assert_eq!(
        location::remote_command("exec", &pod(&["a"]), &query(&[("stdout", "true")])),
        Err(Error::NoCommand)
    );
    assert_eq!(
        location::log(&pod(&["a"]), &query(&[("tailLines", "5"), ("pretty", "1")])).expect("a path"),
        "/containerLogs/ns/p/a?tailLines=5"
    );
}

#[test]
fn a_node_is_reached_by_the_preferred_address() {
    let mut node = Node::default();
    for (ty, address) in [("InternalIP", "10.0.0.1"), ("Hostname", "n1")] {
        node.status.addresses.push(NodeAddress { type_: ty.into(), address: address.into() });
    }
    node.status.daemon_endpoints.kubelet_endpoint.port = 10250;
    assert_eq!(
        location::kubelet(&node, &["Hostname", "InternalIP"], 1).expect("an address"),
        "https://n1:10250"
    );
    assert!(location::kubelet(&node, &["ExternalIP"], 1).is_err());
    assert_eq!(location::node_of(&pod(&[])), Err(Error::NotScheduled("p".into())));
}

#[test]
fn frames_are_taken_only_whole() {
    let whole = spdy::data(3, b"hello", true);
    let mut buffer = BytesMut::from(&whole[..10]);
    assert_eq!(spdy::decode(&mut buffer), None);
    buffer.extend_from_slice(&whole[10..]);
    buffer.extend_from_slice(&spdy::ping(7));
    let expected = Frame::Data { stream: 3, bytes: Bytes::from_static(b"hello"), fin: true };
    assert_eq!(spdy::decode(&mut buffer), Some(expected));
    assert_eq!(spdy::decode(&mut buffer), Some(Frame::Ping(7)));
    assert!(buffer.is_empty());
}

/// The header blocks of SYN_STREAM frames, inflated as a peer does it: one context for all.
fn stream_types(mut bytes: &[u8]) -> Vec<String> {
    let mut blocks = Vec::new();
    while !bytes.is_empty() {
        let length = usize::from(bytes[6]) << 8 | usize::from(bytes[7]);
        assert_eq!(&bytes[..4], [0x80, 3, 0, 1]);
        blocks.extend_from_slice(&bytes[18..8 + length]);
        bytes = &bytes[8 + length..];
    }
    let mut plain = Vec::new();
    // The stream has no end of its own: what is there is read, then the reader complains.
    let _: std::io::Result<usize> = flate2::read::ZlibDecoder::new(&blocks[..]).read_to_end(&mut plain);
    let word = b"streamtype";
    let mut types = Vec::new();
    while let Some(at) = plain.windows(word.len()).position(|w| w == word) {
        let rest = plain.split_off(at + word.len());
        let length = usize::from(rest[3]);
        types.push(String::from_utf8_lossy(&rest[4..4 + length]).into_owned());
        plain = rest[4 + length..].to_vec();
    }
    types
}

#[test]
fn a_session_opens_the_streams_it_wants() {
    let (_, opening) = Session::open(Wanted::of("input=1&output=1&error=1&command=x"));
    assert_eq!(stream_types(&opening), ["error", "stdin", "stdout", "stderr"]);
    let (_, opening) = Session::open(Wanted::of("input=1&output=1&error=1&tty=1"));
    assert_eq!(stream_types(&opening), ["error", "stdin", "stdout", "resize"]);
}

#[test]
fn the_status_comes_after_all_output() {
    let (mut session, _) = Session::open(Wanted::of("input=1&output=1&error=1"));
    // Streams 1 error, 3 stdin, 5 stdout, 7 stderr.
    assert_eq!(session.inward(b"\x00abc"), Some(spdy::data(3, b"abc", false)));
    assert_eq!(session.inward(&[255, 0]), Some(spdy::data(3, b"", true)));
    assert_eq!(session.inward(b"\x01nonsense"), None);
    let said = |session: &mut Session, stream, bytes: &'static [u8], fin| {
        session.outward(Frame::Data { stream, bytes: Bytes::from_static(bytes), fin })
    };
    assert_eq!(said(&mut session, 1, b"{\"status\":\"Success\"}", true), None);
    assert_eq!(session.conclusion(), None);
    assert_eq!(said(&mut session, 5, b"out", true), Some(b"\x01out".to_vec()));
    assert_eq!(session.conclusion(), None);
    assert_eq!(said(&mut session, 7, b"", true), None);
    assert_eq!(session.conclusion(), Some(b"\x03{\"status\":\"Success\"}".to_vec()));
}

#[test]
fn a_subprotocol_counts_for_its_own_subresource() {
    use super::Way;
    let way = |subresource: &str, upgrade: &str, protocols: &'static str| {
        let mut headers = http::HeaderMap::new();
        if !upgrade.is_empty() {
            headers.insert("connection", "Upgrade".parse().expect("a header"));
            headers.insert("upgrade", upgrade.parse().expect("a header"));
            headers.insert("sec-websocket-protocol", protocols.parse().expect("a header"));
        }
        Way::of(subresource, &headers)
    };
    let both = "v5.channel.k8s.io,v4.channel.k8s.io";
    assert_eq!(way("exec", "websocket", both), Way::RemoteCommand);
    assert_eq!(way("attach", "websocket", "v4.channel.k8s.io"), Way::Raw);
    assert_eq!(way("portforward", "websocket", both), Way::Raw);
    assert_eq!(way("portforward", "websocket", super::tunnel::PROTOCOL), Way::Tunnel);
    assert_eq!(way("proxy", "websocket", both), Way::Raw);
    assert_eq!(way("log", "websocket", "binary.k8s.io"), Way::Log);
    assert_eq!(way("exec", "SPDY/3.1", ""), Way::Raw);
    assert_eq!(way("log", "", ""), Way::Plain);
}
