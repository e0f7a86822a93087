"""The Responses API with OpenAI's Python package, over OpenAI's paths and over Azure's.

The demo's three resources take turns, so that whatever belongs to one response must find its way back to its maker.
"""

import asyncio
import json

import openai
import pydantic
import pytest

LIMITS = {"max_retries": 0, "timeout": 30}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


class Forecast(pydantic.BaseModel):
    city: str
    degrees: float


@pytest.fixture(params=["openai", "azure", "azure-v1"])
def client(request, proxy_url):
    if request.param == "azure":
        made = openai.AzureOpenAI(
            azure_endpoint=proxy_url, api_key="unused", api_version="2025-04-01-preview", **LIMITS
        )
    else:
        path = {"openai": "/v1", "azure-v1": "/openai/v1"}[request.param]
        made = openai.OpenAI(base_url=f"{proxy_url}{path}", api_key="unused", **LIMITS)
    with made:
        yield made


def test_a_response_is_created_read_listed_continued_and_deleted(client):
    first = client.responses.create(model="gpt-4o", input="Say something short.", max_output_tokens=50)
    second = client.responses.create(model="gpt-4o", input="And more.", previous_response_id=first.id)
    read = client.responses.retrieve(first.id)
    items = list(client.responses.input_items.list(first.id))
    client.responses.delete(first.id)

    assert first.status == "completed"
    assert first.output_text.strip()
    assert first.usage.total_tokens == first.usage.input_tokens + first.usage.output_tokens > 0
    assert second.previous_response_id == first.id
    assert second.output_text.strip()
    assert read.output_text == first.output_text
    assert [item.content[0].text for item in items] == ["Say something short."]
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.retrieve(first.id)
    assert caught.value.code == "response_not_found"


def test_each_of_many_responses_is_found_at_its_maker(client):
    made = {}
    for _ in range(6):
        raw = client.responses.with_raw_response.create(model="gpt-4o", input="Hello", max_output_tokens=20)
        made[raw.parse().id] = raw.headers["x-proxy-instance"]

    assert len(set(made.values())) == 3
    for response_id, instance in made.items():
        raw = client.responses.with_raw_response.retrieve(response_id)
        assert raw.headers["x-proxy-instance"] == instance
        assert raw.headers["x-proxy-attempts"] == "1"


def test_a_response_in_the_background_is_cancelled(client):
    begun = client.responses.create(model="gpt-4o", input="Take your time.", background=True)

    assert begun.status == "queued"
    assert client.responses.cancel(begun.id).status == "cancelled"
    assert client.responses.retrieve(begun.id).status == "cancelled"


def test_what_is_not_in_the_background_cannot_be_cancelled(client):
    done = client.responses.create(model="gpt-4o", input="Hello", max_output_tokens=20)

    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(done.id)


def test_a_stream_brings_its_text_in_pieces_and_ends_with_the_response(client):
    events = list(client.responses.create(model="gpt-4o", input="Say something short.", stream=True))

    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(pieces) > 1
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "".join(pieces)
    assert events[-1].response.usage.total_tokens > 0


def test_a_stream_can_be_taken_up_again(client):
    events = list(client.responses.create(model="gpt-4o", input="Hello", stream=True, background=True))
    response_id = events[0].response.id

    rest = list(client.responses.retrieve(response_id, stream=True, starting_after=3))

    assert [event.sequence_number for event in rest] == list(range(4, len(events)))


def test_an_answer_is_parsed_whole_and_from_a_stream(client):
    whole = client.responses.parse(model="gpt-4o", input="Oslo?", text_format=Forecast)
    with client.responses.stream(model="gpt-4o", input="Oslo?", text_format=Forecast) as stream:
        kinds = {event.type for event in stream}
        streamed = stream.get_final_response()

    assert isinstance(whole.output_parsed, Forecast)
    assert isinstance(streamed.output_parsed, Forecast)
    assert {"response.output_text.delta", "response.completed"} <= kinds


def test_a_tool_is_called_and_its_result_answered(client):
    first = client.responses.create(model="gpt-4o", input="Call get_weather for Oslo.", tools=[WEATHER])
    call = first.output[0]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}
    second = client.responses.create(
        model="gpt-4o", input=[result], tools=[WEATHER], previous_response_id=first.id
    )

    assert call.type == "function_call"
    assert call.name == "get_weather"
    assert set(json.loads(call.arguments)) == {"city"}
    assert [item.type for item in second.output] == ["message"]


def test_items_that_are_only_named_are_found_at_their_maker(client):
    asked = {"role": "user", "content": "Call get_weather for Oslo."}
    makers = set()
    for _ in range(4):
        raw = client.responses.with_raw_response.create(model="gpt-4o", input=[asked], tools=[WEATHER])
        call = raw.parse().output[0]
        named = {"type": "item_reference", "id": call.id}
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}
        next_raw = client.responses.with_raw_response.create(
            model="gpt-4o", input=[asked, named, result], tools=[WEATHER]
        )

        assert [item.type for item in next_raw.parse().output] == ["message"]
        assert next_raw.headers["x-proxy-instance"] == raw.headers["x-proxy-instance"]
        assert next_raw.headers["x-proxy-attempts"] == "1"
        makers.add(raw.headers["x-proxy-instance"])
    assert len(makers) > 1

    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="gpt-4o", input=[asked, {"type": "item_reference", "id": "fc_gone"}])
    assert caught.value.code == "item_not_found"
    assert "Item with id 'fc_gone' not found" in caught.value.message


def test_errors_are_raised_with_code_and_field(client):
    def refused(error, stream=False, **more):
        with pytest.raises(error) as caught:
            client.responses.create(**{"model": "gpt-4o", "input": "Hello", "stream": stream} | more)
        return caught.value

    assert refused(openai.BadRequestError, max_output_tokens="many").param == "max_output_tokens"
    assert refused(openai.BadRequestError, model=7).param == "model"
    for stream in (False, True):
        assert refused(openai.RateLimitError, stream, max_output_tokens=1_000_000).code == "request_exceeds_tpm"
        gone = refused(openai.BadRequestError, stream, previous_response_id="resp_gone")
        assert gone.code == "previous_response_not_found"
        assert gone.param == "previous_response_id"


def test_async_responses_and_streams_run_side_by_side(proxy_url):
    async def whole(client):
        return (await client.responses.create(model="gpt-4o-mini", input="Hello")).output_text

    async def streamed(client):
        async with client.responses.stream(model="gpt-4o-mini", input="Hello") as stream:
            return (await stream.get_final_response()).output_text

    async def side_by_side():
        async with openai.AsyncOpenAI(base_url=f"{proxy_url}/v1", api_key="unused", **LIMITS) as client:
            return await asyncio.gather(*(call(client) for call in (whole, streamed) for _ in range(3)))

    texts = asyncio.run(side_by_side())

    assert len(texts) == 6
    assert all(text.strip() for text in texts)
