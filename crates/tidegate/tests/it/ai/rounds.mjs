// Tool rounds through one official SDK of JavaScript: what came of each turn goes back as the SDK's users send it, with the
// results of its calls, until the model calls nothing more. Prints the text of that last turn. Vercel's SDK goes the rounds
// by itself.
//
// usage: rounds.mjs SDK BASE KEY MODEL...

const [sdk, base, key, ...models] = process.argv.slice(2);
const port = { type: "object", properties: { port: { type: "string" } }, required: ["port"] };
const [ask, told] = ["When is high water in Brest?", "at noon"];
const unproven = ["deepinfra", "cohere"];

async function openaiChat(model, stream) {
  const { default: OpenAI } = await import("openai");
  const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0 });
  const tools = [{ type: "function", function: { name: "get_tide", parameters: port } }];
  const messages = [{ role: "user", content: ask }];
  const turn = async () => {
    const asked = { model, messages, tools, reasoning_effort: "low" };
    const answer = stream
      ? await client.chat.completions.stream(asked).finalChatCompletion()
      : await client.chat.completions.create(asked);
    return answer.choices[0].message;
  };
  for (;;) {
    const message = await turn();
    if (!message.tool_calls?.length) return message.content;
    const calls = message.tool_calls.map(({ id, type, function: { name, arguments: text } }) => (
      { id, type, function: { name, arguments: text } }
    ));
    // As with Python's: of models without proofs the whole message goes back.
    const kept = { role: "assistant", content: message.content, tool_calls: calls };
    messages.push(unproven.includes(model) ? { ...message, parsed: undefined } : kept);
    messages.push(...calls.map(({ id }) => ({ role: "tool", tool_call_id: id, content: told })));
  }
}

async function anthropic(model, stream) {
  const { default: Anthropic } = await import("@anthropic-ai/sdk");
  const client = new Anthropic({ baseURL: base, apiKey: key, maxRetries: 0 });
  const messages = [{ role: "user", content: ask }];
  const turn = () => {
    const tools = [{ name: "get_tide", input_schema: port }];
    const thinking = { type: "enabled", budget_tokens: 2000 };
    const asked = { model, max_tokens: 4000, messages, tools, thinking };
    return stream ? client.messages.stream(asked).finalMessage() : client.messages.create(asked);
  };
  for (;;) {
    const { content } = await turn();
    const uses = content.filter((block) => block.type === "tool_use");
    if (!uses.length) return content.map((block) => block.text ?? "").join("");
    const results = uses.map(({ id }) => ({ type: "tool_result", tool_use_id: id, content: told }));
    messages.push({ role: "assistant", content }, { role: "user", content: results });
  }
}

async function gemini(model, stream) {
  const { GoogleGenAI } = await import("@google/genai");
  const client = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: base } });
  const tools = [{ functionDeclarations: [{ name: "get_tide", parametersJsonSchema: port }] }];
  const config = { tools, thinkingConfig: { thinkingBudget: 2000 } };
  const contents = [{ role: "user", parts: [{ text: ask }] }];
  const turn = async () => {
    const chunks = [];
    const asked = { model, contents, config };
    if (stream) for await (const chunk of await client.models.generateContentStream(asked)) chunks.push(chunk);
    else chunks.push(await client.models.generateContent(asked));
    const all = chunks.flatMap((chunk) => chunk.candidates ?? []).flatMap(({ content }) => content?.parts ?? []);
    return all.filter((part) => part.text !== "");
  };
  for (;;) {
    const parts = await turn();
    const calls = parts.flatMap(({ functionCall }) => functionCall ?? []);
    if (!calls.length) return parts.filter((part) => !part.thought).map((part) => part.text ?? "").join("");
    const results = calls.map(({ id, name }) => ({ functionResponse: { id, name, response: { result: told } } }));
    contents.push({ role: "model", parts }, { role: "user", parts: results });
  }
}

// Vercel's SDK, by each of its providers for the vendors' dialects.
async function vercel(model, stream, providerOptions) {
  const { generateText, streamText, jsonSchema, tool, isStepCount } = await import("ai");
  const get_tide = tool({ description: "The tide at a port", inputSchema: jsonSchema(port), execute: () => told });
  const asked = { model, prompt: ask, tools: { get_tide }, stopWhen: isStepCount(9), maxRetries: 0, providerOptions };
  if (!stream) return (await generateText(asked)).text;
  let failed;
  const answer = streamText({ ...asked, onError: ({ error }) => (failed = error) });
  await answer.consumeStream();
  if (failed) throw failed;
  return answer.text;
}

async function vercelChat(model, stream) {
  const { createOpenAI } = await import("@ai-sdk/openai");
  const options = { openai: { reasoningEffort: "low", forceReasoning: true } };
  return vercel(createOpenAI({ baseURL: `${base}/v1`, apiKey: key }).chat(model), stream, options);
}

async function vercelResponses(model, stream) {
  const { createOpenAI } = await import("@ai-sdk/openai");
  const include = ["reasoning.encrypted_content"];
  const options = { openai: { reasoningEffort: "low", forceReasoning: true, store: false, include } };
  return vercel(createOpenAI({ baseURL: `${base}/v1`, apiKey: key }).responses(model), stream, options);
}

async function vercelAnthropic(model, stream) {
  const { createAnthropic } = await import("@ai-sdk/anthropic");
  const options = { anthropic: { thinking: { type: "enabled", budgetTokens: 2000 } } };
  return vercel(createAnthropic({ baseURL: `${base}/v1`, apiKey: key })(model), stream, options);
}

async function vercelGemini(model, stream) {
  const { createGoogleGenerativeAI } = await import("@ai-sdk/google");
  const options = { google: { thinkingConfig: { thinkingBudget: 2000 } } };
  return vercel(createGoogleGenerativeAI({ baseURL: `${base}/v1beta`, apiKey: key })(model), stream, options);
}

const sdks = {
  "openai-chat": openaiChat,
  anthropic,
  gemini,
  "vercel:openai-chat": vercelChat,
  "vercel:openai-responses": vercelResponses,
  "vercel:anthropic": vercelAnthropic,
  "vercel:gemini": vercelGemini,
};
for (const model of models) {
  for (const stream of [false, true]) {
    try {
      console.log(JSON.stringify([model, stream, await sdks[sdk](model, stream)]));
    } catch (error) {
      console.log(JSON.stringify([model, stream, `${error.constructor?.name}: ${error.message}`]));
    }
  }
}
