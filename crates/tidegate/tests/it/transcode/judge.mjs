// The second judge of protobuf's mapping of JSON: protobuf-es. Where both judges are of one mind, the gateway has to be, too.
import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary, fromJsonString, toBinary, toJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

const [set, file] = process.argv.slice(2);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(set)));
const schema = registry.getMessage("demo.Everything");
// What the gateway reads otherwise than both, and why. Each is looked at, so that none stands here that is mended.
const any = (text) => `{"any": ${text}}`;
const known = new Map([
  // No body is an empty message.
  ["", 0], [" ", 0],
  // prost-reflect has no zero below zero outside of `Value`.
  ['{"doubleValue": -0.0}', 0], ['{"floatValue": -0.0}', 0], ['{"wrappedDouble": -0.0}', 0],
  // Paths of a mask that are empty are left out.
  ['{"mask": "a,"}', 0], ['{"mask": ",a"}', 0], ['{"mask": "a,,b"}', 0],
  // What is stricter: an `Any` has a type with a slash, and nothing that is not its type's; integers in quotes are written as
  // integers, and enums as numbers, too; base64 has no spaces.
  [any("{}"), 0], [any('{"@type": "type.googleapis.com/google.protobuf.Any", "value": {}}'), 0],
  [any('{"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1s", "more": 1}'), 0], ["an Any without a slash", 0],
  ['{"int32Value": "7.0"}', 0], ['{"int32Value": "1e2"}', 0], ['{"sint32Value": "7.0"}', 0], ['{"sint32Value": "1e2"}', 0],
  ['{"sfixed32Value": "7.0"}', 0], ['{"sfixed32Value": "1e2"}', 0], ['{"maybe": "7.0"}', 0], ['{"maybe": "1e2"}', 0],
  ['{"authors": {"1.0": {}}}', 0], ['{"enumValue": 1.0}', 0],
  ['{"bytesValue": "A Q="}', 0], ['{"bytesValue": "AQID\\n"}', 0], ['{"wrappedBytes": "A Q="}', 0], ['{"wrappedBytes": "AQID\\n"}', 0],
]);
const sorted = (value) => Array.isArray(value) ? value.map(sorted)
  : value && typeof value === "object" ? Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]))
  : Object.is(value, -0) ? "-0" : value;
const told = (message) => JSON.stringify(sorted(toJson(schema, message, { registry })));
const attempt = (work) => {
  try {
    return work();
  } catch {
    return null;
  }
};
// Through bytes, for what JavaScript reads as a number is not yet a float.
const read = (text) => attempt(() => told(fromBinary(schema, toBinary(schema, fromJsonString(schema, text, { registry })))));
const decode = (bytes) => bytes === null ? null : attempt(() => told(fromBinary(schema, Buffer.from(bytes, "base64"))));

let judged = 0;
for (const line of readFileSync(file, "utf8").trim().split("\n")) {
  const row = JSON.parse(line);
  // What this judge says is right, and what the gateway did.
  let right, ours;
  if (row.side === "down") {
    right = read(row.text);
    ours = row.message === null ? null : decode(row.message) ?? "unreadable";
    // Both accept it, and understand something else.
    if (right !== null && row.is_good && decode(row.theirs) !== right) {
      console.log(JSON.stringify({ undecided: row }));
      continue;
    }
  } else {
    right = decode(row.message);
    ours = row.status === 200 ? read(row.text) ?? "unreadable" : null;
  }
  if ((right !== null) !== row.is_good) {
    console.log(JSON.stringify({ undecided: row }));
    continue;
  }
  judged += 1;
  if (ours === right && row.agrees) continue;
  const name = row.note || row.text;
  if (known.has(name)) known.set(name, known.get(name) + 1);
  else console.log(JSON.stringify({ wrong: row, right, ours }));
}
for (const [text, count] of known) if (count === 0) console.log(JSON.stringify({ wrong: { text, why: "is mended" } }));
console.log(JSON.stringify({ judged }));
