// What the tests share: where the demo listens, and what any client can be asked for.
//
// The address comes from PROXY_URL alone, so that no test can reach another server.

import assert from "node:assert/strict";

import { z } from "zod";

export const url = process.env.PROXY_URL;
assert.match(url ?? "", /^http:\/\/[^/]+$/, "PROXY_URL must be http://HOST:PORT");

export const baseURL = `${url}/v1`;
export const apiKey = "unused";

export const Forecast = z.object({ city: z.string(), degrees: z.number() });
export const City = z.object({ city: z.string() });
export const answerWeather = async ({ city }) => `Rain in ${city}.`;

export async function all(source) {
  const items = [];
  for await (const item of source) items.push(item);
  return items;
}
