//! Downloads under every fault.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use longshore_transfer::{Client, Download, TransferError, Url};

use crate::support::{Fake, Reply, Seen, client, reply};

fn content() -> Vec<u8> {
    (0..1_000_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect()
}

/// The range that a request asks for, as start and end.
fn asked(seen: &Seen) -> Option<(usize, usize)> {
    let (start, last) = seen.header("Range")?.strip_prefix("bytes=")?.split_once('-')?;
    Some((start.parse().ok()?, last.parse::<usize>().ok()? + 1))
}

/// Answers as a good server does.
fn serve(seen: &Seen, content: &[u8]) -> (u16, Vec<(&'static str, String)>, Vec<u8>) {
    let tag = ("ETag", "\"v1\"".to_owned());
    match asked(seen) {
        Some((start, end)) if seen.header("If-Range").is_none_or(|tag| tag == "\"v1\"") => {
            let range = format!("bytes {start}-{}/{}", end - 1, content.len());
            let part = content[start..end].to_vec();
            (206, vec![tag, ("Content-Range", range), ("Content-Length", part.len().to_string())], part)
        }
        _ => (200, vec![tag, ("Content-Length", content.len().to_string())], content.to_vec()),
    }
}

fn fetch(client: &Client, size: u64) -> Result<Vec<u8>, TransferError> {
    let url: Url = "http://h/blob".parse().unwrap();
    let mut bytes = Vec::new();
    client.download(
        &Download::whole(&url, size),
        &mut |part| {
            bytes.extend_from_slice(part);
            Ok(())
        },
        &|| false,
    )?;
    Ok(bytes)
}

#[test]
fn cuts_are_continued_where_they_happened() {
    let data = content();
    let fake = Fake::new({
        let data = data.clone();
        move |seen| {
            let (status, headers, mut body) = serve(seen, &data);
            let cut = body.len() > 100_000;
            body.truncate(100_000);
            Reply::Answer { status, headers, body, cut }
        }
    });
    let (client, _) = client(&fake);
    assert!(fetch(&client, data.len() as u64).unwrap() == data);
    let requests = fake.requests();
    assert_eq!(requests.len(), 10);
    assert_eq!(requests[3].header("Range"), Some("bytes=300000-999999"));
    assert_eq!(requests[3].header("If-Range"), Some("\"v1\""));
}

#[test]
fn a_server_without_ranges_is_read_past_what_is_there() {
    let data = content();
    let count = AtomicUsize::new(0);
    let fake = Fake::new({
        let data = data.clone();
        move |_| {
            let first = count.fetch_add(1, Ordering::Relaxed) == 0;
            let body = if first { data[..400_000].to_vec() } else { data.clone() };
            Reply::Answer { status: 200, headers: vec![("Content-Length", data.len().to_string())], body, cut: first }
        }
    });
    assert!(fetch(&client(&fake).0, data.len() as u64).unwrap() == data);
}

#[test]
fn a_part_is_a_part() {
    let data = content();
    let fake = Fake::new({
        let data = data.clone();
        move |seen| {
            let (status, headers, body) = serve(seen, &data);
            Reply::Answer { status, headers, body, cut: false }
        }
    });
    let url: Url = "http://h/blob".parse().unwrap();
    for (start, end) in [(0, 10), (10, 500_000), (999_999, 1_000_000), (5, 5)] {
        let mut bytes = Vec::new();
        let what = Download { url: &url, size: 1_000_000, start, end };
        client(&fake)
            .0
            .download(
                &what,
                &mut |part| {
                    bytes.extend_from_slice(part);
                    Ok(())
                },
                &|| false,
            )
            .unwrap();
        assert!(bytes == data[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()]);
    }
}

type Fault = fn(&Seen, &[u8]) -> Reply;

#[test]
fn wrong_answers_are_never_data() {
    let faults: [(&str, Fault); 8] = [
        ("a range one byte off", |seen, data| match asked(seen) {
            Some((start, end)) => {
                let range = format!("bytes {}-{}/{}", start + 1, end, data.len());
                Reply::Answer {
                    status: 206,
                    headers: vec![("Content-Range", range)],
                    body: data[start..end].to_vec(),
                    cut: false,
                }
            }
            None => Reply::Answer { status: 200, headers: vec![], body: data[..10].to_vec(), cut: true },
        }),
        ("another total", |seen, data| match asked(seen) {
            Some((start, end)) => {
                let range = format!("bytes {start}-{}/{}", end - 1, data.len() + 1);
                Reply::Answer {
                    status: 206,
                    headers: vec![("Content-Range", range)],
                    body: data[start..end].to_vec(),
                    cut: false,
                }
            }
            None => Reply::Answer { status: 200, headers: vec![], body: data[..10].to_vec(), cut: true },
        }),
        ("a length that is announced", |_, data| reply(200, &[("Content-Length", "10")], &data[..10])),
        ("a longer body", |_, data| reply(200, &[], &[data, b"x"].concat())),
        ("a shorter body", |_, _| reply(200, &[], b"")),
        ("a page", |_, _| reply(200, &[("Content-Length", "4"), ("Content-Type", "text/html")], b"<br>")),
        ("beyond the end", |_, _| reply(416, &[("Content-Range", "bytes */1000000")], b"")),
        ("nothing there", |_, _| reply(404, &[], b"")),
    ];
    for (what, fault) in faults {
        let data = content();
        let fake = Fake::new(move |seen| fault(seen, &data));
        let error = fetch(&client(&fake).0, 1_000_000);
        assert!(error.is_err(), "{what}");
        assert!(fake.requests().len() <= 8, "{what}: {}", fake.requests().len());
    }
}

#[test]
fn another_version_is_not_joined_to_the_first() {
    let data = content();
    let fake = Fake::new(move |seen| match asked(seen) {
        None => Reply::Answer {
            status: 200,
            headers: vec![("ETag", "\"v1\"".into())],
            body: data[..10].to_vec(),
            cut: true,
        },
        Some((start, end)) => {
            let range = format!("bytes {start}-{}/{}", end - 1, data.len());
            let headers = vec![("ETag", "\"v2\"".into()), ("Content-Range", range)];
            Reply::Answer { status: 206, headers, body: data[start..end].to_vec(), cut: false }
        }
    });
    assert!(matches!(fetch(&client(&fake).0, 1_000_000), Err(TransferError::Changed { .. })));
    // So it is where the host sends the other version whole.
    let data = content();
    let fake = Fake::new(move |seen| {
        let (tag, len, cut) = if asked(seen).is_none() { ("\"v1\"", 10, true) } else { ("\"v2\"", data.len(), false) };
        Reply::Answer { status: 200, headers: vec![("ETag", tag.into())], body: data[..len].to_vec(), cut }
    });
    assert!(matches!(fetch(&client(&fake).0, 1_000_000), Err(TransferError::Changed { .. })));
}

#[test]
fn an_expired_address_is_asked_for_anew() {
    let data = content();
    let issued = AtomicUsize::new(0);
    let fake = Fake::new({
        let data = data.clone();
        move |seen| {
            if seen.url == "http://h/blob" {
                let number = issued.fetch_add(1, Ordering::Relaxed);
                return reply(302, &[("Location", &format!("http://cdn/x?sig={number}"))], b"");
            }
            // Each signature is good for one part.
            if seen.url.ends_with("sig=1") {
                return reply(403, &[], b"<Error>expired</Error>");
            }
            let (status, headers, mut body) = serve(seen, &data);
            let cut = body.len() > 600_000;
            body.truncate(600_000);
            Reply::Answer { status, headers, body, cut }
        }
    });
    assert!(fetch(&client(&fake).0, 1_000_000).unwrap() == data);
    assert!(
        fake.requests().iter().filter(|seen| seen.url.starts_with("http://cdn")).all(|seen| seen.url.contains("sig="))
    );
}

#[test]
fn progress_starts_the_count_anew_and_its_lack_ends_it() {
    let data = content();
    let fake = Fake::new(move |seen| match asked(seen) {
        Some((start, _)) if start >= 20 => Reply::Unreachable,
        _ => {
            let (status, headers, mut body) = serve(seen, &data);
            body.truncate(2);
            Reply::Answer { status, headers, body, cut: true }
        }
    });
    assert!(fetch(&client(&fake).0, 1_000_000).is_err());
    assert_eq!(fake.requests().len(), 10 + 5);
}

#[test]
fn the_receivers_error_and_a_stop_end_it_at_once() {
    let data = content();
    let fake = Fake::new(move |seen| {
        let (status, headers, body) = serve(seen, &data);
        Reply::Answer { status, headers, body, cut: false }
    });
    let (client, _) = client(&fake);
    let url: Url = "http://h/blob".parse().unwrap();
    let what = Download::whole(&url, 1_000_000);
    let full = client.download(&what, &mut |_| Err(io::ErrorKind::StorageFull.into()), &|| false);
    assert!(matches!(full, Err(TransferError::Receiver(error)) if error.kind() == io::ErrorKind::StorageFull));
    let got = AtomicUsize::new(0);
    let mut accept = |part: &[u8]| {
        got.fetch_add(part.len(), Ordering::Relaxed);
        Ok(())
    };
    let stopped = client.download(&what, &mut accept, &|| got.load(Ordering::Relaxed) > 0);
    assert!(matches!(stopped, Err(TransferError::Cancelled)));
    assert!(got.load(Ordering::Relaxed) < 1_000_000);
}
