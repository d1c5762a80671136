// An agent of JavaScript's SDK: agent.mjs PORT. Repeats what it is told; `slow` works until it is cancelled.
import express from "express";
import { AgentCard, Message, Task, TaskState } from "@a2a-js/sdk";
import { AgentEvent, DefaultRequestHandler, InMemoryTaskStore } from "@a2a-js/sdk/server";
import { UserBuilder, agentCardHandler, jsonRpcHandler, restHandler } from "@a2a-js/sdk/server/express";

const port = Number(process.argv[2]);
const own = `http://127.0.0.1:${port}`;
const pause = (millis) => new Promise((resolve) => setTimeout(resolve, millis));
const cancelled = new Set();

class Echo {
  async execute(context, bus) {
    const { taskId, contextId, request } = context;
    const said = request.message.parts.map((part) => part.content?.value).join(" ");
    const status = (state, words) => ({
      state,
      timestamp: new Date().toISOString(),
      message: words && Message.fromJSON({
        messageId: `${taskId}-${words}`, role: "ROLE_AGENT", taskId, contextId, parts: [{ text: words }],
      }),
    });
    const tell = (state, words) =>
      bus.publish(AgentEvent.statusUpdate({ taskId, contextId, status: status(state, words), metadata: undefined }));
    const first = Task.fromJSON({ id: taskId, contextId, status: { state: "TASK_STATE_SUBMITTED" } });
    bus.publish(AgentEvent.task(context.task ?? { ...first, history: [request.message] }));
    tell(TaskState.TASK_STATE_WORKING, "I begin");
    for (let waited = 0; said === "slow" && waited < 600; waited += 1) {
      if (cancelled.has(taskId)) {
        tell(TaskState.TASK_STATE_CANCELED);
        bus.finished();
        return;
      }
      await pause(100);
    }
    for (const [at, word] of said.split(" ").entries()) {
      bus.publish(AgentEvent.artifactUpdate({
        taskId, contextId, append: false, lastChunk: true, metadata: undefined,
        artifact: {
          artifactId: `a-${at}`, name: "echo", description: "", metadata: undefined, extensions: [],
          parts: [{ content: { $case: "text", value: word }, metadata: undefined, filename: "", mediaType: "" }],
        },
      }));
      await pause(50);
    }
    if (said === "ask") tell(TaskState.TASK_STATE_INPUT_REQUIRED, "what?");
    else tell(TaskState.TASK_STATE_COMPLETED, "done");
    bus.finished();
  }

  async cancelTask(taskId) {
    cancelled.add(taskId);
  }
}

const binding = (url, protocolBinding) => ({ url, protocolBinding, protocolVersion: "1.0" });
const card = AgentCard.fromJSON({
  name: "Echo", description: "Repeats what it is told.", version: "1",
  supportedInterfaces: [binding(`${own}/`, "JSONRPC"), binding(`${own}/rest`, "HTTP+JSON")],
  capabilities: { streaming: true },
  defaultInputModes: ["text/plain"], defaultOutputModes: ["text/plain"],
  skills: [{ id: "echo", name: "Echo", description: "Repeats.", tags: ["echo"] }],
});
const requestHandler = new DefaultRequestHandler(card, new InMemoryTaskStore(), new Echo());
const userBuilder = UserBuilder.noAuthentication;
const app = express();
app.use("/.well-known/agent-card.json", agentCardHandler({ agentCardProvider: requestHandler }));
app.use("/rest", restHandler({ requestHandler, userBuilder }));
app.use("/", jsonRpcHandler({ requestHandler, userBuilder }));
app.listen(port, "127.0.0.1", () => console.log("ready"));
