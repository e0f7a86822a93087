// Node's OpenAI clients against the proxy: OpenAI's own package, LangChain.js and the Vercel AI SDK, each set up as
// docs/clients.md shows.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createAzure } from "@ai-sdk/azure";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool as langchainTool } from "@langchain/core/tools";
import { AzureChatOpenAI, ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { embedMany } from "ai";
import OpenAI, { AzureOpenAI } from "openai";
import { zodResponseFormat } from "openai/helpers/zod";

import { testModels } from "./ai-sdk.js";
import { all, answerWeather, apiKey, baseURL, City, Forecast, url } from "./demo.js";

const apiVersion = "2024-10-21";
const said = [{ role: "user", content: "Say something short." }];

// ---- OpenAI's package ----

const clients = {
  OpenAI: new OpenAI({ baseURL, apiKey, maxRetries: 0 }),
  AzureOpenAI: new AzureOpenAI({ endpoint: url, apiKey, apiVersion, maxRetries: 0 }),
};

for (const [name, client] of Object.entries(clients)) {
  test(`${name} chats, with the headers of the proxy`, async () => {
    const { data, response } = await client.chat.completions
      .create({ model: "gpt-4o", messages: said, max_tokens: 50 })
      .withResponse();

    assert.ok(data.choices[0].message.content.trim());
    assert.ok(data.usage.total_tokens > 0);
    assert.ok(data._request_id);
    assert.match(response.headers.get("x-proxy-instance"), /^(east|west|north)$/);
  });

  test(`${name} streams`, async () => {
    const stream = await client.chat.completions.create({
      model: "gpt-4o",
      messages: said,
      max_tokens: 50,
      stream: true,
      stream_options: { include_usage: true },
    });

    const pieces = [];
    let usage;
    for await (const chunk of stream) {
      if (chunk.choices[0]?.delta?.content) pieces.push(chunk.choices[0].delta.content);
      usage = chunk.usage ?? usage;
    }

    assert.ok(pieces.length > 1);
    assert.ok(usage.completion_tokens > 0);
  });

  test(`${name} parses an answer`, async () => {
    const answer = await client.chat.completions.parse({
      model: "gpt-4o",
      messages: said,
      response_format: zodResponseFormat(Forecast, "forecast"),
    });

    assert.equal(typeof answer.choices[0].message.parsed.degrees, "number");
  });

  test(`${name} embeds`, async () => {
    const answer = await client.embeddings.create({ model: "text-embedding-3-small", input: ["one", "two"] });

    assert.deepEqual(
      answer.data.map((item) => item.embedding.length),
      [1536, 1536],
    );
    assert.equal(typeof answer.data[0].embedding[0], "number");
  });
}

test("OpenAI runs tools until it has an answer", async () => {
  const runner = clients.OpenAI.chat.completions.runTools({
    model: "gpt-4o",
    messages: [{ role: "user", content: "Use get_weather for Oslo." }],
    tools: [
      {
        type: "function",
        function: {
          name: "get_weather",
          parameters: { type: "object", properties: { city: { type: "string" } } },
          parse: JSON.parse,
          function: answerWeather,
        },
      },
    ],
  });

  assert.ok((await runner.finalContent()).trim());
  assert.match(await runner.finalFunctionToolCallResult(), /^Rain in /);
});

test("OpenAI raises errors with code and message", async () => {
  const client = clients.OpenAI;

  await assert.rejects(client.chat.completions.create({ model: "gpt-4o", messages: said, max_tokens: 1_000_000 }), {
    status: 429,
    code: "request_exceeds_tpm",
  });
  await assert.rejects(client.chat.completions.create({ model: 7, messages: said }), { status: 400, param: "model" });
  await assert.rejects(client.models.retrieve("no-such-model"), { status: 404, code: "model_not_found" });
});

// ---- LangChain.js ----

const langchain = {
  ChatOpenAI: new ChatOpenAI({ configuration: { baseURL }, apiKey, model: "gpt-4o", maxRetries: 0 }),
  AzureChatOpenAI: new AzureChatOpenAI({
    azureOpenAIEndpoint: url,
    azureOpenAIApiKey: apiKey,
    azureOpenAIApiDeploymentName: "gpt-4o",
    azureOpenAIApiVersion: apiVersion,
    maxRetries: 0,
  }),
};

for (const [name, chat] of Object.entries(langchain)) {
  test(`${name} answers, streams and fills a schema`, async () => {
    const answer = await chat.invoke("Say something short.");
    const pieces = await all(await chat.stream("Say something short."));
    const forecast = await chat.withStructuredOutput(Forecast).invoke("Oslo?");

    assert.ok(answer.content.trim());
    assert.ok(pieces.filter((piece) => piece.content).length > 1);
    assert.equal(typeof forecast.degrees, "number");
  });

  test(`${name} calls a tool and reads its result`, async () => {
    const weather = langchainTool(answerWeather, {
      name: "get_weather",
      description: "Tells the weather of a city.",
      schema: City,
    });
    const able = chat.bindTools([weather]);
    const question = new HumanMessage("Use get_weather for Oslo.");

    const call = await able.invoke([question]);
    const result = await weather.invoke(call.tool_calls[0]);
    const answer = await able.invoke([question, call, result]);

    assert.ok(result instanceof ToolMessage);
    assert.match(result.content, /^Rain in /);
    assert.ok(answer.content.trim());
  });
}

test("OpenAIEmbeddings embeds", async () => {
  const embeddings = new OpenAIEmbeddings({ configuration: { baseURL }, apiKey, model: "text-embedding-3-small" });

  assert.equal((await embeddings.embedQuery("a question")).length, 1536);
  assert.equal((await embeddings.embedDocuments(["one", "two"])).length, 2);
});

// ---- Vercel AI SDK ----

const openai = createOpenAI({ baseURL, apiKey });
const compatible = createOpenAICompatible({ name: "proxy", baseURL, apiKey, supportsStructuredOutputs: true });
const azure = createAzure({ baseURL: `${url}/openai`, apiKey, apiVersion, useDeploymentBasedUrls: true });

const models = {
  "@ai-sdk/openai": openai.chat("gpt-4o"),
  "@ai-sdk/openai-compatible": compatible("gpt-4o"),
  "@ai-sdk/azure": azure.chat("gpt-4o"),
};

testModels(models, "chat completions");

test("the Vercel AI SDK embeds", async () => {
  const { embeddings } = await embedMany({
    model: openai.textEmbeddingModel("text-embedding-3-small"),
    values: ["one", "two"],
    maxRetries: 0,
  });

  assert.deepEqual(
    embeddings.map((vector) => vector.length),
    [1536, 1536],
  );
});
