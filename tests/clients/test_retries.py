"""The retries of OpenAI's own client against a proxy whose only resource really runs out of its requests."""

import time

import openai
import pytest

ASK = [{"role": "user", "content": "Say something short."}]


@pytest.fixture
def client(throttled_url):
    with openai.OpenAI(base_url=f"{throttled_url}/v1", api_key="unused", max_retries=0, timeout=60) as made:
        yield made


def test_a_client_that_retries_as_it_is_told_is_served_in_time(client):
    patient = client.with_options(max_retries=2)
    for _ in range(4):
        before = time.monotonic()
        raw = patient.chat.completions.with_raw_response.create(model="gpt-4o", messages=ASK, max_tokens=10)
        took = time.monotonic() - before
        assert raw.parse().choices[0].message.content.strip()
        if raw.retries_taken > 0:
            break

    # It is told when one more request fits in 10 seconds, and that is kept for it.
    assert raw.retries_taken == 1
    assert took < 10 + 5


def test_what_can_never_fit_is_not_retried(client):
    before = time.monotonic()
    with pytest.raises(openai.RateLimitError) as caught:
        client.with_options(max_retries=3).chat.completions.create(
            model="gpt-4o", messages=ASK, max_tokens=1_000_000
        )

    assert caught.value.code == "request_exceeds_tpm"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert time.monotonic() - before < 2
