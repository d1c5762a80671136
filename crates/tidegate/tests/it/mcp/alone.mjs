// A server of JavaScript's SDK that speaks 2026-07-28 alone, with a tool of every kind: alone.mjs PORT NAME, or
// alone.mjs stdio NAME.
import { createServer } from "node:http";
import {
  McpServer, ResourceTemplate, acceptedContent, completable, createMcpHandler, inputRequired,
} from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { z } from "zod";

const [place, name] = process.argv.slice(2);
const text = (text) => ({ content: [{ type: "text", text }] });
let changed = () => {};

function made() {
  const server = new McpServer(
    { name, version: "1" },
    { capabilities: { tools: { listChanged: true } }, instructions: `${name} remembers.` },
  );
  const numbers = z.object({ a: z.number(), b: z.number() });
  server.registerTool("add", { inputSchema: numbers }, ({ a, b }) => text(String(a + b)));
  server.registerTool("pid", {}, () => text(String(process.pid)));
  server.registerTool("who", {}, (context) => {
    const envelope = context.mcpReq.envelope ?? {};
    const told = ["clientInfo", "clientCapabilities"].map((key) => envelope[`io.modelcontextprotocol/${key}`]);
    return text(JSON.stringify(told));
  });
  server.registerTool("work", {}, async (context) => {
    const { progressToken } = context.mcpReq._meta ?? {};
    for (const progress of [0.5, 1]) {
      await context.mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress } });
    }
    return text("done");
  });
  server.registerTool("wait", {}, async (context) => {
    await new Promise((done) => context.mcpReq.signal.addEventListener("abort", done));
    console.error(`${name} was told to cancel`);
    return text("cancelled");
  });
  server.registerTool("ask_here", {}, (context) => {
    const answers = context.mcpReq.inputResponses;
    const colour = acceptedContent(answers, "colour");
    if (!colour) {
      const question = { role: "user", content: { type: "text", text: `A word for ${name}?` } };
      const requestedSchema = { type: "object", properties: { colour: { type: "string" } }, required: ["colour"] };
      return inputRequired({
        inputRequests: {
          colour: inputRequired.elicit({ message: "Which colour?", requestedSchema }),
          word: inputRequired.createMessage({ messages: [question], maxTokens: 10 }),
          roots: inputRequired.listRoots(),
        },
      });
    }
    return text(`${answers.word.content.text}; accepted with ${colour.colour}; ${answers.roots.roots.length} root`);
  });
  server.registerTool("change", {}, () => {
    changed(server);
    return text("changed");
  });
  const memo = (uri, text) => ({ contents: [{ uri: uri.href, text }] });
  server.registerResource("today", `memo://${name}/today`, {}, (uri) => memo(uri, `today of ${name}`));
  const notes = new ResourceTemplate(`memo://${name}/notes/{number}`, { list: undefined });
  server.registerResource("note", notes, {}, (uri, { number }) => memo(uri, `note ${number} of ${name}`));
  const who = completable(z.string(), (begun) => ["Ada", "Alan", "Bo"].filter((one) => one.startsWith(begun)));
  server.registerPrompt("greet", { argsSchema: z.object({ who }) }, ({ who }) => ({
    messages: [{ role: "user", content: { type: "text", text: `${name} greets ${who}` } }],
  }));
  return server;
}

if (place === "stdio") {
  changed = (server) => server.sendToolListChanged();
  serveStdio(made, { legacy: "reject" });
} else {
  const handler = createMcpHandler(made, { legacy: "reject" });
  changed = () => handler.notify.toolsChanged();
  createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = chunks.length > 0 ? Buffer.concat(chunks) : undefined;
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    const url = `http://${request.headers.host}${request.url}`;
    const { method, headers } = request;
    const answer = await handler.fetch(new Request(url, { method, headers, body, signal: gone.signal }));
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    try {
      for await (const chunk of answer.body ?? []) response.write(chunk);
    } catch {
      // The client left.
    }
    response.end();
  }).listen(Number(place), "127.0.0.1", () => console.log("ready"));
}
