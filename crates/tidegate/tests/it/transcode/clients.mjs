// Plays a scenario against a gateway with an official client; says "ok" at the end.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { create, createFileRegistry, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import * as node from "@connectrpc/connect-node";

const [address, scenario, set] = process.argv.slice(2);
const baseUrl = `http://${address}`;
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(set)));
const Greeter = registry.getService("demo.Greeter");
const Library = registry.getService("demo.Library");
const Request = registry.getMessage("demo.HelloRequest");
const Reply = registry.getMessage("demo.HelloReply");
const Fail = registry.getMessage("demo.FailRequest");

async function failure(call) {
  try {
    await call();
  } catch (error) {
    return ConnectError.from(error);
  }
  assert.fail("it did not fail");
}

async function common(transport, { json = false, get = false } = {}) {
  const greeter = createClient(Greeter, transport);
  let headers;
  const reply = await greeter.sayHello({ name: "Ada" }, {
    headers: { "x-test": "1", authorization: "Bearer t" },
    onHeader: (fields) => (headers = fields),
    timeoutMs: 4000,
  });
  assert.equal(reply.message, "Hello, Ada");
  assert.ok(reply.seen.includes("x-test: 1") && reply.seen.includes("authorization: Bearer t"), `${reply.seen}`);
  const timeout = reply.seen.find((line) => line.startsWith("grpc-timeout: "));
  const millis = Number(timeout.slice("grpc-timeout: ".length, -1)) / (timeout.endsWith("u") ? 1000 : 1);
  assert.ok(millis <= 4000 && millis > 500, timeout);
  assert.equal(headers.get("x-served-by"), "tonic");
  const books = createClient(Library, transport);
  assert.equal((await books.getBook({ name: "shelves/1/books/2" })).title, "Sea chart");
  assert.equal((await books.echo({ int64Value: -9007199254740993n })).int64Value, -9007199254740993n);

  const error = await failure(() => greeter.fail({ code: 5, message: "no \u2693", withDetails: true }));
  assert.equal(error.code, Code.NotFound);
  assert.equal(error.rawMessage, "no \u2693");
  assert.equal(error.metadata.get("x-failed"), "yes");
  assert.deepEqual(error.details.map((one) => one.type),
    ["google.rpc.BadRequest", "google.rpc.RetryInfo", "unknown.Thing"]);

  const heard = [];
  for await (const one of greeter.watch({ name: "a", count: 3, intervalMillis: 20 })) heard.push(one.message);
  assert.deepEqual(heard, ["Hello, a 0", "Hello, a 1", "Hello, a 2"]);
  const some = [];
  const broken = await failure(async () => {
    for await (const one of greeter.watch({ name: "a", count: 1, fail: 9 })) some.push(one);
  });
  assert.equal(broken.code, Code.FailedPrecondition);
  assert.equal(broken.rawMessage, "as you wish");
  assert.equal(some.length, 1);
  const late = await failure(async () => {
    for await (const one of greeter.watch({ name: "a", count: 100, intervalMillis: 50 }, { timeoutMs: 300 })) some.push(one);
  });
  assert.equal(late.code, Code.DeadlineExceeded);
  const leaving = new AbortController();
  await failure(async () => {
    for await (const _ of greeter.watch({ name: "a", count: 100, intervalMillis: 20 }, { signal: leaving.signal })) leaving.abort();
  });
}

async function streams(transport) {
  const greeter = createClient(Greeter, transport);
  async function* names() {
    for (const name of ["a", "b", "c"]) yield { name };
  }
  assert.deepEqual((await greeter.collect(names())).names, ["a", "b", "c"]);
  const heard = [];
  for await (const one of greeter.chat(names())) heard.push(one.message);
  assert.deepEqual(heard, ["Hello, a", "Hello, b", "Hello, c"]);
}

async function google() {
  globalThis.XMLHttpRequest = (await import("xhr2")).default;
  const grpcWeb = (await import("grpc-web")).default;
  const { GrpcWebClientBase, MethodDescriptor, MethodType } = grpcWeb;
  const method = (name, type, schema) => new MethodDescriptor(
    `/demo.Greeter/${name}`, type, Object, Object,
    (message) => toBinary(schema, create(schema, message)),
    (bytes) => fromBinary(Reply, bytes),
  );
  for (const format of ["text", "binary"]) {
    const client = new GrpcWebClientBase({ format });
    const hello = method("SayHello", MethodType.UNARY, Request);
    const reply = await client.unaryCall(`${baseUrl}/demo.Greeter/SayHello`, { name: "Ada" }, { "x-test": "1" }, hello);
    assert.equal(reply.message, "Hello, Ada");
    assert.ok(reply.seen.includes("x-test: 1"), `${reply.seen}`);
    const fail = method("Fail", MethodType.UNARY, Fail);
    const error = await client.unaryCall(`${baseUrl}/demo.Greeter/Fail`, { code: 7, message: "no \u2693" }, {}, fail)
      .then(() => assert.fail("it did not fail"), (error) => error);
    assert.equal(error.code, 7);
    assert.equal(decodeURIComponent(error.message), "no \u2693");
    if (format !== "text") continue;
    const watch = method("Watch", MethodType.SERVER_STREAMING, Request);
    const heard = [];
    await new Promise((resolve, reject) => {
      const stream = client.serverStreaming(`${baseUrl}/demo.Greeter/Watch`, { name: "a", count: 3, intervalMillis: 20 }, {}, watch);
      stream.on("data", (one) => heard.push(one.message));
      stream.on("error", reject);
      stream.on("end", resolve);
    });
    assert.deepEqual(heard, ["Hello, a 0", "Hello, a 1", "Hello, a 2"]);
  }
}

switch (scenario) {
  case "connect-json":
    await common(createConnectTransport({ baseUrl, useBinaryFormat: false, useHttpGet: true }));
    await common(createConnectTransport({ baseUrl, useBinaryFormat: false }));
    break;
  case "connect-proto":
  case "connect-proto-alone":
    await common(createConnectTransport({ baseUrl, useBinaryFormat: true, useHttpGet: scenario === "connect-proto" }));
    break;
  case "connect-node":
    for (const useBinaryFormat of [true, false]) {
      const transport = node.createConnectTransport({
        baseUrl, httpVersion: "2", useBinaryFormat,
        sendCompression: node.compressionGzip, acceptCompression: [node.compressionGzip], compressMinBytes: 1,
      });
      await common(transport);
      await streams(transport);
    }
    break;
  case "connect-grpc-web":
    await common(createGrpcWebTransport({ baseUrl }));
    break;
  case "grpc": {
    const transport = node.createGrpcTransport({ baseUrl });
    await common(transport);
    await streams(transport);
    break;
  }
  case "grpc-web":
    await google();
    break;
  default:
    assert.fail(`no scenario ${scenario}`);
}
console.log("ok");
process.exit(0);
