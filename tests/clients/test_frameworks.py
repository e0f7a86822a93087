"""LlamaIndex, Instructor and LiteLLM against the proxy, each set up as docs/clients.md shows."""

import asyncio

import instructor
import litellm
import openai
import pydantic
import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI as LlamaOpenAI


class Forecast(pydantic.BaseModel):
    city: str
    degrees: float


def get_weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"Rain in {city}."


# ---- LlamaIndex ----


@pytest.fixture
def llama(proxy_url):
    return LlamaOpenAI(api_base=f"{proxy_url}/v1", api_key="unused", model="gpt-4o", max_retries=0, max_tokens=200)


def test_llama_index_chats_completes_and_streams(llama):
    said = [ChatMessage(role="user", content="Say something short.")]

    assert llama.chat(said).message.content.strip()
    assert llama.complete("Say something short.").text.strip()
    assert len([piece for piece in llama.stream_chat(said) if piece.delta]) > 1
    assert asyncio.run(llama.achat(said)).message.content.strip()


def test_llama_index_calls_tools_and_fills_models(llama):
    tool = FunctionTool.from_defaults(get_weather)

    assert str(llama.predict_and_call([tool], "Use get_weather for Oslo.")).startswith("Rain in ")
    assert isinstance(llama.as_structured_llm(Forecast).complete("Oslo?").raw, Forecast)


def test_llama_index_embeds(proxy_url):
    embed = OpenAIEmbedding(api_base=f"{proxy_url}/v1", api_key="unused", model_name="text-embedding-3-small")

    vectors = embed.get_text_embedding_batch(["one text", "another"])

    assert [len(vector) for vector in vectors] == [1536, 1536]
    assert len(embed.get_query_embedding("a question")) == 1536


# ---- Instructor ----


@pytest.mark.parametrize("mode", [instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA])
@pytest.mark.parametrize("kind", [openai.OpenAI, openai.AzureOpenAI])
def test_instructor_fills_a_model(proxy_url, mode, kind):
    if kind is openai.OpenAI:
        client = openai.OpenAI(base_url=f"{proxy_url}/v1", api_key="unused", max_retries=0)
    else:
        client = openai.AzureOpenAI(
            azure_endpoint=proxy_url, api_key="unused", api_version="2024-10-21", max_retries=0
        )

    forecast = instructor.from_openai(client, mode=mode).chat.completions.create(
        model="gpt-4o", response_model=Forecast, max_retries=0, messages=[{"role": "user", "content": "Oslo?"}]
    )

    assert isinstance(forecast, Forecast)


# ---- LiteLLM ----


@pytest.fixture(params=["openai/", "litellm_proxy/", "azure/"])
def lite(request, proxy_url, monkeypatch):
    """What each call of LiteLLM is given, by the provider that its model names."""
    monkeypatch.setattr(litellm, "suppress_debug_info", True)
    azure = request.param == "azure/"
    where = {"api_base": proxy_url, "api_version": "2024-10-21"} if azure else {"api_base": f"{proxy_url}/v1"}
    return lambda model: {"model": request.param + model, "api_key": "unused", "max_retries": 0, **where}


def test_litellm_answers_streams_and_calls_tools(lite):
    said = [{"role": "user", "content": "Use get_weather for Oslo."}]
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": schema}}

    answer = litellm.completion(messages=said, **lite("gpt-4o"))
    pieces = list(litellm.completion(messages=said, stream=True, **lite("gpt-4o")))
    call = litellm.completion(messages=said, tools=[tool], **lite("gpt-4o")).choices[0].message.tool_calls[0]
    response = litellm.responses(input="Say something short.", **lite("gpt-4o"))

    assert answer.choices[0].message.content.strip()
    assert len([piece for piece in pieces if piece.choices[0].delta.content]) > 1
    assert call.function.name == "get_weather"
    assert response.output[0].content[0].text.strip()


def test_litellm_embeds_and_raises_errors(lite):
    vectors = litellm.embedding(input=["one text", "another"], **lite("text-embedding-3-small")).data

    assert [len(vector["embedding"]) for vector in vectors] == [1536, 1536]
    with pytest.raises(litellm.RateLimitError, match="MAX_TPM"):
        litellm.completion(messages=[{"role": "user", "content": "Oslo?"}], max_tokens=1_000_000, **lite("gpt-4o"))
