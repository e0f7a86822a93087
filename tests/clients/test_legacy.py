"""The openai package 0.28, whose calls hang on the module: what many older applications still use.

It keeps its settings in module variables, so each test sets them anew and the former ones are put back after it.
"""

import openai
import pytest

ASK = [{"role": "user", "content": "Say something short."}]


@pytest.fixture
def as_openai(proxy_url, monkeypatch):
    monkeypatch.setattr(openai, "api_base", f"{proxy_url}/v1")
    monkeypatch.setattr(openai, "api_key", "unused")


@pytest.fixture
def as_azure(proxy_url, monkeypatch):
    monkeypatch.setattr(openai, "api_type", "azure")
    monkeypatch.setattr(openai, "api_base", proxy_url)
    monkeypatch.setattr(openai, "api_version", "2024-10-21")
    monkeypatch.setattr(openai, "api_key", "unused")


def assert_is_stream(stream):
    pieces = [choice["delta"].get("content") for chunk in stream for choice in chunk["choices"]]
    assert len([piece for piece in pieces if piece]) > 1


def test_a_chat_is_answered(as_openai):
    answer = openai.ChatCompletion.create(model="gpt-4o", messages=ASK, max_tokens=50, request_timeout=30)

    assert answer["choices"][0]["message"]["content"].strip()
    assert answer["usage"]["total_tokens"] > 0


def test_a_chat_streams(as_openai):
    stream = openai.ChatCompletion.create(
        model="gpt-4o", messages=ASK, max_tokens=50, stream=True, request_timeout=30
    )

    assert_is_stream(stream)


def test_a_text_is_embedded(as_openai):
    answer = openai.Embedding.create(model="text-embedding-ada-002", input="a text", request_timeout=30)

    assert len(answer["data"][0]["embedding"]) == 1536
    assert all(isinstance(number, float) for number in answer["data"][0]["embedding"])


def test_a_text_is_completed(as_openai):
    answer = openai.Completion.create(
        model="gpt-3.5-turbo-instruct", prompt="Once upon a time", max_tokens=20, request_timeout=30
    )

    assert answer["choices"][0]["text"].strip()


def test_a_bad_request_names_the_field(as_openai):
    with pytest.raises(openai.error.InvalidRequestError) as caught:
        openai.ChatCompletion.create(model=7, messages=ASK, request_timeout=30)

    assert caught.value.http_status == 400
    assert caught.value.param == "model"


def test_an_azure_client_chats(as_azure):
    answer = openai.ChatCompletion.create(engine="gpt-4o", messages=ASK, max_tokens=50, request_timeout=30)

    assert answer["choices"][0]["message"]["content"].strip()


def test_an_azure_client_streams(as_azure):
    stream = openai.ChatCompletion.create(
        engine="gpt-4o", messages=ASK, max_tokens=50, stream=True, request_timeout=30
    )

    assert_is_stream(stream)
