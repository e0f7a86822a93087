//! Upstreams over TLS, with an authority of our own.

use std::sync::Arc;

use azure_openai_proxy::simulator::{Cut, Mark, Play};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::helpers::*;
use crate::raw::{ByHand, chunk, delta, read_request};

/// An authority and the TLS settings of a server that it vouches for.
struct Authority {
    roots: RootCertStore,
    acceptor: TlsAcceptor,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::clone(issuer.der())).unwrap();

    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    Authority {
        roots,
        acceptor: TlsAcceptor::from(Arc::new(config)),
    }
}

/// A proxy that reaches its first resource only through a TLS front end, and its second one without.
async fn behind_tls(authority: &Authority, trusted: RootCertStore) -> TestApp {
    let front = ByHand::bind().await;
    let base = format!("https://{}", front.authority());
    let app = front
        .pool(&["b"])
        .var("AZURE_INSTANCE_A_API_BASE", base)
        .trusting(trusted)
        .start()
        .await;
    let acceptor = authority.acceptor.clone();
    let resource = app.sims[0].addr();
    actix_rt::spawn(async move {
        loop {
            let accepted = acceptor.accept(front.accept().await);
            actix_rt::spawn(async move {
                let Ok(mut near) = accepted.await else {
                    return;
                };
                let mut far = TcpStream::connect(resource).await.unwrap();
                // A FIN of the resource becomes a clean close_notify.
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    app
}

#[actix_web::test]
async fn answers_and_streams_pass_over_tls_and_connections_are_used_again() {
    let authority = authority();
    let app = behind_tls(&authority, authority.roots.clone()).await;

    for _ in 0..3 {
        let answer = app.chat(&chat("hello", 50)).await;
        let stream = app.chat(&chat_stream("hello", 50)).await;

        assert_eq!(
            (answer.status, answer.instance()),
            (200.try_into().unwrap(), "a")
        );
        assert!(stream.text().ends_with("data: [DONE]\n\n"));
    }

    let seen = app.sims[0].requests();
    assert!(
        seen.iter()
            .all(|request| request.header("api-key") == Some("simulated-key"))
    );
    assert_eq!(app.sims[0].counters().connections, 1);
    app.finish().await;
}

#[actix_web::test]
async fn a_clean_tls_end_in_the_middle_of_an_answer_is_a_cut() {
    let authority = authority();
    let app = behind_tls(&authority, authority.roots.clone()).await;
    let cut = |after, how| Play::Cut { after, how };

    // Short of the content-length, between two chunks, inside a chunk.
    for how in [Cut::ShortContentLength, Cut::Fin, Cut::MidChunk] {
        app.sims[0].play([
            cut(Mark::Bytes(200), how),
            cut(Mark::Events(4), how),
            Play::Honest,
        ]);

        let json = app.chat(&chat("one two three", 50)).await;
        let stream = app.chat(&chat_stream("one two three", 50)).await;

        assert_eq!(json.instance(), "b", "{how:?}");
        assert_eq!(json.json()["object"], "chat.completion");
        assert_eq!(stream.instance(), "a", "{how:?}");
        assert!(stream.text().contains("upstream_stream_ended"), "{how:?}");
        assert!(!stream.text().contains("[DONE]"));
        app.chat(&chat("well?", 5)).await;
        app.wait_for(0, "the end of it", |i| i["in_flight"] == 0)
            .await;
    }
    assert_eq!(app.instance(0).await["error_count"], 6);
    app.finish().await;
}

#[actix_web::test]
async fn a_stranger_gets_neither_the_request_nor_the_key() {
    let (stranger, trusted) = (authority(), authority());
    let app = behind_tls(&stranger, trusted.roots).await;

    let answer = app.chat(&chat("hello", 50)).await;

    assert_eq!(answer.instance(), "b");
    let instance = app
        .wait_for(0, "the error", |i| i["error_count"] == 1)
        .await;
    let error = instance["last_error"].as_str().unwrap();
    assert!(error.contains("certificate"), "{error}");
    assert!(app.sims[0].requests().is_empty());
    app.finish().await;
}

#[actix_web::test]
async fn an_untrusted_upstream_alone_is_a_502() {
    let (stranger, trusted) = (authority(), authority());
    let front = ByHand::bind().await;
    let base = format!("https://{}", front.authority());
    let app = front
        .pool(&[])
        .var("AZURE_INSTANCE_A_API_BASE", base)
        .trusting(trusted.roots)
        .start()
        .await;
    let refused = actix_rt::spawn(async move {
        let accepted = stranger.acceptor.accept(front.accept().await).await;
        match accepted {
            Ok(mut near) => read_request(&mut near).await.is_none(),
            Err(_) => true,
        }
    });

    let answer = app.chat(&chat("hello", 50)).await;

    assert_refused(&answer, 502, "upstream_unreachable");
    assert!(refused.await.unwrap(), "a request went to a stranger");
    app.finish().await;
}

#[actix_web::test]
async fn an_answer_that_ends_with_its_tls_connection_is_complete_if_it_says_so() {
    let authority = authority();
    let front = ByHand::bind().await;
    let base = format!("https://{}", front.authority());
    let app = front
        .pool(&[])
        .var("AZURE_INSTANCE_A_API_BASE", base)
        .trusting(authority.roots.clone())
        .start()
        .await;
    let body = delta("hi") + "data: [DONE]\n\n";
    let framed = format!("{}0\r\n\r\n", chunk(&body));
    let served = actix_rt::spawn(async move {
        let mut near = authority
            .acceptor
            .accept(front.accept().await)
            .await
            .unwrap();
        read_request(&mut near).await.unwrap();
        let head = crate::raw::STREAM_HEAD.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
        near.write_all((head + &framed).as_bytes()).await.unwrap();
        near.shutdown().await.unwrap();
    });

    let answer = app.chat(&chat_stream("hello", 50)).await;

    assert_eq!(answer.text(), body);
    assert_eq!(app.instance(0).await["error_count"], 0);
    served.await.unwrap();
    app.finish().await;
}
