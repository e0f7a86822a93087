//! Uploads that are too large for memory: they wait in files without names, whole before anybody is asked, and nothing
//! of them stays behind, whatever becomes of the client, the instances or the folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use azure_openai_proxy::simulator::{Play, Simulator};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::forms::{KIND, field, file, form, pool_of_two, post};
use crate::helpers::*;
use crate::raw::{ByHand, RawClient};

const PATH: &str = "/v1/audio/transcriptions";

mod refused;

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

    /// Waits until this much lies in files.
    async fn stores(&self, at_least: f64) {
        let start = Instant::now();
        while self.app.metric(IN_FILES).await < at_least {
            assert!(start.elapsed() < SOON, "{at_least} bytes were not stored");
            actix_rt::time::sleep(Duration::from_millis(10)).await;
        }
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
async fn a_large_upload_is_sent_again_when_an_idle_connection_had_been_closed() {
    let site = Site::start(&[]).await;
    site.app.sims[0].play([Play::CloseOnReuse]);
    let body = form(&[file("file", &sound(1_500_000)), field("model", "whisper-1")]);

    for _ in 0..2 {
        let answer = post(&site.app, PATH, KIND, body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.instance()), (200, "a"));
    }

    let seen = site.app.sims[0].requests();
    assert_eq!(seen.len(), 3);
    assert!(
        seen.iter().all(|request| request.body == body),
        "other bytes"
    );
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
async fn what_follows_the_announced_length_is_the_next_request_and_no_part_of_the_upload() {
    let site = Site::start(&[]).await;
    let body = form(&[field("model", "whisper-1"), file("file", &sound(600_000))]);
    let mut client = RawClient::connect(&site.app).await;
    let length = format!("content-length: {}", body.len());
    let next = b"GET /v1/models/whisper-2 HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n\r\n";

    client
        .send(&[head(&length).as_bytes(), &body, next].concat())
        .await;
    client.read_to_end().await;

    let text = client.text();
    let statuses: Vec<&str> = text.matches("HTTP/1.1 ").collect();
    assert_eq!(statuses.len(), 2, "{text}");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.contains("The model `whisper-2` is not"), "{text}");
    let seen = site.app.sims[0].requests();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].body == body, "other bytes");
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
async fn an_upload_that_cannot_be_read_again_ends_as_our_own_fault() {
    let upstream = ByHand::bind().await;
    let base = format!("http://{}", upstream.authority());
    let site = Site::start(&[("AZURE_INSTANCE_A_API_BASE", &base)]).await;
    let body = form(&[file("file", &sound(2_000_000)), field("model", "whisper-1")]);
    let spoil = async {
        let mut line = upstream.request().await;
        truncate(&site.open_files()[0]);
        line.write("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n")
            .await;
        line
    };

    let (answer, _line) = tokio::join!(post(&site.app, PATH, KIND, body), spoil);

    assert_refused(&answer, 500, "internal_error");
    assert_eq!(site.app.instance(0).await["error_count"], 1);
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
