// Calls the gateway through one official SDK of JavaScript and prints what it understood, a JSON object a line.
//
// usage: sdk.mjs SDK BASE KEY MODEL CASE... ; a case that begins with `stream:` is asked for as a stream, one
// that begins with `image:` together with a picture, with `stream+image:` both. `CASE@MODEL` and `CASE@MODEL@KEY` are
// asked of another model, with another key.

let [sdk, base, key, model, ...cases] = process.argv.slice(2);
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const dataUrl = `data:image/png;base64,${pixel}`;
const port = { type: "object", properties: { port: { type: "string" } }, required: ["port"] };
const parsed = (text) => JSON.parse(text || "{}");

async function openaiChat() {
  const { default: OpenAI } = await import("openai");
  const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0 });
  const tools = [{ type: "function", function: { name: "get_tide", parameters: port } }];
  return async (prompt, stream, image) => {
    const both = [{ type: "text", text: prompt }, { type: "image_url", image_url: { url: dataUrl } }];
    const asked = { model, messages: [{ role: "user", content: image ? both : prompt }], tools };
    const answer = stream
      ? await client.chat.completions.stream({ ...asked, stream_options: { include_usage: true } }).finalChatCompletion()
      : await client.chat.completions.create(asked);
    const message = answer.choices[0].message;
    const calls = (message.tool_calls ?? []).map((call) => [call.function.name, parsed(call.function.arguments)]);
    return [message.content, calls, answer.usage.prompt_tokens, answer.usage.completion_tokens];
  };
}

async function openaiResponses() {
  const { default: OpenAI } = await import("openai");
  const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0 });
  const tools = [{ type: "function", name: "get_tide", parameters: port, strict: false }];
  return async (prompt, stream, image) => {
    const both = [{ type: "input_text", text: prompt }, { type: "input_image", image_url: dataUrl, detail: "auto" }];
    const asked = { model, input: image ? [{ role: "user", content: both }] : prompt, tools };
    const answer = stream ? await client.responses.stream(asked).finalResponse() : await client.responses.create(asked);
    const calls = answer.output.filter((item) => item.type === "function_call");
    const text = answer.output
      .filter((item) => item.type === "message")
      .flatMap((item) => item.content)
      .map((part) => part.text ?? "")
      .join("");
    const { input_tokens: input, output_tokens: output } = answer.usage;
    return [text, calls.map((call) => [call.name, parsed(call.arguments)]), input, output];
  };
}

async function anthropic() {
  const { default: Anthropic } = await import("@anthropic-ai/sdk");
  const client = new Anthropic({ baseURL: base, apiKey: key, maxRetries: 0 });
  const tools = [{ name: "get_tide", input_schema: port }];
  return async (prompt, stream, image) => {
    const source = { type: "base64", media_type: "image/png", data: pixel };
    const content = image ? [{ type: "text", text: prompt }, { type: "image", source }] : prompt;
    const asked = { model, max_tokens: 100, messages: [{ role: "user", content }], tools };
    const answer = stream ? await client.messages.stream(asked).finalMessage() : await client.messages.create(asked);
    const of = (type) => answer.content.filter((block) => block.type === type);
    const { input_tokens: fresh, output_tokens: output, ...cached } = answer.usage;
    const input = fresh + (cached.cache_read_input_tokens ?? 0) + (cached.cache_creation_input_tokens ?? 0);
    const calls = of("tool_use").map((block) => [block.name, block.input]);
    return [of("text").map((block) => block.text).join(""), calls, input, output];
  };
}

async function gemini() {
  const { GoogleGenAI } = await import("@google/genai");
  const client = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: base } });
  const config = { tools: [{ functionDeclarations: [{ name: "get_tide", parametersJsonSchema: port }] }] };
  return async (prompt, stream, image) => {
    const chunks = [];
    const picture = { inlineData: { data: pixel, mimeType: "image/png" } };
    const contents = image ? [{ role: "user", parts: [{ text: prompt }, picture] }] : prompt;
    if (stream) {
      for await (const chunk of await client.models.generateContentStream({ model, contents, config })) {
        chunks.push(chunk);
      }
    } else {
      chunks.push(await client.models.generateContent({ model, contents, config }));
    }
    let [text, calls, usage] = ["", [], undefined];
    for (const chunk of chunks) {
      usage = chunk.usageMetadata ?? usage;
      for (const part of (chunk.candidates ?? []).flatMap((candidate) => candidate.content?.parts ?? [])) {
        if (part.functionCall) calls.push([part.functionCall.name, part.functionCall.args ?? {}]);
        else if (part.text && !part.thought) text += part.text;
      }
    }
    const output = (usage.candidatesTokenCount ?? 0) + (usage.thoughtsTokenCount ?? 0);
    return [text, calls, usage.promptTokenCount, output];
  };
}

// Vercel's SDK, by each of its providers for the vendors' dialects.
async function vercel(provider) {
  const { generateText, streamText, jsonSchema, tool } = await import("ai");
  const tools = { get_tide: tool({ description: "The tide at a port", inputSchema: jsonSchema(port) }) };
  return async (prompt, stream, image) => {
    const picture = { type: "file", mediaType: "image/png", data: pixel };
    const content = image ? [{ type: "text", text: prompt }, picture] : prompt;
    const messages = [{ role: "user", content }];
    const asked = { model: provider, messages, tools, maxRetries: 0, maxOutputTokens: 100 };
    if (!stream) {
      const answer = await generateText(asked);
      const { inputTokens, outputTokens } = answer.usage;
      return [answer.text, answer.toolCalls.map((call) => [call.toolName, call.input]), inputTokens, outputTokens];
    }
    let failed;
    const answer = streamText({ ...asked, onError: ({ error }) => (failed = error) });
    await answer.consumeStream();
    if (failed) throw failed;
    const { inputTokens, outputTokens } = await answer.usage;
    const calls = (await answer.toolCalls).map((call) => [call.toolName, call.input]);
    return [await answer.text, calls, inputTokens, outputTokens];
  };
}

async function vercelChat() {
  const { createOpenAI } = await import("@ai-sdk/openai");
  return vercel(createOpenAI({ baseURL: `${base}/v1`, apiKey: key }).chat(model));
}

async function vercelResponses() {
  const { createOpenAI } = await import("@ai-sdk/openai");
  return vercel(createOpenAI({ baseURL: `${base}/v1`, apiKey: key }).responses(model));
}

async function vercelAnthropic() {
  const { createAnthropic } = await import("@ai-sdk/anthropic");
  return vercel(createAnthropic({ baseURL: `${base}/v1`, apiKey: key })(model));
}

async function vercelGemini() {
  const { createGoogleGenerativeAI } = await import("@ai-sdk/google");
  return vercel(createGoogleGenerativeAI({ baseURL: `${base}/v1beta`, apiKey: key })(model));
}

const sdks = {
  "openai-chat": openaiChat,
  "openai-responses": openaiResponses,
  anthropic,
  gemini,
  "vercel:openai-chat": vercelChat,
  "vercel:openai-responses": vercelResponses,
  "vercel:anthropic": vercelAnthropic,
  "vercel:gemini": vercelGemini,
};
const usual = [model, key];
// When to try again, where the SDK shows its users the header.
const hint = (error) => error.headers?.get?.("retry-after") ?? error.responseHeaders?.["retry-after"] ?? null;
let [call, askedWith] = [undefined, ""];
for (const one of cases) {
  const [asked, ...other] = one.split("@");
  [model, key] = [...other, ...usual.slice(other.length)];
  if (askedWith !== `${model} ${key}`) [call, askedWith] = [await sdks[sdk](), `${model} ${key}`];
  const [, how, what] = asked.match(/^(?:([a-z+]+):)?(.*)$/);
  try {
    const ask = call(`case: ${what}`, Boolean(how?.includes("stream")), Boolean(how?.includes("image")));
    const [text, calls, input, output] = await ask;
    console.log(JSON.stringify({ case: one, text: text || null, calls, input, output }));
  } catch (error) {
    const status = error.status ?? error.statusCode ?? error.code ?? null;
    const name = error.constructor?.name ?? error.name;
    console.log(JSON.stringify({ case: one, error: name, status, message: String(error.message), hint: hint(error) }));
  }
}
