// OpenAI's Agents SDK and LangChain's agents for Node, over both APIs, each set up as docs/clients.md shows.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ChatOpenAI } from "@langchain/openai";
import {
  Agent,
  OpenAIChatCompletionsModel,
  OpenAIResponsesModel,
  run,
  setTracingDisabled,
  tool,
} from "@openai/agents";
import { createAgent, tool as langchainTool } from "langchain";
import OpenAI, { AzureOpenAI } from "openai";

import { answerWeather, apiKey, baseURL, City, Forecast, url } from "./demo.js";

// ---- OpenAI's Agents SDK ----

// Without this each run is reported to OpenAI's own servers.
setTracingDisabled(true);

const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const azure = new AzureOpenAI({ endpoint: url, apiKey, apiVersion: "2025-04-01-preview", maxRetries: 0 });
const weather = tool({
  name: "get_weather",
  description: "Tells the weather of a city.",
  parameters: City,
  execute: answerWeather,
});

const models = {
  "chat completions": new OpenAIChatCompletionsModel(client, "gpt-4o"),
  responses: new OpenAIResponsesModel(client, "gpt-4o"),
  "Azure's chat completions": new OpenAIChatCompletionsModel(azure, "gpt-4o"),
  "Azure's responses": new OpenAIResponsesModel(azure, "gpt-4o"),
};

for (const [name, model] of Object.entries(models)) {
  test(`an agent calls its tool and answers over ${name}`, async () => {
    const agent = new Agent({ name: "Clerk", instructions: "Be brief.", model, tools: [weather] });

    const result = await run(agent, "Use get_weather for Oslo.");

    const kinds = result.newItems.map((item) => item.type);
    assert.deepEqual(kinds, ["tool_call_item", "tool_call_output_item", "message_output_item"]);
    assert.match(result.newItems[1].output, /^Rain in /);
    assert.ok(result.finalOutput.trim());
    assert.ok(result.runContext.usage.totalTokens > 0);
  });

  test(`an agent streams through its tool over ${name}`, async () => {
    const agent = new Agent({ name: "Clerk", model, tools: [weather] });

    const result = await run(agent, "Use get_weather for Oslo.", { stream: true });
    const pieces = [];
    for await (const piece of result.toTextStream()) pieces.push(piece);
    await result.completed;

    assert.ok(pieces.length > 1);
    assert.ok(result.newItems.some((item) => item.type === "tool_call_output_item"));
    assert.ok(result.runContext.usage.totalTokens > 0);
  });

  test(`an agent fills a schema over ${name}`, async () => {
    const agent = new Agent({ name: "Clerk", model, outputType: Forecast });

    assert.equal(typeof (await run(agent, "Oslo?")).finalOutput.degrees, "number");
  });
}

// ---- LangChain's agents ----

for (const useResponsesApi of [false, true]) {
  test(`LangChain's agent calls its tool and streams, ${useResponsesApi ? "responses" : "chat completions"}`, async () => {
    const model = new ChatOpenAI({ configuration: { baseURL }, apiKey, model: "gpt-4o", maxRetries: 0, useResponsesApi });
    const tools = [langchainTool(answerWeather, { name: "get_weather", description: "Tells the weather.", schema: City })];
    const agent = createAgent({ model, tools });
    const question = { messages: [{ role: "user", content: "Use get_weather for Oslo." }] };

    const { messages } = await agent.invoke(question);
    const pieces = [];
    for await (const [piece] of await agent.stream(question, { streamMode: "messages" })) pieces.push(piece.text);

    assert.deepEqual(
      messages.map((message) => message.getType()),
      ["human", "ai", "tool", "ai"],
    );
    assert.match(messages[2].content, /^Rain in /);
    assert.ok(messages[3].text.trim());
    assert.ok(pieces.filter(Boolean).length > 1);
  });
}
