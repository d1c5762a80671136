// A client of JavaScript's SDK of the revision without sessions: client_modern.mjs URL KEY [asked]. Prints what it saw as one
// line of JSON.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [url, key, mode] = process.argv.slice(2);
const report = { progress: [], updated: [], changed: 0 };
const client = new Client(
  { name: "test", version: "1" },
  {
    capabilities: { sampling: {}, elicitation: { form: {} }, roots: {} },
    versionNegotiation: { mode: { pin: "2026-07-28" } },
  },
);
client.setRequestHandler("sampling/createMessage", (request) => {
  const asked = request.params.messages[0].content.text.split(" ").pop().replace("?", "");
  const content = { type: "text", text: `a sampled word for ${asked}` };
  return { role: "assistant", model: "test", stopReason: "endTurn", content };
});
client.setRequestHandler("elicitation/create", () => ({ action: "accept", content: { colour: "blue" } }));
client.setRequestHandler("roots/list", () => ({ roots: [{ uri: "file:///tmp" }] }));

const requestInit = { headers: { "x-api-key": key } };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
report.revision = client.getNegotiatedProtocolVersion?.() ?? null;
const text = (result) => result.content[0].text;
if (mode === "asked") {
  report.asked = text(await client.callTool({ name: "shop_ask_here", arguments: {} }));
  await client.close();
  console.log(JSON.stringify(report));
  process.exit();
}
report.tools = (await client.listTools()).tools.map((tool) => tool.name);
report.prompts = (await client.listPrompts()).prompts.map((prompt) => prompt.name);
report.resources = (await client.listResources()).resources.map((one) => one.uri);
report.sum = text(await client.callTool({ name: "shop_add", arguments: { a: 2, b: 3 } }));
report.memo = (await client.readResource({ uri: "memo://docs/today" })).contents[0].text;
report.memo_by_template = (await client.readResource({ uri: "memo://shop/notes/7" })).contents[0].text;
const greeting = await client.getPrompt({ name: "shop_greet", arguments: { who: "Ada" } });
report.greeting = greeting.messages[0].content.text;
const ref = { type: "ref/prompt", name: "shop_greet" };
report.completed = (await client.complete({ ref, argument: { name: "who", value: "A" } })).completion.values;
const onprogress = (progress) => report.progress.push(progress.progress);
await client.callTool({ name: "shop_work", arguments: {} }, { onprogress });
client.setNotificationHandler("notifications/resources/updated", (told) => { report.updated.push(told.params.uri); });
client.setNotificationHandler("notifications/tools/list_changed", () => { report.changed += 1; });
const heard = await client.listen({ toolsListChanged: true, resourceSubscriptions: ["memo://shop/today"] });
await client.callTool({ name: "change", arguments: {} });
await client.callTool({ name: "shop_change", arguments: {} });
await new Promise((done) => setTimeout(done, 1000));
await heard.close();
await client.close();
console.log(JSON.stringify(report));
