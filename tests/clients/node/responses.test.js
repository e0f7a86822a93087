// The Responses API with Node's clients: OpenAI's own package, LangChain.js, and the Vercel AI SDK, whose OpenAI provider
// speaks it unless told otherwise.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createAzure } from "@ai-sdk/azure";
import { createOpenAI } from "@ai-sdk/openai";
import { ChatOpenAI } from "@langchain/openai";
import { generateText, stepCountIs, streamText } from "ai";
import OpenAI, { AzureOpenAI } from "openai";
import { zodTextFormat } from "openai/helpers/zod";

import { testModels, tools } from "./ai-sdk.js";
import { all, apiKey, baseURL, Forecast, url } from "./demo.js";

const apiVersion = "2025-04-01-preview";

// ---- OpenAI's package ----

const clients = {
  OpenAI: new OpenAI({ baseURL, apiKey, maxRetries: 0 }),
  AzureOpenAI: new AzureOpenAI({ endpoint: url, apiKey, apiVersion, maxRetries: 0 }),
};

for (const [name, { responses }] of Object.entries(clients)) {
  test(`${name} creates, reads, lists, continues and deletes a response`, async () => {
    const first = await responses.create({ model: "gpt-4o", input: "Say something short.", max_output_tokens: 50 });
    const second = await responses.create({ model: "gpt-4o", input: "And more.", previous_response_id: first.id });
    const read = await responses.retrieve(first.id);
    const items = await all(responses.inputItems.list(first.id));
    await responses.delete(first.id);

    assert.ok(first.output_text.trim());
    assert.ok(first.usage.total_tokens > 0);
    assert.equal(second.previous_response_id, first.id);
    assert.equal(read.output_text, first.output_text);
    assert.equal(items[0].content[0].text, "Say something short.");
    await assert.rejects(responses.retrieve(first.id), { status: 404, code: "response_not_found" });
  });

  test(`${name} cancels a response in the background`, async () => {
    const begun = await responses.create({ model: "gpt-4o", input: "Take your time.", background: true });

    assert.equal((await responses.cancel(begun.id)).status, "cancelled");
  });

  test(`${name} streams a response`, async () => {
    const events = await all(await responses.create({ model: "gpt-4o", input: "Say something short.", stream: true }));

    assert.ok(events.filter((event) => event.type === "response.output_text.delta").length > 1);
    assert.equal(events.at(-1).type, "response.completed");
  });

  test(`${name} parses a response, whole and streamed`, async () => {
    const ask = { model: "gpt-4o", input: "Oslo?", text: { format: zodTextFormat(Forecast, "forecast") } };

    const whole = await responses.parse(ask);
    const streamed = await responses.stream(ask).finalResponse();

    assert.equal(typeof whole.output_parsed.degrees, "number");
    assert.equal(typeof streamed.output_parsed.degrees, "number");
  });

  test(`${name} raises errors with code and field`, async () => {
    for (const stream of [false, true]) {
      const ask = { model: "gpt-4o", input: "Hello", stream };
      await assert.rejects(responses.create({ ...ask, max_output_tokens: 1_000_000 }), {
        status: 429,
        code: "request_exceeds_tpm",
      });
      await assert.rejects(responses.create({ ...ask, previous_response_id: "resp_gone" }), {
        status: 400,
        code: "previous_response_not_found",
        param: "previous_response_id",
      });
    }
  });
}

// ---- LangChain.js ----

test("LangChain.js answers, streams and fills a schema over responses", async () => {
  const chat = new ChatOpenAI({
    configuration: { baseURL },
    apiKey,
    model: "gpt-4o",
    maxRetries: 0,
    useResponsesApi: true,
  });

  const answer = await chat.invoke("Say something short.");
  const pieces = await all(await chat.stream("Say something short."));
  const forecast = await chat.withStructuredOutput(Forecast).invoke("Oslo?");

  assert.ok(answer.text.trim());
  assert.ok(pieces.filter((piece) => piece.text).length > 1);
  assert.equal(typeof forecast.degrees, "number");
});

// ---- Vercel AI SDK ----

const models = {
  "@ai-sdk/openai": createOpenAI({ baseURL, apiKey })("gpt-4o"),
  "@ai-sdk/azure": createAzure({ baseURL: `${url}/openai`, apiKey }).responses("gpt-4o"),
};

testModels(models, "responses");

test("@ai-sdk/azure needs no setting but the address and a key", async () => {
  const model = createAzure({ baseURL: `${url}/openai`, apiKey })("gpt-4o");

  const { text } = await generateText({ model, prompt: "Say something short.", maxRetries: 0 });

  assert.ok(text.trim());
});

// ---- Items that are kept: the AI SDK only names what an instance has said before ----

function recorded() {
  const calls = [];
  const recorder = async (address, init) => {
    const answer = await fetch(address, init);
    const named = JSON.parse(init.body).input.filter((item) => item.type === "item_reference");
    calls.push({ instance: answer.headers.get("x-proxy-instance"), named: named.map((item) => item.id) });
    return answer;
  };
  return { calls, model: createOpenAI({ baseURL, apiKey, fetch: recorder })("gpt-4o") };
}

for (const generate of [generateText, streamText]) {
  test(`${generate.name} of the AI SDK finds what it only names where it was made`, async () => {
    const makers = new Set();
    for (let run = 0; run < 4; run++) {
      const { calls, model } = recorded();
      const asked = { role: "user", content: "Use get_weather for Oslo." };
      const options = { model, tools, maxRetries: 0, stopWhen: stepCountIs(3) };

      const first = await generate({ ...options, messages: [asked] });
      const said = (await first.response).messages;
      const text = await first.text;
      const more = { role: "user", content: "And what else?" };
      const second = await generate({ ...options, messages: [asked, ...said, more] });

      assert.ok(text.trim());
      assert.ok((await second.text).trim());
      assert.equal((await first.steps).length, 2);
      const [, told, last] = calls;
      assert.equal(calls.length, 3);
      assert.ok(last.named.some((id) => id.startsWith("msg_")), "what was told is only named");
      assert.equal(last.instance, told.instance);
      makers.add(last.instance);
    }
    assert.ok(makers.size > 1, "each of several instances has made something");
  });
}
