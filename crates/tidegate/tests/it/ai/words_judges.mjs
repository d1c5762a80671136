// Asks a mock of Voyage and of IBM through their own SDKs for what the gateway asks it for, and prints what they understood.
//
// usage: words_judges.mjs BASE KEY
import { VoyageAIClient } from "voyageai";
import { WatsonXAI } from "@ibm-cloud/watsonx-ai";
import { BearerTokenAuthenticator } from "ibm-cloud-sdk-core";

const [base, key] = process.argv.slice(2);
const voyage = new VoyageAIClient({ apiKey: key, environment: `${base}/voyage`, maxRetries: 0 });
const ranked = await voyage.rerank({ model: "rerank-2.5", query: "tide", documents: ["a", "b"], topK: 1 });
console.log("voyage rank", ranked.data[0].index, ranked.data[0].relevanceScore);
const vectors = await voyage.embed({ model: "voyage-3.5", input: ["high water"] });
console.log("voyage vector", JSON.stringify(vectors.data[0].embedding), vectors.usage.totalTokens);

const authenticator = new BearerTokenAuthenticator({ bearerToken: key });
const watsonx = new WatsonXAI({ version: "2025-02-06", serviceUrl: `${base}/watsonx`, authenticator });
const of = { modelId: "ibm/granite-4-h-small", projectId: "tide" };
const messages = [{ role: "user", content: [{ type: "text", text: "high water?" }] }];
const tools = [{ type: "function", function: { name: "get_tide", parameters: { type: "object", properties: {} } } }];
const { result } = await watsonx.textChat({ ...of, messages, tools, maxTokens: 50, temperature: 0.5 });
console.log("watsonx chat", result.choices[0].message.content, result.usage.completion_tokens);
let said = "";
let used;
for await (const event of await watsonx.textChatStream({ ...of, messages, returnObject: true })) {
  said += event.data.choices[0]?.delta.content ?? "";
  used = event.data.usage?.completion_tokens ?? used;
}
console.log("watsonx stream", said, used);
const inputs = [{ text: "a" }, { text: "b" }];
const parameters = { return_options: { top_n: 1 } };
const order = await watsonx.textRerank({ ...of, modelId: "cross-encoder/ms-marco", query: "tide", inputs, parameters });
console.log("watsonx rank", order.result.results[0].index, order.result.results[0].score);
