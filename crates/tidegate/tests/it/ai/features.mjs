// Asks for features through one official SDK of JavaScript, as its users do, and prints what came of each, a JSON object a
// line.
//
// usage: features.mjs SDK BASE KEY MODEL...

import { z } from "zod";

const [sdk, base, key, ...models] = process.argv.slice(2);
const PIXEL =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const PDF = Buffer.from("%PDF-1.4 tide table").toString("base64");
const SOUND = Buffer.from("RIFF\x24\x00\x00\x00WAVEfmt of the tide", "latin1").toString("base64");
const PORT = { type: "object", properties: { port: { type: "string" } }, required: ["port"] };
const RESULTS = ["at noon", "no such port"];
const NAMES = ["get_tide", "get_wind"];
const Tide = z.object({ port: z.string(), height: z.int() });
const SCHEMA = {
  type: "object",
  properties: { port: { type: "string" }, height: { type: "integer" } },
  required: ["port", "height"],
  additionalProperties: false,
};
const ask = (name) => `feature: ${name}`;

async function openaiChat(model) {
  const { default: OpenAI } = await import("openai");
  const { zodResponseFormat } = await import("openai/helpers/zod");
  const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0 });
  const tools = NAMES.map((name) => ({ type: "function", function: { name, parameters: PORT } }));
  const note = [{ type: "custom", custom: { name: "note", description: "Writes it down." } }];
  const form = zodResponseFormat(Tide, "Tide");
  const asked = (name, parts) => [{ role: "user", content: [{ type: "text", text: ask(name) }, ...parts] }];
  const whole = async (name, parts = [], more = {}) =>
    (await client.chat.completions.create({ model, messages: asked(name, parts), ...more })).choices[0];
  const listen = (name, parts = [], more = {}) =>
    client.chat.completions
      .stream({ model, messages: asked(name, parts), stream_options: { include_usage: true }, ...more })
      .finalChatCompletion();
  const said = async (...all) => (await whole(...all)).message.content;
  const custom = (message) => {
    const [call] = message.tool_calls;
    return [call.type, call.custom.name, call.custom.input];
  };
  const tokens = (choice) =>
    (choice.logprobs?.content ?? []).map((one) => [one.token, one.logprob, one.top_logprobs.map((other) => other.token)]);
  const titles = (message) => [message.content, (message.annotations ?? []).map((one) => one.url_citation.title)];
  const refusal = (choice) => [choice.message.refusal ?? choice.message.content, choice.finish_reason];
  const file = { type: "file", file: { filename: "tides.pdf", file_data: `data:application/pdf;base64,${PDF}` } };
  const sound = { type: "input_audio", input_audio: { data: SOUND, format: "wav" } };
  const likely = { logprobs: true, top_logprobs: 2 };
  const knobs = {
    stop: ["END"], seed: 7, frequency_penalty: 0.5, presence_penalty: 0.25, service_tier: "flex", user: "u-1",
  };
  return {
    document: (name) => said(name, [file]),
    audio: (name) => said(name, [sound]),
    forced: async (name) => {
      const chosen = { type: "function", function: { name: "get_wind" } };
      return (await whole(name, [], { tools, tool_choice: chosen })).message.tool_calls[0].function.name;
    },
    single: async (name) => (await whole(name, [], { tools, parallel_tool_calls: false })).message.tool_calls.length,
    parse: async (name) => {
      const told = await client.chat.completions.parse({ model, messages: asked(name, []), response_format: form });
      return told.choices[0].message.parsed;
    },
    calls: async (name) => {
      const { message } = await whole(name, [], { tools });
      const results = message.tool_calls.map((call, at) => ({
        role: "tool", tool_call_id: call.id, content: RESULTS[at],
      }));
      const messages = [...asked(name, []), message, ...results];
      const told = await client.chat.completions.create({ model, messages, tools });
      const made = message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]);
      return [made, told.choices[0].message.content];
    },
    json: async (name) => JSON.parse(await said(name, [], { response_format: { type: "json_object" } })),
    knobs: (name) => said(name, [], knobs),
    custom: async (name) => custom((await whole(name, [], { tools: note })).message),
    streamed: async (name) => (await listen(name, [], { response_format: form })).choices[0].message.parsed,
    "streamed-document": async (name) => (await listen(name, [file])).choices[0].message.content,
    "streamed-audio": async (name) => (await listen(name, [sound])).choices[0].message.content,
    "streamed-custom": async (name) => custom((await listen(name, [], { tools: note })).choices[0].message),
    "streamed-cached": async (name) => {
      const { usage } = await listen(name);
      return [usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens];
    },
    probabilities: async (name) => tokens(await whole(name, [], likely)),
    "streamed-probabilities": async (name) => tokens((await listen(name, [], likely)).choices[0]),
    cited: async (name) => titles((await whole(name)).message),
    "streamed-cited": async (name) => titles((await listen(name)).choices[0].message),
    refused: async (name) => refusal(await whole(name)),
    "streamed-refused": async (name) => refusal((await listen(name)).choices[0]),
    labels: (name) => said(name, [], { metadata: { trip: "7" } }),
  };
}

async function openaiResponses(model) {
  const { default: OpenAI } = await import("openai");
  const { zodTextFormat } = await import("openai/helpers/zod");
  const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0 });
  const tools = NAMES.map((name) => ({ type: "function", name, parameters: PORT, strict: false }));
  const note = [{ type: "custom", name: "note", description: "Writes it down." }];
  const text = { format: zodTextFormat(Tide, "Tide") };
  const asked = (name, parts = []) => [
    { role: "user", content: [{ type: "input_text", text: ask(name) }, ...parts] },
  ];
  const say = (name, parts, more) => client.responses.create({ model, input: asked(name, parts), ...more });
  const listen = (name, parts, more) =>
    client.responses.stream({ model, input: asked(name, parts), ...more }).finalResponse();
  const said = async (...all) => (await say(...all)).output_text;
  const made = (answer) => answer.output.filter((item) => item.type === "function_call");
  const calls = async (name, results = RESULTS) => {
    const answer = await say(name, [], { tools });
    const given = made(answer)
      .slice(0, results.length)
      .map((call, at) => ({ type: "function_call_output", call_id: call.call_id, output: results[at] }));
    const told = await client.responses.create({ model, input: [...asked(name), ...answer.output, ...given], tools });
    return [made(answer).map((call) => [call.name, JSON.parse(call.arguments)]), told.output_text];
  };
  const custom = ({ output: [item] }) => [item.type.replace("_tool_call", ""), item.name, item.input];
  const words = (answer) =>
    answer.output
      .filter((item) => item.type === "message")
      .flatMap((item) => item.content)
      .map((part) => part.text ?? "")
      .join("");
  const tokens = (answer) =>
    (answer.output[0].content[0].logprobs ?? []).map((one) => [
      one.token, one.logprob, (one.top_logprobs ?? []).map((other) => other.token),
    ]);
  const titles = (answer) => {
    const content = answer.output.flatMap((item) => item.content);
    return [words(answer), content.flatMap((part) => part.annotations.map((one) => one.title))];
  };
  const refusal = (answer) => {
    const [part] = answer.output[0].content;
    return [part.type === "refusal" ? part.refusal : part.text, part.type, answer.status];
  };
  const file = { type: "input_file", filename: "tides.pdf", file_data: `data:application/pdf;base64,${PDF}` };
  const image = { type: "input_image", image_url: `data:image/png;base64,${PIXEL}`, detail: "auto" };
  const likely = { include: ["message.output_text.logprobs"], top_logprobs: 2 };
  const knobs = { temperature: 0.5, top_p: 0.5, service_tier: "flex", safety_identifier: "u-1" };
  return {
    document: (name) => said(name, [file]),
    forced: async (name) => {
      const answer = await say(name, [], { tools, tool_choice: { type: "function", name: "get_wind" } });
      return made(answer)[0].name;
    },
    single: async (name) => made(await say(name, [], { tools, parallel_tool_calls: false })).length,
    parse: async (name) => (await client.responses.parse({ model, input: asked(name), text })).output_parsed,
    calls,
    picture: (name) => calls(name, [[{ type: "input_text", text: RESULTS[0] }, image]]),
    json: async (name) => JSON.parse(await said(name, [], { text: { format: { type: "json_object" } } })),
    knobs: (name) => said(name, [], knobs),
    custom: async (name) => custom(await say(name, [], { tools: note })),
    streamed: async (name) => (await listen(name, [], { text })).output_parsed,
    "streamed-document": async (name) => words(await listen(name, [file])),
    "streamed-custom": async (name) => custom(await listen(name, [], { tools: note })),
    "streamed-cached": async (name) => {
      const { usage } = await listen(name);
      return [usage.input_tokens, usage.input_tokens_details.cached_tokens];
    },
    probabilities: async (name) => tokens(await say(name, [], likely)),
    "streamed-probabilities": async (name) => tokens(await listen(name, [], likely)),
    cited: async (name) => titles(await say(name)),
    "streamed-cited": async (name) => titles(await listen(name)),
    refused: async (name) => refusal(await say(name)),
    "streamed-refused": async (name) => refusal(await listen(name)),
    labels: (name) => said(name, [], { metadata: { trip: "7" } }),
  };
}

async function anthropic(model) {
  const { default: Anthropic } = await import("@anthropic-ai/sdk");
  const { zodOutputFormat } = await import("@anthropic-ai/sdk/helpers/zod");
  const client = new Anthropic({ baseURL: base, apiKey: key, maxRetries: 0 });
  const tools = NAMES.map((name) => ({ name, input_schema: PORT }));
  const form = { output_config: { format: zodOutputFormat(Tide) } };
  const asked = (name, parts = [], more = {}) => ({
    model, max_tokens: 200, messages: [{ role: "user", content: [{ type: "text", text: ask(name) }, ...parts] }], ...more,
  });
  const say = (...all) => client.messages.create(asked(...all));
  const listen = (...all) => client.messages.stream(asked(...all)).finalMessage();
  const words = (message) => message.content.map((block) => block.text ?? "").join("");
  const said = async (...all) => words(await say(...all));
  const made = (message) => message.content.filter((block) => block.type === "tool_use");
  const calls = async (name, results) => {
    const answer = await say(name, [], { tools });
    const given = made(answer)
      .slice(0, results.length)
      .map((use, at) => ({ type: "tool_result", tool_use_id: use.id, ...results[at] }));
    const messages = [
      ...asked(name).messages,
      { role: "assistant", content: answer.content },
      { role: "user", content: given },
    ];
    const told = await client.messages.create({ model, max_tokens: 200, messages, tools });
    return [made(answer).map((use) => [use.name, use.input]), words(told)];
  };
  const titles = (message) => {
    const cited = message.content.flatMap((block) => block.citations ?? []);
    return [words(message), cited.map((one) => one.title ?? one.document_title ?? null)];
  };
  const refusal = (message) => [words(message), message.stop_reason];
  const document = { type: "document", source: { type: "base64", media_type: "application/pdf", data: PDF } };
  const citable = { ...document, title: "Tides", citations: { enabled: true } };
  const image = { type: "image", source: { type: "base64", media_type: "image/png", data: PIXEL } };
  const system = [{ type: "text", text: "Be terse.", cache_control: { type: "ephemeral" } }];
  return {
    document: (name) => said(name, [document]),
    citable: (name) => said(name, [citable]),
    forced: async (name) => {
      const answer = await say(name, [], { tools, tool_choice: { type: "tool", name: "get_wind" } });
      return made(answer)[0].name;
    },
    single: async (name) => {
      const tool_choice = { type: "auto", disable_parallel_tool_use: true };
      return made(await say(name, [], { tools, tool_choice })).length;
    },
    parse: async (name) => (await client.messages.parse(asked(name, [], form))).parsed_output,
    failure: (name) => calls(name, [{ content: RESULTS[0] }, { content: RESULTS[1], is_error: true }]),
    picture: (name) => calls(name, [{ content: [{ type: "text", text: RESULTS[0] }, image] }]),
    count: async (name) => {
      const { messages } = asked(name);
      return (await client.messages.countTokens({ model, messages, tools })).input_tokens > 0;
    },
    knobs: (name) => said(name, [], { stop_sequences: ["END"], metadata: { user_id: "u-1" } }),
    marks: (name) => said(name, [], { system }),
    streamed: async (name) => (await listen(name, [], form)).parsed_output,
    "streamed-document": async (name) => words(await listen(name, [document])),
    "streamed-cached": async (name) => {
      const { usage } = await listen(name);
      return [usage.input_tokens + usage.cache_read_input_tokens, usage.cache_read_input_tokens];
    },
    cited: async (name) => titles(await say(name)),
    "streamed-cited": async (name) => titles(await listen(name)),
    refused: async (name) => refusal(await say(name)),
    "streamed-refused": async (name) => refusal(await listen(name)),
  };
}

async function gemini(model) {
  const { GoogleGenAI } = await import("@google/genai");
  const client = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: base } });
  const tools = [{ functionDeclarations: NAMES.map((name) => ({ name, parametersJsonSchema: PORT })) }];
  const asked = (name, parts = []) => [{ role: "user", parts: [{ text: ask(name) }, ...parts] }];
  const say = (name, parts, config) => client.models.generateContent({ model, contents: asked(name, parts), config });
  const listen = async (name, parts, config) => {
    const chunks = [];
    const contents = asked(name, parts);
    for await (const chunk of await client.models.generateContentStream({ model, contents, config })) chunks.push(chunk);
    return chunks;
  };
  const candidates = (chunks) => chunks.flatMap((chunk) => chunk.candidates ?? []);
  const words = (chunks) =>
    candidates(chunks)
      .flatMap((one) => one.content?.parts ?? [])
      .map((part) => part.text ?? "")
      .join("");
  const made = (answer) => answer.functionCalls.map((call) => [call.name, call.args]);
  const tokens = (chunks) => {
    const told = candidates(chunks).flatMap((one) => one.logprobsResult ?? []);
    const others = told.flatMap((result) => result.topCandidates ?? []);
    return told
      .flatMap((result) => result.chosenCandidates ?? [])
      .map((one, at) => {
        const more = (others[at]?.candidates ?? []).map((other) => other.token);
        return [one.token, one.logProbability, more.filter((token) => token !== one.token)];
      });
  };
  const titles = (chunks) => {
    const sources = candidates(chunks).flatMap((one) => one.groundingMetadata?.groundingChunks ?? []);
    return [words(chunks), sources.map((source) => (source.web ?? source.retrievedContext).title)];
  };
  const refusal = (chunks) => [words(chunks), candidates(chunks).flatMap((one) => one.finishReason ?? []).pop()];
  const pdf = { inlineData: { mimeType: "application/pdf", data: PDF } };
  const wav = { inlineData: { mimeType: "audio/wav", data: SOUND } };
  const likely = { responseLogprobs: true, logprobs: 2 };
  const schema = { responseMimeType: "application/json", responseJsonSchema: SCHEMA };
  return {
    document: async (name) => (await say(name, [pdf])).text,
    audio: async (name) => (await say(name, [wav])).text,
    forced: async (name) => {
      const toolConfig = { functionCallingConfig: { mode: "ANY", allowedFunctionNames: ["get_wind"] } };
      return made(await say(name, [], { tools, toolConfig }))[0][0];
    },
    parse: async (name) => JSON.parse((await say(name, [], schema)).text),
    failure: async (name) => {
      const answer = await say(name, [], { tools });
      const results = [{ output: RESULTS[0] }, { error: RESULTS[1] }];
      const parts = answer.functionCalls.map((call, at) => ({
        functionResponse: { id: call.id, name: call.name, response: results[at] },
      }));
      const contents = [...asked(name), answer.candidates[0].content, { role: "user", parts }];
      return [made(answer), (await client.models.generateContent({ model, contents, config: { tools } })).text];
    },
    count: async (name) => (await client.models.countTokens({ model, contents: ask(name) })).totalTokens > 0,
    json: async (name) => JSON.parse((await say(name, [], { responseMimeType: "application/json" })).text),
    knobs: async (name) => {
      const config = { stopSequences: ["END"], seed: 7, frequencyPenalty: 0.5, presencePenalty: 0.25 };
      return (await say(name, [], config)).text;
    },
    streamed: async (name) => JSON.parse(words(await listen(name, [], schema))),
    "streamed-document": async (name) => words(await listen(name, [pdf])),
    "streamed-audio": async (name) => words(await listen(name, [wav])),
    "streamed-cached": async (name) => {
      const usage = (await listen(name)).flatMap((chunk) => chunk.usageMetadata ?? []).pop();
      return [usage.promptTokenCount, usage.cachedContentTokenCount];
    },
    probabilities: async (name) => tokens([await say(name, [], likely)]),
    "streamed-probabilities": async (name) => tokens(await listen(name, [], likely)),
    cited: async (name) => titles([await say(name)]),
    "streamed-cited": async (name) => titles(await listen(name)),
    refused: async (name) => refusal([await say(name)]),
    "streamed-refused": async (name) => refusal(await listen(name)),
  };
}

// Vercel's SDK, by each of its providers for the vendors' dialects. What only some of them can stands in `own`.
async function vercel(model, own) {
  const { generateText, streamText, jsonSchema, tool, Output } = await import("ai");
  const described = (name) => [name, tool({ description: name, inputSchema: jsonSchema(PORT) })];
  const tools = Object.fromEntries(NAMES.map(described));
  const asked = (name, parts = []) => [{ role: "user", content: [{ type: "text", text: ask(name) }, ...parts] }];
  const say = (name, parts, more) =>
    generateText({ model, messages: asked(name, parts), maxRetries: 0, maxOutputTokens: 200, ...more });
  const listen = async (name, parts, more) => {
    let failed;
    const onError = ({ error }) => (failed = error);
    const asks = { model, messages: asked(name, parts), maxRetries: 0, maxOutputTokens: 200, onError, ...more };
    const told = streamText(asks);
    await told.consumeStream();
    if (failed) throw failed;
    return told;
  };
  const made = (answer) => answer.toolCalls.map((call) => [call.toolName, call.input]);
  const titles = async (told) => [await told.text, (await told.sources).map((source) => source.title)];
  const tokens = async (told) => {
    const { logprobs } = (await told.providerMetadata)?.openai ?? {};
    return (logprobs ?? []).flat().map((one) => [
      one.token, one.logprob, (one.top_logprobs ?? []).map((other) => other.token),
    ]);
  };
  const refusal = async (told) => [await told.text, await told.finishReason];
  const pdf = { type: "file", mediaType: "application/pdf", data: PDF, filename: "tides.pdf" };
  const wav = { type: "file", mediaType: "audio/wav", data: SOUND };
  const output = Output.object({ schema: Tide });
  const cases = {
    document: async (name) => (await say(name, [pdf])).text,
    audio: async (name) => (await say(name, [wav])).text,
    forced: async (name) => {
      return made(await say(name, [], { tools, toolChoice: { type: "tool", toolName: "get_wind" } }))[0][0];
    },
    single: async (name) => made(await say(name, [], { tools, providerOptions: own.single })).length,
    parse: async (name) => (await say(name, [], { output })).output,
    calls: async (name) => {
      const answer = await say(name, [], { tools });
      const content = answer.toolCalls.map(({ toolCallId, toolName }, at) => ({
        type: "tool-result", toolCallId, toolName, output: { type: "text", value: RESULTS[at] },
      }));
      const messages = [...asked(name), ...(answer.responseMessages ?? answer.response.messages), { role: "tool", content }];
      return [made(answer), (await generateText({ model, messages, tools, maxRetries: 0, maxOutputTokens: 200 })).text];
    },
    knobs: async (name) => (await say(name, [], own.knobs)).text,
    streamed: async (name) => await (await listen(name, [], { output })).output,
    "streamed-document": async (name) => await (await listen(name, [pdf])).text,
    "streamed-audio": async (name) => await (await listen(name, [wav])).text,
    "streamed-cached": async (name) => {
      const usage = await (await listen(name)).usage;
      return [usage.inputTokens, usage.inputTokenDetails.cacheReadTokens];
    },
    probabilities: async (name) => tokens(await say(name, [], { providerOptions: own.likely })),
    "streamed-probabilities": async (name) => tokens(await listen(name, [], { providerOptions: own.likely })),
    cited: async (name) => titles(await say(name)),
    "streamed-cited": async (name) => titles(await listen(name)),
    refused: async (name) => refusal(await say(name)),
    "streamed-refused": async (name) => refusal(await listen(name)),
    labels: async (name) => (await say(name, [], { providerOptions: own.labels })).text,
  };
  return Object.fromEntries(Object.entries(cases).filter(([name]) => !own.lacks.includes(name)));
}

const PENALTIES = { stopSequences: ["END"], seed: 7, frequencyPenalty: 0.5, presencePenalty: 0.25 };
const openaiOptions = (more) => ({ openai: more });

async function vercelChat(model) {
  const { createOpenAI } = await import("@ai-sdk/openai");
  return vercel(createOpenAI({ baseURL: `${base}/v1`, apiKey: key }).chat(model), {
    single: openaiOptions({ parallelToolCalls: false }),
    likely: openaiOptions({ logprobs: 2 }),
    labels: openaiOptions({ metadata: { trip: "7" } }),
    knobs: { ...PENALTIES, providerOptions: openaiOptions({ user: "u-1" }) },
    lacks: [],
  });
}

async function vercelResponses(model) {
  const { createOpenAI } = await import("@ai-sdk/openai");
  return vercel(createOpenAI({ baseURL: `${base}/v1`, apiKey: key }).responses(model), {
    single: openaiOptions({ parallelToolCalls: false }),
    likely: openaiOptions({ logprobs: 2 }),
    labels: openaiOptions({ metadata: { trip: "7" } }),
    knobs: { temperature: 0.5, topP: 0.5, providerOptions: openaiOptions({ safetyIdentifier: "u-1" }) },
    lacks: ["audio", "streamed-audio", "streamed-probabilities"],
  });
}

async function vercelAnthropic(model) {
  const { createAnthropic } = await import("@ai-sdk/anthropic");
  return vercel(createAnthropic({ baseURL: `${base}/v1`, apiKey: key })(model), {
    single: { anthropic: { disableParallelToolUse: true } },
    knobs: { stopSequences: ["END"], providerOptions: { anthropic: { metadata: { userId: "u-1" } } } },
    // It asks models that it does not know by a tool in place of a schema.
    lacks: ["audio", "streamed-audio", "probabilities", "streamed-probabilities", "labels", "parse", "streamed"],
  });
}

async function vercelGemini(model) {
  const { createGoogleGenerativeAI } = await import("@ai-sdk/google");
  return vercel(createGoogleGenerativeAI({ baseURL: `${base}/v1beta`, apiKey: key })(model), {
    knobs: PENALTIES,
    lacks: ["single", "probabilities", "streamed-probabilities", "labels"],
  });
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
for (const model of models) {
  for (const [name, call] of Object.entries(await sdks[sdk](model))) {
    try {
      console.log(JSON.stringify([model, name, await call(name)]));
    } catch (error) {
      console.log(JSON.stringify([model, name, `${error.constructor?.name ?? error.name}: ${error.message}`]));
    }
  }
}
