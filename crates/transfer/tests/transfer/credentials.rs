//! Who sees which credentials.

use std::sync::Arc;

use longshore_transfer::{Call, Client, FixedToken, Login, RegistryTokens, Secret, TransferError, Url};

use crate::support::{Fake, Reply, Seen, client, reply};

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

fn password() -> Login {
    Login::Password { user: "me".into(), password: Secret::new("secret") }
}

fn tokens(host: &str, login: Option<Login>) -> Arc<RegistryTokens> {
    Arc::new(RegistryTokens::new(url(host).origin().clone(), vec!["repository:a/b:pull".into()], login))
}

fn get(client: &Client, text: &str) -> Result<Vec<u8>, TransferError> {
    client.read(&Call::get(&url(text)), 1000, &|| false).map(|(_, body)| body)
}

#[test]
fn a_token_follows_no_redirect_to_another_host() {
    let fake = Fake::new(|seen| match seen.url.as_str() {
        "https://hub/x" => reply(302, &[("Location", "https://cdn/x?sig=1")], b""),
        "https://hub/port" => reply(302, &[("Location", "https://hub:8443/x")], b""),
        "https://hub/same" => reply(307, &[("Location", "/y")], b""),
        _ => reply(200, &[], b""),
    });
    let token = FixedToken::new(url("https://hub").origin().clone(), &Secret::new("hf_secret"));
    let client = client(&fake).0.with_authority(Arc::new(token));
    for path in ["x", "port", "same"] {
        get(&client, &format!("https://hub/{path}")).unwrap();
    }
    for seen in fake.requests() {
        let is_hub = seen.url.starts_with("https://hub/");
        assert_eq!(seen.header("authorization"), is_hub.then_some("Bearer hf_secret"), "{}", seen.url);
    }
}

#[test]
fn a_password_for_a_realm_follows_no_redirect_to_another_host() {
    let fake = Fake::new(|seen| match seen.url.split('?').next().unwrap() {
        "https://r/token" => reply(302, &[("Location", "https://evil/token")], b""),
        "https://evil/token" => reply(200, &[], br#"{"token":"t"}"#),
        _ if seen.header("Authorization") == Some("Bearer t") => reply(200, &[], b"in"),
        _ => reply(401, &[("WWW-Authenticate", r#"Bearer realm="https://r/token""#)], b""),
    });
    let client = client(&fake).0.with_authority(tokens("https://r", Some(password())));
    assert_eq!(get(&client, "https://r/v2/x").unwrap(), b"in");
    let seen = |host: &str| fake.requests().into_iter().find(|seen| seen.url.starts_with(host)).unwrap();
    assert_eq!(seen("https://r/token").header("Authorization"), Some("Basic bWU6c2VjcmV0"));
    assert_eq!(seen("https://evil/").header("Authorization"), None);
}

#[test]
fn secret_headers_of_a_call_stay_with_its_host() {
    let fake = Fake::new(|seen| match seen.url.as_str() {
        "https://h/x" => reply(302, &[("Location", "https://h:8443/y")], b""),
        "https://h:8443/y" => reply(302, &[("Location", "https://h/z")], b""),
        _ => reply(200, &[], b""),
    });
    let from = url("https://h/x");
    let mut call = Call::get(&from);
    call.headers = vec![("authorization", "a"), ("Cookie", "b"), ("Proxy-Authorization", "c"), ("Accept", "d")];
    client(&fake).0.read(&call, 10, &|| false).unwrap();
    let shown = |name: &str| fake.requests().iter().map(|seen| seen.header(name).is_some()).collect::<Vec<_>>();
    for name in ["Authorization", "Cookie", "Proxy-Authorization"] {
        assert_eq!(shown(name), [true, false, true], "{name}");
    }
    assert_eq!(shown("Accept"), [true; 3]);
}

#[test]
fn a_refusal_says_whether_a_login_was_given() {
    // The registry hands out tokens to everybody, and has something that they are not good for.
    let fake = Fake::new(|seen| {
        if seen.url.starts_with("https://r/token") {
            return reply(200, &[], br#"{"token":"t"}"#);
        }
        reply(401, &[("WWW-Authenticate", r#"Bearer realm="https://r/token""#)], b"")
    });
    for (login, expected) in [(None, false), (Some(password()), true)] {
        let error = get(&client(&fake).0.with_authority(tokens("https://r", login)), "https://r/v2/x").unwrap_err();
        assert!(matches!(error, TransferError::Unauthorized { given, .. } if given == expected), "{error:?}");
    }
    let error = get(&client(&fake).0, "https://r/v2/x").unwrap_err();
    assert!(matches!(error, TransferError::Unauthorized { given: false, .. }), "{error:?}");
    // A realm that refuses has seen the login.
    let fake = Fake::new(|_| reply(401, &[("WWW-Authenticate", r#"Bearer realm="https://r/token""#)], b""));
    let with = client(&fake).0.with_authority(tokens("https://r", Some(password())));
    let error = get(&with, "https://r/v2/x").unwrap_err();
    assert!(matches!(error, TransferError::Unauthorized { given: true, .. }), "{error:?}");
}

#[test]
fn nothing_goes_in_the_clear_to_another_machine() {
    let fake = Fake::new(|_| reply(200, &[], b""));
    let token = |host: &str| Arc::new(FixedToken::new(url(host).origin().clone(), &Secret::new("t")));
    let far = client(&fake).0.with_authority(token("http://hub.example"));
    let error = get(&far, "http://hub.example/x").unwrap_err();
    assert!(matches!(error, TransferError::Exposed { .. }), "{error:?}");
    assert!(fake.requests().is_empty());
    let near = client(&fake).0.with_authority(token("http://127.0.0.1:5000"));
    get(&near, "http://127.0.0.1:5000/x").unwrap();
    assert_eq!(fake.requests()[0].header("Authorization"), Some("Bearer t"));
}

#[test]
fn a_password_is_shown_only_when_asked_for() {
    let fake = Fake::new(|seen| match seen.header("Authorization") {
        Some("Basic bWU6c2VjcmV0") => reply(200, &[], b"in"),
        _ => reply(401, &[("WWW-Authenticate", "Basic realm=\"r\"")], b""),
    });
    let with = client(&fake).0.with_authority(tokens("https://r", Some(password())));
    assert_eq!(get(&with, "https://r/v2/").unwrap(), b"in");
    assert_eq!(get(&with, "https://r/v2/").unwrap(), b"in");
    let shown: Vec<bool> = fake.requests().iter().map(|seen| seen.header("Authorization").is_some()).collect();
    assert_eq!(shown, [false, true, true]);

    let without = client(&fake).0.with_authority(tokens("https://r", None));
    let error = get(&without, "https://r/v2/").unwrap_err();
    assert!(matches!(error, TransferError::Unauthorized { given: false, .. }), "{error:?}");
    let wrong = Some(Login::Password { user: "me".into(), password: Secret::new("wrong") });
    let error = get(&client(&fake).0.with_authority(tokens("https://r", wrong)), "https://r/v2/").unwrap_err();
    assert!(matches!(error, TransferError::Unauthorized { given: true, .. }), "{error:?}");
    let clear = client(&fake).0.with_authority(tokens("http://r", Some(password())));
    assert!(matches!(get(&clear, "http://r/v2/"), Err(TransferError::Exposed { .. })));
    assert!(
        !fake.requests().iter().any(|seen| seen.url.starts_with("http://") && seen.header("Authorization").is_some())
    );
}

/// A registry with tokens that are good for two requests.
fn registry(realm: &'static str) -> impl FnMut(&Seen) -> Reply + Send {
    let (mut number, mut uses) = (0, 0);
    move |seen| {
        if seen.url.starts_with(realm) {
            number += 1;
            uses = 0;
            return reply(200, &[], format!(r#"{{"token":"t{number}","expires_in":60}}"#).as_bytes());
        }
        let good = format!("Bearer t{number}");
        if seen.header("Authorization") == Some(&good) && uses < 2 {
            uses += 1;
            return reply(200, &[], b"in");
        }
        let asked = format!(r#"Bearer realm="{realm}",service="r",scope="repository:a/b:pull""#);
        reply(401, &[("WWW-Authenticate", &asked)], b"")
    }
}

#[test]
fn tokens_are_had_and_renewed() {
    let fake = Fake::new(registry("https://r/token"));
    let client = client(&fake).0.with_authority(tokens("https://r", Some(password())));
    for _ in 0..5 {
        assert_eq!(get(&client, "https://r/v2/x").unwrap(), b"in");
    }
    let asked: Vec<Seen> = fake.requests().into_iter().filter(|seen| seen.url.contains("/token")).collect();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0].url, "https://r/token?service=r&scope=repository%3Aa%2Fb%3Apull");
    assert_eq!(asked[0].header("Authorization"), Some("Basic bWU6c2VjcmV0"));
}

#[test]
fn a_password_goes_to_no_foreign_realm() {
    for realm in ["https://evil/token", "http://r/token"] {
        let fake = Fake::new(registry(realm));
        let error =
            get(&client(&fake).0.with_authority(tokens("https://r", Some(password()))), "https://r/v2/x").unwrap_err();
        assert!(matches!(error, TransferError::Exposed { .. }), "{error:?}");
        assert!(!error.to_string().contains("secret"));
        assert!(
            fake.requests().iter().all(|seen| seen.header("Authorization").is_none() && !seen.url.starts_with(realm))
        );
    }
    // A public model's token may come from anywhere: nothing is shown for it.
    let fake = Fake::new(registry("https://tokens.example/t"));
    assert_eq!(get(&client(&fake).0.with_authority(tokens("https://r", None)), "https://r/v2/x").unwrap(), b"in");
    // Docker Hub's realm is its own.
    let fake = Fake::new(registry("https://auth.docker.io/token"));
    let hub = client(&fake).0.with_authority(tokens("https://registry-1.docker.io", Some(password())));
    assert_eq!(get(&hub, "https://registry-1.docker.io/v2/x").unwrap(), b"in");
}

#[test]
fn an_identity_token_is_posted() {
    let fake = Fake::new(registry("https://r/token"));
    let login = Some(Login::Identity(Secret::new("id token")));
    assert_eq!(get(&client(&fake).0.with_authority(tokens("https://r", login)), "https://r/v2/x").unwrap(), b"in");
    let requests = fake.requests();
    let asked = requests.iter().find(|seen| seen.url == "https://r/token").unwrap();
    let body = String::from_utf8(asked.body.clone()).unwrap();
    assert_eq!(asked.method, "POST");
    assert!(body.contains("grant_type=refresh_token") && body.contains("refresh_token=id%20token"), "{body}");
}

#[test]
fn many_threads_ask_for_one_token() {
    let fake = Fake::new(|seen| {
        if seen.url.starts_with("https://r/token") {
            return reply(200, &[], b"{\"access_token\":\"t\"}");
        }
        match seen.header("Authorization") {
            Some("Bearer t") => reply(200, &[], b"in"),
            _ => reply(401, &[("WWW-Authenticate", "Bearer realm=\"https://r/token\"")], b""),
        }
    });
    let client = client(&fake).0.with_authority(tokens("https://r", None));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(get(&client, "https://r/v2/x").unwrap(), b"in"));
        }
    });
    assert_eq!(fake.requests().iter().filter(|seen| seen.url.contains("/token")).count(), 1);
}
