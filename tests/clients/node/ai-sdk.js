// What the Vercel AI SDK does with a model, whichever API it speaks.

import assert from "node:assert/strict";
import { test } from "node:test";

import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";

import { all, answerWeather, City, Forecast } from "./demo.js";

export const tools = {
  get_weather: tool({ description: "Tells the weather of a city.", inputSchema: City, execute: answerWeather }),
};

// Tests each of the models, which all speak this API.
export function testModels(models, api) {
  for (const [name, model] of Object.entries(models)) {
    test(`${name} generates and streams text over ${api}`, async () => {
      const { text, usage } = await generateText({ model, prompt: "Say something short.", maxRetries: 0 });
      const pieces = await all(streamText({ model, prompt: "Say something short.", maxRetries: 0 }).textStream);

      assert.ok(text.trim());
      assert.ok(usage.totalTokens > 0);
      assert.ok(pieces.length > 1);
    });

    test(`${name} fills a schema over ${api}`, async () => {
      const { object } = await generateObject({ model, schema: Forecast, prompt: "Oslo?", maxRetries: 0 });

      assert.equal(typeof object.degrees, "number");
    });

    test(`${name} calls tools in steps over ${api}`, async () => {
      const { steps, text } = await generateText({
        model,
        prompt: "Use get_weather for Oslo.",
        maxRetries: 0,
        stopWhen: stepCountIs(3),
        tools,
      });

      assert.match(steps[0].toolResults[0].output, /^Rain in /);
      assert.ok(text.trim());
    });
  }
}
