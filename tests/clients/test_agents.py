"""OpenAI's Agents SDK and Pydantic AI against the proxy, over both APIs, each set up as docs/clients.md shows."""

import asyncio

import pydantic
import pytest
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    SQLiteSession,
    function_tool,
    handoff,
    set_tracing_disabled,
)
from openai import AsyncAzureOpenAI, AsyncOpenAI
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel as PydanticResponsesModel
from pydantic_ai.providers.azure import AzureProvider
from pydantic_ai.providers.openai import OpenAIProvider

# Without this each run is reported to OpenAI's own servers.
set_tracing_disabled(True)


class Forecast(pydantic.BaseModel):
    city: str
    degrees: float


def get_weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"Rain in {city}."


# ---- OpenAI's Agents SDK ----

weather = function_tool(get_weather)


@pytest.fixture(params=["chat", "responses", "azure chat", "azure responses"])
def agent_model(request, proxy_url):
    limits = {"api_key": "unused", "max_retries": 0, "timeout": 30}
    if request.param.startswith("azure"):
        client = AsyncAzureOpenAI(azure_endpoint=proxy_url, api_version="2025-04-01-preview", **limits)
    else:
        client = AsyncOpenAI(base_url=f"{proxy_url}/v1", **limits)
    kind = OpenAIChatCompletionsModel if request.param.endswith("chat") else OpenAIResponsesModel
    return kind(model="gpt-4o", openai_client=client)


def kinds(result):
    return [item.type for item in result.new_items]


def test_an_agent_calls_its_tool_and_answers(agent_model):
    agent = Agent(name="Clerk", instructions="Be brief.", model=agent_model, tools=[weather])

    result = asyncio.run(Runner.run(agent, "Use get_weather for Oslo."))

    assert kinds(result) == ["tool_call_item", "tool_call_output_item", "message_output_item"]
    assert result.new_items[1].output.startswith("Rain in ")
    assert result.final_output.strip()
    assert result.context_wrapper.usage.requests == 2
    assert result.context_wrapper.usage.total_tokens > 0


def test_an_agent_streams_through_its_tool(agent_model):
    # Streams of chat completions are not asked for their usage unless told so.
    settings = ModelSettings(include_usage=True)
    agent = Agent(name="Clerk", model=agent_model, model_settings=settings, tools=[weather])

    async def stream():
        result = Runner.run_streamed(agent, "Use get_weather for Oslo.")
        events = [event async for event in result.stream_events()]
        return result, events

    result, events = asyncio.run(stream())

    raw = [event.data.type for event in events if event.type == "raw_response_event"]
    assert raw.count("response.completed") == 2
    assert raw.count("response.output_text.delta") > 1
    assert kinds(result) == ["tool_call_item", "tool_call_output_item", "message_output_item"]
    assert result.context_wrapper.usage.total_tokens > 0


def test_an_agent_fills_a_model(agent_model):
    agent = Agent(name="Clerk", model=agent_model, output_type=Forecast)

    assert isinstance(asyncio.run(Runner.run(agent, "Oslo?")).final_output, Forecast)


def test_an_agent_hands_over_to_another(agent_model):
    expert = Agent(name="Expert", model=agent_model, tools=[weather])
    clerk = Agent(name="Clerk", model=agent_model, handoffs=[handoff(expert)])

    result = asyncio.run(Runner.run(clerk, "Use transfer_to_expert, then get_weather for Oslo."))

    assert result.last_agent.name == "Expert"
    assert result.final_output.strip()


def test_an_agent_remembers_in_its_own_session(agent_model):
    agent = Agent(name="Clerk", model=agent_model, tools=[weather])
    session = SQLiteSession("some-session")

    async def talk():
        await Runner.run(agent, "Use get_weather for Oslo.", session=session)
        return await Runner.run(agent, "And more.", session=session)

    assert asyncio.run(talk()).final_output.strip()


def test_an_agent_continues_a_stored_response(proxy_url):
    client = AsyncOpenAI(base_url=f"{proxy_url}/v1", api_key="unused", max_retries=0)
    agent = Agent(name="Clerk", model=OpenAIResponsesModel("gpt-4o", openai_client=client), tools=[weather])

    async def talk():
        first = await Runner.run(agent, "Use get_weather for Oslo.", auto_previous_response_id=True)
        return await Runner.run(agent, "And more.", previous_response_id=first.last_response_id)

    assert asyncio.run(talk()).final_output.strip()


# ---- Pydantic AI ----


@pytest.fixture(params=["openai", "azure", "responses"])
def pydantic_model(request, proxy_url):
    if request.param == "azure":
        provider = AzureProvider(azure_endpoint=proxy_url, api_key="unused", api_version="2024-10-21")
        return OpenAIChatModel("gpt-4o", provider=provider)
    provider = OpenAIProvider(base_url=f"{proxy_url}/v1", api_key="unused")
    return (OpenAIChatModel if request.param == "openai" else PydanticResponsesModel)("gpt-4o", provider=provider)


def test_pydantic_ai_answers_and_streams(pydantic_model):
    agent = PydanticAgent(pydantic_model, instructions="Be brief.")

    async def stream():
        async with agent.run_stream("Say something short.") as result:
            return [piece async for piece in result.stream_text(delta=True, debounce_by=None)]

    assert agent.run_sync("Say something short.").output.strip()
    assert len(asyncio.run(stream())) > 1


def test_pydantic_ai_calls_tools_and_fills_models(pydantic_model):
    agent = PydanticAgent(pydantic_model, output_type=Forecast, tools=[get_weather])

    result = agent.run_sync("Use get_weather for Oslo.")

    parts = [part.part_kind for message in result.all_messages() for part in message.parts]
    assert isinstance(result.output, Forecast)
    assert parts.count("tool-return") == 2
