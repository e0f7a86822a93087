"""Forms with files, images and sound through OpenAI's Python package, in each spelling of the address.

The simulated resources name the size and checksum of every file that reaches them, so each test knows that its own did.
Small files stay in the proxy's memory, large ones go through a file of its own.
"""

import asyncio
import base64
import os
import zlib

import openai
import pytest
from conftest import KEY, Servers

LIMITS = {"max_retries": 0, "timeout": 60}
AZURE = {"api_key": "unused", "api_version": "2025-04-01-preview", **LIMITS}

SMALL = bytes(range(256)) * 40
LARGE = bytes(range(255)) * 2_400


def named(file):
    return f"{len(file)} bytes (adler32 {zlib.adler32(file):08x})"


@pytest.fixture(params=["/v1", "/openai/v1", "azure"])
def client(request, proxy_url):
    if request.param == "azure":
        made = openai.AzureOpenAI(azure_endpoint=proxy_url, **AZURE)
    else:
        made = openai.OpenAI(base_url=proxy_url + request.param, api_key="unused", **LIMITS)
    with made:
        yield made


@pytest.mark.parametrize("sound", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("model", ["whisper-1", "gpt-4o-transcribe"])
def test_a_sound_is_transcribed(client, model, sound):
    answer = client.audio.transcriptions.create(model=model, file=("speech.wav", sound), language="en")

    assert answer.text == f"I hear {named(sound)}."


@pytest.mark.parametrize("form", ["text", "srt"])
def test_a_transcript_comes_in_the_format_that_was_asked_for(client, form):
    answer = client.audio.transcriptions.create(model="whisper-1", file=("speech.wav", SMALL), response_format=form)

    words = f"I hear {named(SMALL)}.\n"
    assert answer == words if form == "text" else answer.startswith("1\n00:00:00") and words in answer


def test_a_transcript_is_streamed(client):
    stream = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("speech.wav", LARGE), stream=True)

    events = list(stream)

    assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]
    assert events[-1].text == f"I hear {named(LARGE)}."


def test_a_sound_from_the_disk_is_translated(client, tmp_path):
    path = tmp_path / "speech.mp3"
    path.write_bytes(LARGE)

    with path.open("rb") as sound:
        answer = client.audio.translations.create(model="whisper-1", file=sound)

    assert answer.text == f"I hear {named(LARGE)}."


@pytest.mark.parametrize("images", [[SMALL], [LARGE, SMALL]], ids=["one", "two"])
def test_images_are_edited(client, images):
    files = [(f"{number}.png", image, "image/png") for number, image in enumerate(images)]

    answer = client.images.edit(model="gpt-image-1", image=files if len(files) > 1 else files[0], prompt="A dot.", n=2)

    assert [image.revised_prompt for image in answer.data] == [" and ".join(map(named, images))] * 2
    assert base64.b64decode(answer.data[0].b64_json).startswith(b"\x89PNG")
    assert answer.usage.input_tokens_details.image_tokens == 323 * len(images)


def test_an_image_is_generated(client):
    answer = client.images.generate(model="gpt-image-1", prompt="A dot.", size="1024x1024")

    assert base64.b64decode(answer.data[0].b64_json).startswith(b"\x89PNG")


def test_speech_is_streamed(client):
    words = "How far is it to the moon? " * 20
    ask = {"model": "tts-1", "voice": "alloy", "input": words}

    with client.audio.speech.with_streaming_response.create(**ask) as answer:
        pieces = list(answer.iter_bytes(chunk_size=64 * 1024))

    sound = b"".join(pieces)
    assert answer.headers["content-type"] == "audio/mpeg"
    assert len(pieces) > 1
    assert sound == bytes(at % 251 for at in range(len(words) * 1200))


def test_a_form_without_a_model_it_can_use_is_an_error_of_the_package(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.audio.transcriptions.create(model="no such model", file=("speech.wav", LARGE))

    assert caught.value.status_code == 404


def test_a_full_disk_refuses_large_files_alone(tmp_path):
    # No file of the proxy may grow beyond some hundred kilobytes, and it hears of that as of a full disk.
    limited = ["bash", "-c", "trap '' XFSZ; ulimit -f 300; exec \"$0\""]
    with Servers(tmp_path) as servers:
        url = servers.serve(
            limited,
            PATH=os.environ["PATH"],
            TMPDIR=str(tmp_path),
            AZURE_OPENAI_API_KEY=KEY,
            AZURE_OPENAI_API_BASE=servers.simulate("whisper-1=whisper:100000"),
            AZURE_OPENAI_API_VERSION="2024-10-21",
        )
        with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", **LIMITS) as client:
            with pytest.raises(openai.InternalServerError) as caught:
                client.audio.transcriptions.create(model="whisper-1", file=("speech.wav", LARGE))
            answer = client.audio.transcriptions.create(model="whisper-1", file=("speech.wav", SMALL))

    assert (caught.value.status_code, caught.value.code) == (507, "insufficient_storage")
    assert "TMPDIR" in caught.value.message
    assert answer.text == f"I hear {named(SMALL)}."
    assert sorted(path.name for path in tmp_path.iterdir()) == ["serve.log", "simulate.log"]


def test_many_sounds_at_once_each_have_their_own_answer(proxy_url):
    sounds = [bytes([number]) * 300_000 for number in range(8)]

    async def transcribe_all():
        async with openai.AsyncOpenAI(base_url=f"{proxy_url}/v1", api_key="unused", **LIMITS) as client:
            calls = [client.audio.transcriptions.create(model="whisper-1", file=("s", sound)) for sound in sounds]
            return await asyncio.gather(*calls)

    answers = asyncio.run(transcribe_all())

    assert [answer.text for answer in answers] == [f"I hear {named(sound)}." for sound in sounds]
