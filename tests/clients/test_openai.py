"""OpenAI's current Python package against the proxy, as an application would use it.

Retries are off, so that the first answer is the one judged.
"""

import asyncio

import openai
import pytest

ASK = [{"role": "user", "content": "Say something short."}]
LIMITS = {"max_retries": 0, "timeout": 30}


@pytest.fixture
def client(proxy_url):
    with openai.OpenAI(base_url=f"{proxy_url}/v1", api_key="unused", **LIMITS) as made:
        yield made


@pytest.fixture
def azure(proxy_url):
    with openai.AzureOpenAI(
        azure_endpoint=proxy_url, api_key="unused", api_version="2024-10-21", **LIMITS
    ) as made:
        yield made


def assert_is_stream(chunks):
    """A whole chat stream: several pieces of text and one reason to end."""
    choices = [choice for chunk in chunks for choice in chunk.choices]
    pieces = [choice.delta.content for choice in choices if choice.delta and choice.delta.content]
    assert len(pieces) > 1
    assert "".join(pieces).strip()
    assert [choice.finish_reason for choice in choices if choice.finish_reason] in (["stop"], ["length"])


def test_a_chat_is_answered(client):
    answer = client.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=50)

    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content.strip()
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-mini", "gpt-3.5-turbo"])
def test_every_chat_model_answers_without_an_output_cap(client, model):
    answer = client.chat.completions.create(model=model, messages=ASK)

    assert answer.choices[0].message.content.strip()


def test_a_stream_comes_in_several_chunks_and_ends(client):
    stream = client.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=50, stream=True)

    assert_is_stream(list(stream))


def test_a_stream_with_usage_ends_with_one_usage_chunk(client):
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o", messages=ASK, max_tokens=50, stream=True, stream_options={"include_usage": True}
        )
    )

    assert_is_stream(chunks)
    assert [chunk.usage is not None for chunk in chunks].count(True) == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage.prompt_tokens > 0
    assert chunks[-1].usage.completion_tokens > 0


def test_a_stream_that_did_not_ask_for_usage_gets_none(client):
    chunks = list(client.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=50, stream=True))

    assert_is_stream(chunks)
    assert all(chunk.usage is None for chunk in chunks)


def test_a_stream_may_be_left_half_read(client):
    with client.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=50, stream=True) as stream:
        next(iter(stream))

    answer = client.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=50)
    assert answer.choices[0].message.content.strip()


def test_async_chats_and_streams_run_side_by_side(proxy_url):
    async def whole(client):
        return await client.chat.completions.create(model="gpt-4o-mini", messages=ASK, max_tokens=50)

    async def streamed(client):
        stream = await client.chat.completions.create(
            model="gpt-4o-mini", messages=ASK, max_tokens=50, stream=True
        )
        return [chunk async for chunk in stream]

    async def side_by_side():
        async with openai.AsyncOpenAI(base_url=f"{proxy_url}/v1", api_key="unused", **LIMITS) as client:
            return await asyncio.gather(*(call(client) for call in (whole, streamed) for _ in range(4)))

    answers = asyncio.run(side_by_side())

    for answer in answers[:4]:
        assert answer.choices[0].message.content.strip()
    for chunks in answers[4:]:
        assert_is_stream(chunks)


def test_embeddings_arrive_as_floats(client):
    answer = client.embeddings.create(model="text-embedding-3-small", input=["first text", "second text"])

    assert [item.index for item in answer.data] == [0, 1]
    for item in answer.data:
        assert len(item.embedding) == 1536
        assert all(isinstance(number, float) for number in item.embedding)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > 0


def test_embeddings_in_plain_floats_and_base64_agree(client):
    def embed(**more):
        answer = client.embeddings.create(model="text-embedding-ada-002", input="the same text", **more)
        return answer.data[0].embedding

    assert embed() == pytest.approx(embed(encoding_format="float"), abs=1e-6)


def test_legacy_completions_are_answered(client):
    answer = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Once upon a time", max_tokens=20)

    assert answer.object == "text_completion"
    assert answer.choices[0].text.strip()
    assert answer.usage.total_tokens > 0


def test_legacy_completions_stream(client):
    stream = client.completions.create(
        model="gpt-3.5-turbo-instruct", prompt="Once upon a time", max_tokens=20, stream=True
    )
    pieces = [choice.text for chunk in stream for choice in chunk.choices]

    assert len([piece for piece in pieces if piece]) > 1


def test_models_are_listed_and_found_by_name(client):
    names = {model.id for model in client.models.list()}

    assert names >= {
        "gpt-4o",
        "gpt-4o-mini",
        "gpt-3.5-turbo",
        "gpt-3.5-turbo-instruct",
        "text-embedding-3-small",
        "text-embedding-ada-002",
    }
    assert client.models.retrieve("gpt-4o").id == "gpt-4o"
    assert client.models.retrieve("gpt-4o").object == "model"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("no-such-model")
    assert caught.value.code == "model_not_found"


def test_an_answer_says_who_gave_it(client):
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=ASK, max_tokens=50)

    assert raw.headers["x-request-id"]
    assert raw.headers["x-proxy-instance"] in {"east", "west", "north"}
    assert int(raw.headers["x-proxy-attempts"]) == 1
    limit = int(raw.headers["x-ratelimit-limit-tokens"])
    assert 0 <= int(raw.headers["x-ratelimit-remaining-tokens"]) < limit
    assert raw.parse().choices[0].message.content.strip()


def test_two_choices_asked_for_are_two_choices_given(client):
    answer = client.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=20, n=2)

    assert sorted(choice.index for choice in answer.choices) == [0, 1]


def test_a_field_that_nobody_knows_is_left_to_the_upstream(client):
    unknown = {"field_of_the_year_2031": {"nested": [1, None, "two"]}}
    try:
        raw = client.chat.completions.with_raw_response.create(
            model="gpt-4o", messages=ASK, max_tokens=20, extra_body=unknown
        )
    except openai.BadRequestError as refusal:
        # As Azure refuses what its api-version does not know: then the refusal names the field and the instance.
        assert "field_of_the_year_2031" in refusal.message
        assert refusal.response.headers["x-proxy-instance"]
    else:
        assert raw.headers["x-proxy-instance"]


@pytest.mark.parametrize("model", [7, None, ["gpt-4o"], ""])
def test_a_wrong_model_is_a_bad_request_that_names_the_field(client, model):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=20, extra_body={"model": model})

    assert caught.value.param == "model"
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="no-such-model", messages=ASK, max_tokens=20)


def test_a_request_larger_than_any_quota_is_refused_at_once(client):
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=1_000_000)

    assert caught.value.code == "request_exceeds_tpm"
    assert "retry-after" not in caught.value.response.headers


def test_an_azure_client_chats(azure):
    answer = azure.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=50)

    assert answer.choices[0].message.content.strip()


def test_an_azure_client_streams(azure):
    stream = azure.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=50, stream=True)

    assert_is_stream(list(stream))


def test_an_azure_client_embeds(azure):
    answer = azure.embeddings.create(model="text-embedding-3-small", input="a text")

    assert len(answer.data[0].embedding) == 1536


def test_the_environment_alone_leads_here(proxy_url, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", f"{proxy_url}/v1")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", proxy_url)
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    for name in ["OPENAI_API_KEY", "AZURE_OPENAI_API_KEY"]:
        monkeypatch.setenv(name, "unused")

    for client in [openai.OpenAI(), openai.AzureOpenAI()]:
        answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello!"}])
        assert answer.choices[0].message.content.strip()
