//! Uploads that are refused: each for its reason, in words, before anybody is asked, and without a trace.

use bytes::Bytes;

use super::*;

#[actix_web::test]
async fn what_is_no_form_or_too_much_is_refused_by_name_however_much_has_come() {
    let site = Site::start(&[("MAX_BODY_BYTES", "2000000")]).await;
    let model = field("model", "whisper-1");
    let large = file("file", &sound(900_000));
    let torn = [large.clone(), model.clone()].concat();
    let header = format!(
        "--a-boundary\r\nX-Much: {}\r\n\r\n\r\n",
        "x".repeat(900_000)
    );
    let long_head = form(&[large.clone(), header.into_bytes()]);
    let many = form(&[large.clone(), field("a", "b").repeat(300), model.clone()]);
    let large_model = form(&[large.clone(), field("model", &"m".repeat(900_000))]);
    let odd_model = [
        &b"\r\nContent-Disposition: form-data; name=model\r\n\r\n\xff"[..],
        b"\r\n",
    ];
    let odd_model = [b"--a-boundary", &odd_model.concat()[..]].concat();
    let odd_model = form(&[large.clone(), odd_model]);
    let too_much = form(&[
        large.clone(),
        field("prompt", &"p".repeat(1_200_000)),
        model,
    ]);

    for (body, status, words, param) in [
        (
            torn.into(),
            400,
            "boundary that ends the form is missing",
            "",
        ),
        (long_head, 400, "headers of more than 4096 bytes", ""),
        (many, 400, "more than 256 parts", ""),
        (large_model, 400, "but got a longer one", "model"),
        (odd_model, 400, "expected a model name in UTF-8", "model"),
        (
            form(&[large]),
            400,
            "Missing required parameter: 'model'",
            "model",
        ),
        (too_much, 413, "MAX_BODY_BYTES", ""),
    ] as [(Bytes, _, _, _); 7]
    {
        for chunked in [false, true] {
            let answer = match chunked {
                true => send_chunked(&site.app, &body).await,
                false => post(&site.app, PATH, KIND, body.clone()).await,
            };

            assert_eq!(answer.status, status, "{words}: {}", answer.text());
            assert!(answer.text().contains(words), "{words}: {}", answer.text());
            let error = &answer.json()["error"];
            assert_eq!(error["param"].as_str().unwrap_or(""), param, "{error}");
        }
    }
    assert_eq!(asked(&site.app.sims), 0);
    site.finish().await;
}

/// Posts a form without telling its length.
async fn send_chunked(app: &TestApp, body: &Bytes) -> Answer {
    let pieces: Vec<_> = body.chunks(50_000).map(Bytes::copy_from_slice).collect();
    let pieces = pieces.into_iter().map(Ok::<_, std::io::Error>);
    let request = client().post(format!("{}{PATH}", app.url));
    let request = request.insert_header(("content-type", KIND));
    let sent = request
        .send_stream(futures_util::stream::iter(pieces))
        .await;
    read(sent.unwrap()).await
}

#[actix_web::test]
async fn a_form_without_a_boundary_is_refused_before_it_has_come() {
    let site = Site::start(&[]).await;
    let mut client = RawClient::connect(&site.app).await;

    let head = head("content-length: 5000000").replace(KIND, "multipart/form-data");
    client.send(head.as_bytes()).await;

    client.read_until("usable boundary").await;
    assert!(
        client.text().starts_with("HTTP/1.1 400"),
        "{}",
        client.text()
    );
    site.finish().await;
}

#[actix_web::test]
async fn without_a_folder_only_large_uploads_are_refused() {
    let site = Site::start(&[]).await;
    let nowhere = site.folder.path().join("gone");
    let app = pool_of_two().var("TMPDIR", nowhere.display()).start().await;
    let with = |bytes| form(&[file("file", &sound(bytes)), field("model", "whisper-1")]);

    let small = post(&app, PATH, KIND, with(200_000)).await;
    let large = post(&app, PATH, KIND, with(300_000)).await;
    let chat = app.chat(&chat("hello", 5)).await;

    assert_eq!((small.status.as_u16(), chat.status.as_u16()), (200, 200));
    assert_refused(&large, 507, "insufficient_storage");
    assert!(large.text().contains("TMPDIR"), "{}", large.text());
    assert!(!large.text().contains("gone"), "{}", large.text());
    let counted = r#"aoai_proxy_requests_total{endpoint="audio/transcriptions",status="507"}"#;
    assert_eq!(app.metric(counted).await, 1.0);
    app.finish().await;
    site.finish().await;
}

/// A form with a sound of this many bytes.
fn of(bytes: usize) -> Bytes {
    form(&[file("file", &sound(bytes)), field("model", "whisper-1")])
}

const ROOM: &str = "MAX_UPLOAD_STORAGE_BYTES";

#[actix_web::test]
async fn an_upload_that_others_leave_no_room_for_is_refused_until_they_are_served() {
    let site = Site::start(&[(ROOM, "1500000")]).await;
    let body = of(1_200_000);
    let mut first = RawClient::connect(&site.app).await;
    let length = format!("content-length: {}", body.len());
    first.send(head(&length).as_bytes()).await;
    first.send(&body[..1_000_000]).await;
    site.stores(700_000.0).await;

    for refused in [
        post(&site.app, PATH, KIND, body.clone()).await,
        send_chunked(&site.app, &body).await,
    ] {
        assert_refused(&refused, 507, "insufficient_storage");
        assert!(refused.text().contains(ROOM), "{}", refused.text());
        // There may be room in a moment.
        assert_eq!(refused.header("x-should-retry"), None);
    }
    let small = post(&site.app, PATH, KIND, of(200_000)).await;
    let chat = site.app.chat(&chat("hello", 5)).await;
    assert_eq!((small.status.as_u16(), chat.status.as_u16()), (200, 200));

    first.send(&body[1_000_000..]).await;
    first.read_until("I hear").await;
    site.is_clean().await;
    let again = post(&site.app, PATH, KIND, body).await;
    assert_eq!(again.status, 200, "{}", again.text());
    site.finish().await;
}

#[actix_web::test]
async fn an_upload_larger_than_all_the_room_is_refused_for_good() {
    let site = Site::start(&[(ROOM, "1500000")]).await;
    let body = of(1_600_000);
    let mut client = RawClient::connect(&site.app).await;

    // Before any of it has come, where its length is told.
    let length = format!("content-length: {}", body.len());
    client.send(head(&length).as_bytes()).await;
    client.read_until(ROOM).await;
    let chunked = send_chunked(&site.app, &body).await;

    assert!(client.text().starts_with("HTTP/1.1 507"));
    assert!(client.text().contains("x-should-retry: false"));
    assert_eq!(chunked.status, 507);
    assert_eq!(chunked.header("x-should-retry"), Some("false"));
    let exact = 1_500_000 - (body.len() - 1_600_000);
    let fitting = post(&site.app, PATH, KIND, of(exact)).await;
    assert_eq!(fitting.status, 200, "{}", fitting.text());
    site.finish().await;
}

#[actix_web::test]
async fn without_any_room_uploads_that_fit_into_memory_are_served() {
    let site = Site::start(&[(ROOM, "0")]).await;

    let small = post(&site.app, PATH, KIND, of(200_000)).await;
    let large = post(&site.app, PATH, KIND, of(300_000)).await;

    assert_eq!((small.status.as_u16(), large.status.as_u16()), (200, 507));
    site.finish().await;
}
