// A client of JavaScript's SDK: client.mjs URL KEY OTHER_KEY BINDING. Prints what it saw as one line of JSON.
import { randomUUID } from "node:crypto";
import { SendMessageRequest, StreamResponse, Task } from "@a2a-js/sdk";
import { ClientFactory, DefaultAgentCardResolver, JsonRpcTransportFactory, RestTransportFactory } from "@a2a-js/sdk/client";

const [url, key, otherKey, binding] = process.argv.slice(2);
const report = { asked: [] };

async function open(key) {
  const fetchImpl = (input, init) => {
    report.asked.push(`${init?.method ?? "GET"} ${new URL(input).pathname}`);
    return fetch(input, { ...init, headers: { ...init?.headers, "x-api-key": key } });
  };
  const options = { fetchImpl };
  const factory = new ClientFactory({
    transports: [binding === "HTTP+JSON" ? new RestTransportFactory(options) : new JsonRpcTransportFactory(options)],
    cardResolver: new DefaultAgentCardResolver(options),
  });
  const card = await new DefaultAgentCardResolver(options).resolve(`${url}/`, ".well-known/agent-card.json");
  return { card, client: await factory.createFromAgentCard(card) };
}

const say = (words, more = {}) =>
  SendMessageRequest.fromJSON({
    message: { messageId: randomUUID(), role: "ROLE_USER", parts: [{ text: words }], ...more },
  });
const refused = async (asking) => {
  try {
    await asking();
    return null;
  } catch (error) {
    return error.name;
  }
};

const { card, client } = await open(key);
report.card = card;
report.events = [];
for await (const event of client.sendMessageStream(say("one two three"))) {
  report.events.push(StreamResponse.toJSON(event));
}
const task = report.events[0].task;
report.got = Task.toJSON(await client.getTask({ tenant: "", id: task.id }));
const asked = await client.sendMessage(say("ask", { contextId: "my-own-talk" }));
report.sent = Task.toJSON(asked);
report.again = Task.toJSON(await client.sendMessage(say("more", { taskId: asked.id, contextId: "my-own-talk" })));
let slow;
for await (const event of client.sendMessageStream(say("slow"))) {
  const told = StreamResponse.toJSON(event);
  slow = slow ?? told.task.id;
  if (told.statusUpdate) break;
}
report.followed = [];
const follow = async () => {
  for await (const event of client.resubscribeTask({ tenant: "", id: slow })) {
    report.followed.push(StreamResponse.toJSON(event));
  }
};
const following = follow();
await new Promise((resolve) => setTimeout(resolve, 300));
report.slow = slow;
report.cancelled = Task.toJSON(await client.cancelTask({ tenant: "", id: slow, metadata: undefined }));
await following;
const list = async (client, contextId) => {
  const listed = await client.listTasks({ tenant: "", contextId, status: 0, pageToken: "" });
  return listed.tasks.map((one) => one.id);
};
report.listed = await list(client, task.contextId);
report.list_all = await refused(() => list(client, ""));
const { client: other } = await open(otherKey);
report.foreign_get = await refused(() => other.getTask({ tenant: "", id: task.id }));
report.foreign_cancel = await refused(() => other.cancelTask({ tenant: "", id: task.id, metadata: undefined }));
report.foreign_send = await refused(() => other.sendMessage(say("x", { taskId: asked.id })));
report.foreign_stream = await refused(async () => {
  for await (const _ of other.resubscribeTask({ tenant: "", id: task.id }));
});
report.foreign_list = await list(other, task.contextId);
console.log(JSON.stringify(report));
