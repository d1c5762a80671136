// A server of JavaScript's SDK that has sessions and knows no revision without them: asker.mjs PORT. Its tools ask the
// client in three ways: in the stream of the call, by the server itself, and beside all calls without a look at what the
// client can be asked.
import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { ElicitResultSchema } from "@modelcontextprotocol/sdk/types.js";

const transports = new Map();
const params = { message: "Which colour?", requestedSchema: { type: "object", properties: {} } };
const question = { method: "elicitation/create", params };

function asker() {
  const made = new McpServer({ name: "asker", version: "1" });
  const tool = (name, ask) =>
    made.registerTool(name, { description: "Asks." }, async (extra) => {
      const { action } = await ask(extra);
      return { content: [{ type: "text", text: action }] };
    });
  tool("ask", (extra) => extra.sendRequest(question, ElicitResultSchema));
  tool("ask_by_itself", () => made.server.elicitInput(params));
  tool("ask_beside", () => made.server.request(question, ElicitResultSchema));
  return made;
}

createServer(async (request, response) => {
  const id = request.headers["mcp-session-id"];
  let transport = transports.get(id);
  if (!transport) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => transports.set(id, transport),
    });
    await asker().connect(transport);
  }
  await transport.handleRequest(request, response);
}).listen(Number(process.argv[2]), "127.0.0.1", () => console.log("ready"));
