//! The least that the same HTTP server and client do: takes a request, sends it on, passes the answer back.
//!
//! No reading of bodies, no quota, no counting, no log: what the proxy costs beyond this is its own. It serves until it
//! is stopped; `against-nginx.sh` measures it beside the proxy.
//!
//! ```text
//! cargo bench --bench forward -- PORT UPSTREAM     for instance 3904 http://127.0.0.1:3901
//! ```

#![expect(
    clippy::print_stderr,
    reason = "a program of its own says how it is used"
)]

use actix_web::body::SizedStream;
use actix_web::error::ErrorBadGateway;
use actix_web::http::header;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use awc::{Client, Connector};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As many as the proxy and nginx have in `against-nginx.sh`.
const WORKERS: usize = 2;

/// Larger than any body that is measured.
const MOST_BYTES: usize = 1 << 20;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let [port, upstream] = arguments.as_slice() else {
        eprintln!("forward: nothing to do without a PORT and an UPSTREAM");
        return Ok(());
    };
    let port: u16 = port.parse().map_err(std::io::Error::other)?;
    let upstream = upstream.clone();
    actix_rt::System::new().block_on(async move {
        let server = HttpServer::new(move || {
            let client = Client::builder()
                .connector(Connector::new().limit(0))
                .no_default_headers()
                .disable_redirects();
            App::new()
                .app_data(web::PayloadConfig::new(MOST_BYTES))
                .app_data(web::Data::new(client.finish()))
                .app_data(web::Data::new(upstream.clone()))
                .default_service(web::post().to(forward))
        });
        let server = server.workers(WORKERS).tcp_nodelay(true);
        server.bind(("127.0.0.1", port))?.run().await
    })
}

async fn forward(
    client: web::Data<Client>,
    upstream: web::Data<String>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, actix_web::Error> {
    let mut sent = client.post(format!("{}{}", upstream.as_str(), request.uri()));
    for (name, value) in request.headers() {
        if name == header::CONTENT_TYPE || name == "api-key" {
            sent = sent.insert_header((name.clone(), value.clone()));
        }
    }
    let answer = sent.send_body(body).await.map_err(ErrorBadGateway)?;
    let mut response = HttpResponse::build(answer.status());
    let mut length = None;
    for (name, value) in answer.headers() {
        if name == header::CONTENT_LENGTH {
            length = value.to_str().ok().and_then(|text| text.parse().ok());
        } else if name != header::TRANSFER_ENCODING && name != header::CONNECTION {
            response.append_header((name.clone(), value.clone()));
        }
    }
    Ok(match length {
        Some(length) => response.body(SizedStream::new(length, answer)),
        None => response.streaming(answer),
    })
}
