// A server of JavaScript's SDK that has sessions and knows no revision without them: asker.mjs PORT. Its tool `ask` asks the
// client for everything that a client can give, one after the other; `ask_and_wait` never ends after its question.
import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { CreateMessageResultSchema, ElicitResultSchema, ListRootsResultSchema } from "@modelcontextprotocol/sdk/types.js";

const transports = new Map();

function server() {
  const server = new McpServer({ name: "asker", version: "1" });
  server.registerTool("ask", { description: "Asks." }, async (extra) => {
    const question = { role: "user", content: { type: "text", text: "A word for asker?" } };
    const sampled = await extra.sendRequest(
      { method: "sampling/createMessage", params: { messages: [question], maxTokens: 10 } },
      CreateMessageResultSchema,
    );
    const requestedSchema = { type: "object", properties: { colour: { type: "string" } } };
    const elicited = await extra.sendRequest(
      { method: "elicitation/create", params: { message: "Which colour?", requestedSchema } },
      ElicitResultSchema,
    );
    const { roots } = await extra.sendRequest({ method: "roots/list" }, ListRootsResultSchema);
    const text = `${sampled.content.text}; ${elicited.action}ed with ${elicited.content.colour}; ${roots.length} root`;
    return { content: [{ type: "text", text }] };
  });
  server.registerTool("ask_and_wait", { description: "Asks, and waits." }, async (extra) => {
    const params = { message: "Still there?", requestedSchema: { type: "object", properties: {} } };
    extra.signal.addEventListener("abort", () => console.log("cancelled"));
    await extra.sendRequest({ method: "elicitation/create", params }, ElicitResultSchema);
    console.log("answered");
    await new Promise(() => {});
  });
  return server;
}

createServer(async (request, response) => {
  const id = request.headers["mcp-session-id"];
  let transport = transports.get(id);
  if (!transport) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => transports.set(id, transport),
    });
    await server().connect(transport);
  }
  await transport.handleRequest(request, response);
}).listen(Number(process.argv[2]), "127.0.0.1", () => console.log("ready"));
