//! Answers come back as the instance gave them.

use azure_openai_proxy::simulator::{Answer, Play};

use crate::helpers::*;

#[actix_web::test]
async fn a_chat_answer_comes_back_byte_for_byte() {
    let app = spawn_app(1).await;
    let body = r#"{"id": "x",  "unknown": [1, 2.50], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}"#;
    let answer = Answer::new(200, body).header("content-type", "application/json");
    app.sims[0].play([Play::Answer(answer)]);

    let answer = app.chat(&chat("hello", 50)).await;

    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), body);
    assert_eq!(answer.instance(), "a");
    app.wait_for(0, "settlement", |i| i["current_tpm"] == 7)
        .await;
    app.finish().await;
}
