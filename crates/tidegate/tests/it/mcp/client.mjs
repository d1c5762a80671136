// A client of JavaScript's SDK: client.mjs URL KEY [TOOL]. Prints what it saw as one line of JSON. It calls the TOOL, which
// asks back, too.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema, ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";

const [url, key, tool] = process.argv.slice(2);
const report = { progress: [], updated: [], changed: 0 };
const client = new Client(
  { name: "test", version: "1" },
  { capabilities: { sampling: {}, elicitation: { form: {} }, roots: {} } },
);
client.setRequestHandler(CreateMessageRequestSchema, (request) => {
  const asked = request.params.messages[0].content.text.split(" ").pop().replace("?", "");
  const content = { type: "text", text: `a sampled word for ${asked}` };
  return { role: "assistant", model: "test", stopReason: "endTurn", content };
});
client.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: { colour: "blue" } }));
client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: "file:///tmp" }] }));

const requestInit = { headers: { "x-api-key": key } };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
const text = (result) => result.content[0].text;
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
await client.callTool({ name: "shop_work", arguments: {} }, undefined, { onprogress });
report.asked = text(await client.callTool({ name: "shop_ask", arguments: {} }));
client.setNotificationHandler(ResourceUpdatedNotificationSchema, (told) => { report.updated.push(told.params.uri); });
client.setNotificationHandler(ToolListChangedNotificationSchema, () => { report.changed += 1; });
await client.subscribeResource({ uri: "memo://shop/today" });
await client.callTool({ name: "shop_change", arguments: {} });
await new Promise((done) => setTimeout(done, 500));
await client.unsubscribeResource({ uri: "memo://shop/today" });
if (tool) report.asked_by = text(await client.callTool({ name: tool, arguments: {} }));
await client.close();
console.log(JSON.stringify(report));
