//! Retries, redirects and errors.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use longshore_transfer::{
    Call, Client, Clock as _, Headers, Method, Payload, Request, Response, TransferError, Transport, TransportError,
    Url,
};

use crate::support::{Counted, Fake, Reply, client, reply};

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

#[test]
fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
    for (status, expected) in
        [(500, 6), (502, 6), (503, 6), (504, 6), (408, 6), (403, 1), (400, 1), (405, 1), (501, 1), (507, 1)]
    {
        let fake = Fake::new(move |_| reply(status, &[], b""));
        let (client, _) = client(&fake);
        let error = client.send(&Call::get(&url("http://h/x")), &|| false).unwrap_err();
        assert_eq!((error.status(), fake.requests().len()), (Some(status), expected), "{status}");
    }
    let fake = Fake::new(|_| Reply::Unreachable);
    let (client, clock) = client(&fake);
    let error = client.send(&Call::get(&url("http://h/x")), &|| false).unwrap_err();
    assert!(matches!(error, TransferError::Transport { .. }), "{error:?}");
    assert_eq!(fake.requests().len(), 6);
    // 1, 2, 4, 8 and 16 seconds, and up to a quarter more.
    assert!((31..40).contains(&clock.now().as_secs()), "{:?}", clock.now());
}

#[test]
fn a_full_disk_is_not_waited_for() {
    let body = br#"{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{"Err":28,"x":"write: no space left on device"}}]}"#;
    let fake = Fake::new(|_| reply(500, &[], body));
    let error = client(&fake).0.send(&Call::get(&url("http://h/x")), &|| false).unwrap_err();
    assert_eq!(fake.requests().len(), 1);
    assert!(error.to_string().contains("no space left") && error.hint().unwrap().contains("room"), "{error}");
}

#[test]
fn a_host_is_given_the_time_that_it_asks_for() {
    for (header, value) in [("Retry-After", "7"), ("RateLimit", "\"resolvers\";r=0;t=7")] {
        let mut count = 0;
        let fake = Fake::new(move |_| {
            count += 1;
            if count == 1 { reply(429, &[(header, value)], b"") } else { reply(200, &[], b"ok") }
        });
        let (client, clock) = client(&fake);
        let (_, body) = client.read(&Call::get(&url("http://h/x")), 10, &|| false).unwrap();
        assert_eq!((body.as_slice(), clock.now()), (&b"ok"[..], Duration::from_secs(7)));
    }
    let fake = Fake::new(|_| reply(429, &[("Retry-After", "4000")], b""));
    let (client, _) = client(&fake);
    let error = client.send(&Call::get(&url("http://h/x")), &|| false).unwrap_err();
    assert_eq!((error.status(), fake.requests().len()), (Some(429), 1));
}

#[test]
fn one_refusal_holds_every_user_of_the_host() {
    let mut count = 0;
    let fake = Fake::new(move |seen| {
        count += 1;
        if count == 1 { reply(429, &[("Retry-After", "9")], b"") } else { reply(200, &[("X-Url", &seen.url)], b"") }
    });
    let (client, clock) = client(&fake);
    let looks = AtomicUsize::new(0);
    let stop = || looks.fetch_add(1, Ordering::Relaxed) >= 2;
    // This user gives up while it waits; another one of the same client waits all the same.
    assert!(matches!(client.send(&Call::get(&url("http://h/a")), &stop), Err(TransferError::Cancelled)));
    client.clone().send(&Call::get(&url("http://h/b")), &|| false).unwrap();
    assert!(clock.now() >= Duration::from_secs(9));
    client.send(&Call::get(&url("http://other/b")), &|| false).unwrap();
}

#[test]
fn redirects_are_followed_five_times_and_never_out_of_https() {
    let fake = Fake::new(|seen| match seen.url.as_str() {
        "http://h/5" => reply(200, &[], b"here"),
        "https://s/1" => reply(307, &[("Location", "http://h/5")], b""),
        "http://h/none" => reply(302, &[], b""),
        "http://h/bad" => reply(302, &[("Location", "file:///etc/passwd")], b""),
        url if url.starts_with("http://h/n") => {
            let n: u32 = url.rsplit('n').next().unwrap().parse().unwrap();
            reply(302, &[("Location", if n == 4 { "5" } else { ["n1", "n2", "n3", "n4"][n as usize] })], b"")
        }
        _ => reply(302, &[("Location", "?again")], b""),
    });
    let (client, _) = client(&fake);
    let get = |text: &str| client.read(&Call::get(&url(text)), 10, &|| false);
    let (answer, body) = get("http://h/n0").unwrap();
    assert_eq!((answer.url.to_string().as_str(), body.as_slice()), ("http://h/5", &b"here"[..]));
    for (from, problem) in [("https://s/1", "leaves https"), ("http://h/loop", "five"), ("http://h/none", "no address")]
    {
        let error = get(from).unwrap_err();
        assert!(error.to_string().contains(problem), "{from}: {error}");
    }
    assert!(get("http://h/bad").is_err());
    let put = url("http://h/n0");
    let call = Call { payload: Payload::Bytes(b"x"), ..Call::new(Method::Put, &put) };
    assert_eq!(client.send(&call, &|| false).unwrap().status, 302);
}

#[test]
fn a_stream_is_opened_anew_for_each_attempt_and_its_errors_are_its_own() {
    let mut count = 0;
    let fake = Fake::new(move |seen| {
        count += 1;
        assert_eq!(seen.body, b"payload");
        if count < 3 { Reply::Unreachable } else { reply(201, &[], b"") }
    });
    let (client, _) = client(&fake);
    let open = || -> io::Result<Box<dyn Read>> { Ok(Box::new(&b"payload"[..])) };
    let put = url("http://h/x");
    let call = Call { payload: Payload::Stream { len: 7, open: &open }, ..Call::new(Method::Put, &put) };
    assert_eq!(client.send(&call, &|| false).unwrap().status, 201);
    let open = || -> io::Result<Box<dyn Read>> { Err(io::ErrorKind::NotFound.into()) };
    let call = Call { payload: Payload::Stream { len: 7, open: &open }, ..Call::new(Method::Put, &put) };
    assert!(client.send(&call, &|| false).is_err());
    assert_eq!(fake.requests().len(), 3);
}

#[test]
fn no_body_is_read_without_a_bound() {
    let fake = Fake::new(|_| reply(200, &[], &[7; 1000]));
    let (client, _) = client(&fake);
    let read = |limit| client.read(&Call::get(&url("http://h/x")), limit, &|| false);
    assert!(matches!(read(999), Err(TransferError::TooLarge { limit: 999, .. })));
    assert_eq!(read(1000).unwrap().1.len(), 1000);
}

#[test]
fn packed_bodies_are_refused() {
    let fake = Fake::new(|seen| {
        assert_eq!(seen.header("accept-encoding"), Some("identity"));
        reply(200, &[("Content-Encoding", "gzip")], b"\x1f\x8b")
    });
    let error = client(&fake).0.send(&Call::get(&url("http://h/x")), &|| false).unwrap_err();
    assert!(matches!(error, TransferError::Encoding { .. }), "{error:?}");
}

#[test]
fn what_a_host_says_is_shown_without_queries_and_control_characters() {
    let body = br#"{"errors":[{"code":"DENIED\u001b[2J","message":"see https://cdn/x?sig=secret \u0007now"}]}"#;
    let fake = Fake::new(|_| reply(403, &[], body));
    let error = client(&fake).0.send(&Call::get(&url("https://h/x?sig=secret")), &|| false).unwrap_err();
    assert_eq!(error.to_string(), "https://h/x?… answers 403: see https://cdn/x now");
    assert_eq!(error.code(), Some("DENIED[2J"));
    assert!(!format!("{error:?}").contains("secret"));
    let fake = Fake::new(|_| reply(404, &[], b"<html>secret</html>"));
    assert_eq!(client(&fake).0.send(&Call::get(&url("https://h/x")), &|| false).unwrap().status, 404);
}

/// A host whose bodies come a byte at a time, each after three seconds, and never end.
struct Dripping(u16, Arc<Counted>);

impl Transport for Dripping {
    fn send(&self, _: Request<'_>) -> Result<Response, TransportError> {
        struct Body(Arc<Counted>);
        impl Read for Body {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.sleep(Duration::from_secs(3));
                buffer[0] = b' ';
                Ok(1)
            }
        }
        Ok(Response { status: self.0, headers: Headers::default(), body: Box::new(Body(self.1.clone())) })
    }
}

#[test]
fn no_document_and_no_message_may_drip_for_ever() {
    for (status, attempts, seconds) in [(200, 6, 300), (403, 1, 10)] {
        let clock = Arc::new(Counted::default());
        let client = Client::new(Arc::new(Dripping(status, clock.clone()))).with_clock(clock.clone());
        assert!(client.read(&Call::get(&url("http://h/x")), 1 << 20, &|| false).is_err());
        let took = clock.now().as_secs();
        assert!((attempts * seconds..attempts * (seconds + 10)).contains(&took), "{status}: {took}");
        let begun = clock.now();
        let stop = || clock.now() > begun + Duration::from_secs(6);
        assert!(client.read(&Call::get(&url("http://h/x")), 1 << 20, &stop).is_err());
        assert!(clock.now() < begun + Duration::from_secs(13), "{status}");
    }
}

#[test]
fn queries_and_passwords_in_a_hosts_message_are_left_out() {
    let body = br#"{"error":"no /cdn/x?sig=secret and https://me:secret@h/x?sig=secret"}"#;
    let fake = Fake::new(|_| reply(403, &[], body));
    let error = client(&fake).0.send(&Call::get(&url("http://h/x")), &|| false).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("secret") && shown.contains("no /cdn/x and"), "{shown}");
}
