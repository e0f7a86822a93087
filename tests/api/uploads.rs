//! Uploads that are too large for memory: they wait in files without names, whole before anybody is asked, and nothing
//! of them stays behind, whatever becomes of the client, the instances or the folder.

use std::fs;
use std::path::{Path, PathBuf};

use azure_openai_proxy::simulator::{Play, Simulator};
use bytes::Bytes;
use tempfile::TempDir;

use crate::forms::{KIND, field, file, form, pool_of_two, post};
use crate::helpers::*;
use crate::raw::RawClient;

const PATH: &str = "/v1/audio/transcriptions";

/// The gauge of what lies in files.
const IN_FILES: &str = "aoai_proxy_upload_file_bytes";

/// Two instances, and a folder for uploads alone.
struct Site {
    app: TestApp,
    folder: TempDir,
}

impl Site {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let pool = pool_of_two().var("TMPDIR", folder.path().display());
        let pool = settings
            .iter()
            .fold(pool, |pool, (name, value)| pool.var(name, value));
        let app = pool.start().await;
        Self { app, folder }
    }

    /// Files of the folder that are open, without names as they are.
    fn open_files(&self) -> Vec<PathBuf> {
        let open = fs::read_dir("/proc/self/fd").unwrap();
        let open = open.filter_map(|entry| Some(entry.ok()?.path()));
        let is_ours = |link: &PathBuf| {
            fs::read_link(link).is_ok_and(|target| target.starts_with(self.folder.path()))
        };
        open.filter(is_ours).collect()
    }

    /// Waits until nothing is left of any upload.
    async fn is_clean(&self) {
        self.app.wait_for_metric(IN_FILES, 0.0).await;
        eventually("the end of every file", || self.open_files().is_empty()).await;
        assert_eq!(fs::read_dir(self.folder.path()).unwrap().count(), 0);
    }

    async fn finish(self) {
        self.is_clean().await;
        self.app.finish().await;
    }
}

/// Bytes of every kind.
fn sound(bytes: usize) -> Vec<u8> {
    (0..=255).cycle().take(bytes).collect()
}

/// The head of an upload whose length is told by `framing`.
fn head(framing: &str) -> String {
    format!("POST {PATH} HTTP/1.1\r\nhost: proxy\r\ncontent-type: {KIND}\r\n{framing}\r\n\r\n")
}

fn asked(sims: &[Simulator]) -> u64 {
    sims.iter().map(|sim| sim.counters().connections).sum()
}

#[actix_web::test]
async fn a_large_upload_waits_in_a_file_and_is_sent_to_one_instance_after_the_other() {
    let site = Site::start(&[]).await;
    site.app.sims[0].play([Play::server_error()]);
    let large = sound(3_000_000);
    let with = |model| form(&[file("file", &large), field("model", model)]);

    let answer = post(&site.app, PATH, KIND, with("gpt-4o-transcribe")).await;

    assert_eq!((answer.status.as_u16(), answer.instance()), (200, "b"));
    let dated = &site.app.sims[0].requests()[0];
    assert!(dated.body == with("gpt-4o-transcribe"), "other bytes");
    let v1 = &site.app.sims[1].requests()[0];
    assert!(v1.body == with("my-ears"), "other bytes");
    for seen in [dated, v1] {
        let length = seen.body.len().to_string();
        assert_eq!(seen.header("content-length"), Some(&*length));
    }
    site.finish().await;
}

#[actix_web::test]
async fn a_large_image_loses_its_model_or_gets_one_in_the_path_of_each_form() {
    let site = Site::start(&[]).await;
    let large = sound(700_000);
    let images = || [file("image[]", &large), file("image[]", &large)].concat();
    let prompt = || field("prompt", &"A dot. ".repeat(10_000));
    let path = "/openai/deployments/gpt-image-1/images/edits";
    let with = form(&[images(), field("model", "gpt-image-1"), prompt()]);
    let without = form(&[images(), prompt()]);

    site.app.sims[0].play([Play::Honest, Play::server_error()]);
    for body in [with, without.clone()] {
        let answer = post(&site.app, path, KIND, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    for seen in site.app.sims[0].requests() {
        assert!(seen.body == without, "other bytes");
    }
    let added = form(&[field("model", "my-image"), images(), prompt()]);
    assert!(site.app.sims[1].requests()[0].body == added, "other bytes");
    site.finish().await;
}

#[actix_web::test]
async fn nobody_is_asked_before_an_upload_is_whole_nor_when_its_client_leaves() {
    let site = Site::start(&[]).await;
    for framing in ["content-length: 5000000", "transfer-encoding: chunked"] {
        let mut client = RawClient::connect(&site.app).await;
        client.send(head(framing).as_bytes()).await;
        let part = [file("file", &sound(1_000_000)), field("model", "whisper-1")].concat();
        if framing.contains("chunked") {
            client
                .send(format!("{:x}\r\n", part.len()).as_bytes())
                .await;
        }
        client.send(&part).await;
        eventually("a file", || site.open_files().len() == 1).await;
        let a = site.app.instance(0).await;
        assert_eq!(
            (a["in_flight"].as_u64(), a["current_tpm"].as_u64()),
            (Some(0), Some(0))
        );

        match framing.contains("chunked") {
            true => client.reset(),
            false => {
                client.half_close().await;
                client.read_to_end().await;
                assert!(
                    !client.text().starts_with("HTTP/1.1 2"),
                    "{}",
                    client.text()
                );
            }
        }
        site.is_clean().await;
    }
    assert_eq!(asked(&site.app.sims), 0);
    site.finish().await;
}

#[actix_web::test]
async fn a_client_that_falls_silent_is_told_so() {
    let site = Site::start(&[("CLIENT_BODY_TIMEOUT_SECS", "0.3")]).await;
    let mut client = RawClient::connect(&site.app).await;

    client
        .send(head("content-length: 5000000").as_bytes())
        .await;
    client.send(&file("file", &sound(600_000))).await;

    client.read_until("CLIENT_BODY_TIMEOUT_SECS").await;
    assert!(
        client.text().starts_with("HTTP/1.1 408"),
        "{}",
        client.text()
    );
    site.finish().await;
}

#[actix_web::test]
async fn what_follows_the_announced_length_is_no_part_of_the_upload() {
    let site = Site::start(&[]).await;
    let body = form(&[field("model", "whisper-1"), file("file", &sound(600_000))]);
    let mut client = RawClient::connect(&site.app).await;
    let length = format!("content-length: {}", body.len());

    client.send(head(&length).as_bytes()).await;
    client.send(&body).await;
    client.send(b"--a-boundary--\r\n\r\n").await;

    // It is no request either, so the server may close before it has answered the upload.
    client.read_to_end().await;
    assert!(client.text().matches("HTTP/1.1 200").count() <= 1);
    for seen in site.app.sims[0].requests() {
        assert!(seen.body == body, "other bytes");
    }
    site.finish().await;
}

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
async fn fields_that_nobody_here_reads_may_hold_anything() {
    let site = Site::start(&[]).await;
    let odd = [
        b"--a-boundary\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n",
        &sound(900_000)[..],
        b"\r\n",
    ];
    let body = form(&[
        odd.concat(),
        field("model", "whisper-1"),
        file("file", b"RIFF"),
    ]);
    site.app.sims[0].play([Play::status(200, "{}")]);

    let answer = post(&site.app, PATH, KIND, body.clone()).await;

    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(site.app.sims[0].requests()[0].body == body, "other bytes");
    site.finish().await;
}

#[actix_web::test]
async fn a_client_that_leaves_while_its_upload_is_served_leaves_nothing() {
    let site = Site::start(&[]).await;
    site.app.sims[0].play([Play::StallBeforeHead]);
    let body = form(&[field("model", "whisper-1"), file("file", &sound(2_000_000))]);
    let mut client = RawClient::connect(&site.app).await;
    let length = format!("content-length: {}", body.len());
    client.send(head(&length).as_bytes()).await;
    client.send(&body).await;
    eventually("the request", || site.app.sims[0].requests().len() == 1).await;
    assert_eq!(site.open_files().len(), 1);

    client.reset();

    site.app.settled(0).await;
    assert_eq!(site.app.sims[1].counters().requests, 0);
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
    assert_eq!(
        (large.status.as_u16(), &*large.code()),
        (507, "insufficient_storage")
    );
    assert!(large.text().contains("TMPDIR"), "{}", large.text());
    assert!(!large.text().contains("gone"), "{}", large.text());
    let counted = r#"aoai_proxy_requests_total{endpoint="audio/transcriptions",status="507"}"#;
    assert_eq!(app.metric(counted).await, 1.0);
    app.finish().await;
    site.finish().await;
}

#[actix_web::test]
async fn an_upload_that_cannot_be_read_again_ends_as_our_own_fault() {
    let site = Site::start(&[("UPSTREAM_FIRST_BYTE_TIMEOUT_SECS", "1")]).await;
    site.app.sims[0].play([Play::StallBeforeHead]);
    let body = form(&[file("file", &sound(2_000_000)), field("model", "whisper-1")]);
    let spoil = async {
        eventually("the request", || site.app.sims[0].requests().len() == 1).await;
        truncate(&site.open_files()[0]);
    };

    let (answer, ()) = tokio::join!(post(&site.app, PATH, KIND, body), spoil);

    assert_eq!(
        (answer.status.as_u16(), &*answer.code()),
        (500, "internal_error")
    );
    assert_eq!(site.app.instance(1).await["error_count"], 0);
    site.finish().await;
}

/// Takes the bytes away from under the proxy, as a failing disk would.
fn truncate(file: &Path) {
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(10).unwrap();
}

#[actix_web::test]
async fn many_uploads_at_once_are_kept_apart() {
    let site = Site::start(&[("WORKERS", "2"), ("TOKEN_RATE_LIMIT", "1000000")]).await;
    let one = |number: u8| {
        form(&[
            file("file", &vec![number; 800_000]),
            field("model", "whisper-1"),
        ])
    };

    let posts = (0..16).map(|number| post(&site.app, PATH, KIND, one(number)));
    let answers = futures_util::future::join_all(posts).await;

    assert!(answers.iter().all(|answer| answer.status == 200));
    let seen = site.app.sims[0].requests();
    for number in 0..16 {
        assert!(
            seen.iter().any(|request| request.body == one(number)),
            "{number}"
        );
    }
    site.finish().await;
}
