//! The real transport against a socket.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use longshore_transfer::{
    Call, Client, Download, Http, HttpOptions, Method, Payload, RetryOptions, TransferError, Url,
};

/// Answers each connection with the next text, after it has read a head and as many bytes as the head says. Returns the heads.
fn serve(answers: Vec<Vec<u8>>) -> (Url, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap()).parse().unwrap();
    let handle = thread::spawn(move || {
        let mut heads = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let length = head
                .to_ascii_lowercase()
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            heads.push(head + &String::from_utf8_lossy(&body));
            stream.write_all(&answer).unwrap();
        }
        heads
    });
    (url, handle)
}

fn client() -> Client {
    let retry = RetryOptions { first: std::time::Duration::ZERO, ..RetryOptions::default() };
    Client::new(Http::new(&HttpOptions::default()).unwrap()).with_retry(retry)
}

#[test]
fn a_cut_download_goes_on() {
    let first = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: \"a\"\r\nConnection: close\r\n\r\n0123".to_vec();
    let second =
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 6\r\nContent-Range: bytes 4-9/10\r\nConnection: close\r\n\r\n456789".to_vec();
    let (url, server) = serve(vec![first, second]);
    let mut bytes = Vec::new();
    client()
        .download(
            &Download::whole(&url, 10),
            &mut |part| {
                bytes.extend_from_slice(part);
                Ok(())
            },
            &|| false,
        )
        .unwrap();
    assert_eq!(bytes, b"0123456789");
    let heads = server.join().unwrap();
    assert!(heads[1].to_ascii_lowercase().contains("range: bytes=4-9\r\n"), "{}", heads[1]);
    assert!(heads[0].to_ascii_lowercase().contains("accept-encoding: identity\r\n"), "{}", heads[0]);
}

#[test]
fn bodies_are_sent_with_their_length() {
    let made = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
    let (url, server) = serve(vec![made.clone(), made.clone(), made]);
    let client = client();
    let open = || -> std::io::Result<Box<dyn std::io::Read>> { Ok(Box::new(&b"streamed"[..])) };
    for payload in [Payload::Stream { len: 8, open: &open }, Payload::Bytes(b"whole"), Payload::Empty] {
        let call = Call { payload, ..Call::new(Method::Put, &url) };
        assert_eq!(client.send(&call, &|| false).unwrap().status, 201);
    }
    let heads: Vec<String> = server.join().unwrap().iter().map(|head| head.to_ascii_lowercase()).collect();
    for (head, (length, body)) in heads.iter().zip([(8, "streamed"), (5, "whole"), (0, "")]) {
        assert!(
            head.contains(&format!("content-length: {length}\r\n")) && head.ends_with(&format!("\r\n{body}")),
            "{head}"
        );
        assert!(!head.contains("chunked"), "{head}");
    }
}

#[test]
fn a_host_that_is_not_there_is_an_error_that_names_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url: Url = format!("http://{}/x?secret", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let error = client().send(&Call::get(&url), &|| false).unwrap_err();
    assert!(matches!(error, TransferError::Transport { .. }), "{error:?}");
    assert!(error.to_string().contains("127.0.0.1") && !format!("{error} {error:?}").contains("secret"), "{error}");
}

#[test]
fn a_file_without_certificates_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    assert!(Http::new(&HttpOptions { ca_cert: Some(path.clone()), ..HttpOptions::default() }).is_err());
    std::fs::write(&path, "no certificate").unwrap();
    assert!(Http::new(&HttpOptions { ca_cert: Some(path), ..HttpOptions::default() }).is_err());
}
