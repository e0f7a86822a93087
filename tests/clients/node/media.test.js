// Forms with files and sound through OpenAI's package for Node. Node's form data has `model` behind the
// file. The simulated resources name the size and checksum of every file that reaches them.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI, { AzureOpenAI, toFile } from "openai";

import { apiKey, baseURL, url } from "./demo.js";

const apiVersion = "2025-04-01-preview";

const small = Buffer.from(Array.from({ length: 10_000 }, (_, at) => at % 256));
const large = Buffer.from(Array.from({ length: 600_000 }, (_, at) => at % 255));

// zlib's checksum (RFC 1950).
function adler32(bytes) {
  let [low, high] = [1, 0];
  for (const byte of bytes) {
    low = (low + byte) % 65521;
    high = (high + low) % 65521;
  }
  return ((high << 16) | low) >>> 0;
}

const named = (file) => `${file.length} bytes (adler32 ${adler32(file).toString(16).padStart(8, "0")})`;

const clients = {
  OpenAI: new OpenAI({ baseURL, apiKey, maxRetries: 0 }),
  "OpenAI below /openai/v1": new OpenAI({ baseURL: `${url}/openai/v1`, apiKey, maxRetries: 0 }),
  AzureOpenAI: new AzureOpenAI({ endpoint: url, apiKey, apiVersion, maxRetries: 0 }),
};

for (const [name, client] of Object.entries(clients)) {
  for (const [size, sound] of Object.entries({ small, large })) {
    test(`${name} transcribes a ${size} sound`, async () => {
      const file = await toFile(sound, "speech.wav");

      const answer = await client.audio.transcriptions.create({ file, model: "gpt-4o-transcribe" });

      assert.equal(answer.text, `I hear ${named(sound)}.`);
    });

    test(`${name} edits two images, one of them ${size}`, async () => {
      const image = [await toFile(sound, "a.png", { type: "image/png" }), await toFile(small, "b.png", { type: "image/png" })];

      const answer = await client.images.edit({ image, prompt: "A dot.", model: "gpt-image-1" });

      assert.equal(answer.data[0].revised_prompt, `${named(sound)} and ${named(small)}`);
      assert.ok(answer.usage.total_tokens > 0);
    });
  }

  test(`${name} translates a sound into plain text`, async () => {
    const file = await toFile(large, "speech.wav");

    const answer = await client.audio.translations.create({ file, model: "whisper-1", response_format: "text" });

    assert.equal(answer, `I hear ${named(large)}.\n`);
  });

  test(`${name} streams a transcript`, async () => {
    const file = await toFile(large, "speech.wav");
    const stream = await client.audio.transcriptions.create({ file, model: "gpt-4o-transcribe", stream: true });

    const events = [];
    for await (const event of stream) events.push(event);

    assert.equal(events.at(-1).type, "transcript.text.done");
    assert.equal(events.at(-1).text, `I hear ${named(large)}.`);
  });

  test(`${name} speaks`, async () => {
    const input = "How far is it to the moon? ".repeat(20);
    const answer = await client.audio.speech.create({ model: "tts-1", voice: "alloy", input });

    const sound = Buffer.from(await answer.arrayBuffer());

    assert.equal(sound.length, input.length * 1200);
    assert.ok(sound.every((byte, at) => byte === at % 251));
  });
}
