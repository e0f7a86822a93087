"""Conversations with OpenAI's current Python package, and what its Agents SDK asks of them.

Azure has them in its v1 form alone, so this proxy stands in front of three resources of that version, which take turns.
"""

import openai
import pytest
from conftest import KEY, Servers


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    names = ["east", "west", "north"]
    settings = {"AZURE_INSTANCES": ",".join(names), "AZURE_ROUTING_STRATEGY": "round_robin"}
    with Servers(tmp_path_factory.mktemp("conversations")) as servers:
        for name in names:
            prefix = f"AZURE_INSTANCE_{name.upper()}"
            settings[f"{prefix}_API_BASE"] = servers.simulate("gpt-4o", name)
            settings[f"{prefix}_API_KEY"] = KEY
            settings[f"{prefix}_API_VERSION"] = "v1"
        url = servers.serve(**settings)
        with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=30) as made:
            yield made


def test_a_conversation_is_kept_continued_and_deleted(client):
    conversation = client.conversations.create(metadata={"topic": "weather"})
    for text in ("One.", "Two."):
        answer = client.responses.create(model="gpt-4o", input=text, conversation=conversation.id)
        assert answer.conversation.id == conversation.id
    added = {"type": "message", "role": "user", "content": "Three."}
    client.conversations.items.create(conversation.id, items=[added])

    items = list(client.conversations.items.list(conversation.id, order="asc", limit=3))
    client.conversations.items.delete(items[0].id, conversation_id=conversation.id)
    fewer = list(client.conversations.items.list(conversation.id))
    gone = client.conversations.delete(conversation.id)

    assert [item.role for item in items] == ["user", "assistant", "user", "assistant", "user"]
    assert len(fewer) == 4
    assert gone.deleted
    with pytest.raises(openai.NotFoundError) as caught:
        client.conversations.retrieve(conversation.id)
    assert caught.value.code == "conversation_not_found"


def test_conversations_are_begun_in_turn_and_each_is_found_again(client):
    made = {}
    for _ in range(6):
        raw = client.conversations.with_raw_response.create()
        made[raw.parse().id] = raw.headers["x-proxy-instance"]

    assert len(set(made.values())) == 3
    for conversation_id, instance in made.items():
        raw = client.responses.with_raw_response.create(
            model="gpt-4o", input="Hello", conversation=conversation_id, max_output_tokens=20
        )
        assert raw.headers["x-proxy-instance"] == instance
        assert raw.headers["x-proxy-attempts"] == "1"
