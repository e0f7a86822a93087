"""LangChain against the proxy: what its chat and embedding classes send by themselves.

`OpenAIEmbeddings` sends token numbers unless told otherwise, and loads tiktoken's tables from the network to make
them. Here it gets an encoding of single bytes instead: the request has the same form, and nothing is fetched.
"""

import asyncio

import pydantic
import pytest
import tiktoken
from langchain.agents import create_agent
from langchain_core.tools import tool
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


class Forecast(pydantic.BaseModel):
    """The weather of one day."""

    city: str
    degrees: float


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_an_answer_comes_structured(chat, method):
    structured = chat.with_structured_output(Forecast if method != "json_mode" else None, method=method)

    answer = structured.invoke("Answer in JSON: how is the weather in Oslo?")

    assert isinstance(answer, dict if method == "json_mode" else Forecast)


@tool
def get_weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"Rain in {city}."


def azure_chat(proxy_url):
    return AzureChatOpenAI(
        azure_endpoint=proxy_url, api_key="unused", api_version="2024-10-21", azure_deployment="gpt-4o", **LIMITS
    )


@pytest.mark.parametrize("make", ["openai", "azure"])
def test_an_agent_calls_its_tool_and_answers(chat, proxy_url, make):
    agent = create_agent(chat if make == "openai" else azure_chat(proxy_url), tools=[get_weather])

    result = agent.invoke({"messages": [("user", "Use get_weather for Oslo.")]})

    roles = [message.type for message in result["messages"]]
    assert roles == ["human", "ai", "tool", "ai"]
    assert result["messages"][1].tool_calls[0]["name"] == "get_weather"
    assert result["messages"][2].content.startswith("Rain in ")
    assert result["messages"][3].content.strip()


def test_an_agent_streams(chat):
    agent = create_agent(chat, tools=[get_weather])
    pieces = agent.stream({"messages": [("user", "Use get_weather for Oslo.")]}, stream_mode="messages")

    assert len([piece for piece, _ in pieces if piece.type == "AIMessageChunk" and piece.content]) > 1


def test_the_responses_api_answers_streams_and_continues(proxy_url):
    chat = ChatOpenAI(
        base_url=f"{proxy_url}/v1",
        api_key="unused",
        model="gpt-4o",
        use_responses_api=True,
        use_previous_response_id=True,
        **LIMITS,
    )

    first = chat.invoke(QUESTION)
    second = chat.invoke([("user", QUESTION), first, ("user", "And more.")])
    pieces = [piece.text for piece in chat.stream(QUESTION)]
    forecast = chat.with_structured_output(Forecast).invoke("Oslo?")
    call = chat.bind_tools([get_weather]).invoke("Call get_weather for Oslo.").tool_calls[0]

    assert first.text.strip()
    assert first.usage_metadata["total_tokens"] > 0
    assert second.text.strip()
    assert second.response_metadata["id"] != first.response_metadata["id"]
    assert len([piece for piece in pieces if piece]) > 1
    assert isinstance(forecast, Forecast)
    assert call["name"] == "get_weather"
