"""LangChain against the proxy: what its chat and embedding classes send by themselves.

`OpenAIEmbeddings` sends token numbers unless told otherwise, and loads tiktoken's tables from the network to make
them. Here it gets an encoding of single bytes instead: the request has the same form, and nothing is fetched.
"""

import asyncio

import pytest
import tiktoken
from langchain_openai import AzureChatOpenAI, ChatOpenAI, OpenAIEmbeddings

QUESTION = "Say something short."
LIMITS = {"max_retries": 0, "timeout": 30}


@pytest.fixture
def chat(proxy_url):
    return ChatOpenAI(base_url=f"{proxy_url}/v1", api_key="unused", model="gpt-4o-mini", max_tokens=50, **LIMITS)


@pytest.fixture
def byte_tokens(monkeypatch):
    """Replaces every tiktoken encoding with one token for each byte."""
    encoding = tiktoken.Encoding(
        name="bytes",
        pat_str=r"(?s).",
        mergeable_ranks={bytes([byte]): byte for byte in range(256)},
        special_tokens={},
    )
    monkeypatch.setattr(tiktoken, "encoding_for_model", lambda _: encoding)
    monkeypatch.setattr(tiktoken, "get_encoding", lambda _: encoding)
    return encoding


def embeddings(proxy_url, **more):
    return OpenAIEmbeddings(
        base_url=f"{proxy_url}/v1", api_key="unused", model="text-embedding-3-small", **LIMITS, **more
    )


def assert_is_vector(vector):
    assert len(vector) == 1536
    assert all(isinstance(number, float) for number in vector)


def test_a_chat_is_answered_with_its_usage(chat):
    answer = chat.invoke(QUESTION)

    assert answer.content.strip()
    assert answer.usage_metadata["total_tokens"] > 0
    assert answer.response_metadata["finish_reason"] in ("stop", "length")


def test_a_chat_without_an_output_cap_is_answered(proxy_url):
    chat = ChatOpenAI(base_url=f"{proxy_url}/v1", api_key="unused", model="gpt-4o", **LIMITS)

    assert chat.invoke(QUESTION).content.strip()


def test_a_chat_streams(chat):
    pieces = [piece.content for piece in chat.stream(QUESTION)]

    assert len([piece for piece in pieces if piece]) > 1


def test_a_stream_that_asks_for_usage_gets_it(proxy_url):
    chat = ChatOpenAI(
        base_url=f"{proxy_url}/v1",
        api_key="unused",
        model="gpt-4o-mini",
        max_tokens=50,
        stream_usage=True,
        **LIMITS,
    )

    usages = [piece.usage_metadata for piece in chat.stream(QUESTION) if piece.usage_metadata]

    assert len(usages) == 1
    assert usages[0]["output_tokens"] > 0


def test_a_batch_is_answered_in_full(chat):
    answers = chat.batch([QUESTION, "And another.", "And a third."])

    assert len(answers) == 3
    assert all(answer.content.strip() for answer in answers)


def test_a_chat_streams_asynchronously(chat):
    async def collect():
        return [piece.content async for piece in chat.astream(QUESTION)]

    pieces = asyncio.run(collect())

    assert len([piece for piece in pieces if piece]) > 1


def test_an_azure_chat_is_answered(proxy_url):
    chat = AzureChatOpenAI(
        azure_endpoint=proxy_url,
        api_key="unused",
        api_version="2024-10-21",
        azure_deployment="gpt-4o",
        max_tokens=50,
        **LIMITS,
    )

    assert chat.invoke(QUESTION).content.strip()


def test_texts_are_embedded_as_strings(proxy_url):
    embedder = embeddings(proxy_url, check_embedding_ctx_length=False)

    assert_is_vector(embedder.embed_query("a question"))
    documents = embedder.embed_documents(["one document", "another document"])
    assert len(documents) == 2
    for vector in documents:
        assert_is_vector(vector)


def test_texts_are_embedded_as_token_numbers(proxy_url, byte_tokens):
    embedder = embeddings(proxy_url)

    assert_is_vector(embedder.embed_query("a question"))
    documents = embedder.embed_documents(["one document", "another document"])
    assert len(documents) == 2
    for vector in documents:
        assert_is_vector(vector)


def test_token_numbers_are_charged_by_their_count(proxy_url, byte_tokens):
    text = "twelve bytes"

    answer = embeddings(proxy_url).client.create(model="text-embedding-3-small", input=[byte_tokens.encode(text)])

    assert answer.usage.prompt_tokens == len(text)
