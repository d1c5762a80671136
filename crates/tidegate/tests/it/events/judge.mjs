// CloudEvents and Standard Webhooks as their own SDKs for JavaScript have them: `make`, `read` and `verify`, as in judge.py.
import { readFileSync } from 'node:fs';
import { CloudEvent, HTTP, Kafka } from 'cloudevents';
import { Webhook } from 'standardwebhooks';

const [command, file] = process.argv.slice(2);
const b64 = (text) => Buffer.from(text).toString('base64');

function told(event) {
  const { data, data_base64, ...rest } = event.toJSON();
  const attributes = {};
  for (const [name, value] of Object.entries(rest)) if (value !== undefined && value !== null) attributes[name] = `${value}`;
  attributes.datacontenttype ??= 'application/json';
  if (attributes.time) attributes.time = new Date(attributes.time).toISOString();
  const isJson = attributes.datacontenttype.startsWith('application/json');
  return { attributes, data: isJson ? data ?? null : data_base64 ?? b64(data ?? '') };
}

function read({ kind, headers, key, body }) {
  const text = Buffer.from(body, 'base64').toString();
  const fields = Object.fromEntries(headers);
  if (kind === 'kafka') {
    return told(Kafka.toEvent({ headers: fields, key: key ?? undefined, value: text, body: text }));
  }
  const event = HTTP.toEvent({ headers: fields, body: text });
  return Array.isArray(event) ? event.map(told) : told(event);
}

function verify({ headers, body, secret }) {
  const isText = !secret.startsWith('whsec_');
  try {
    new Webhook(secret, isText ? { format: 'raw' } : {}).verify(Buffer.from(body, 'base64'), Object.fromEntries(headers));
    return true;
  } catch (error) {
    return `${error}`;
  }
}

if (command === 'make') {
  const base = { type: 'order.placed', source: '/shop' };
  const events = [
    { ...base, id: 'j1', data: { total: 1, odd: 'gr\u00fc\u00dfe', list: [1.5, [], {}] } },
    {
      // Without `%`, which this SDK does not escape in headers as the binding of HTTP has it.
      ...base, id: 'j2', source: 'https://shop.test/a?b=c', subject: 'a/b', time: '2026-11-30T12:34:56.789Z',
      dataschema: 'https://shop.test/schema', traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', count: 5, flag: true,
      datacontenttype: 'application/json', data: { total: 2 },
    },
    { ...base, id: 'j3', datacontenttype: 'text/plain', data: 'gr\u00fc\u00dfe' },
  ].map((one) => new CloudEvent(one));
  const made = [];
  for (const event of events) {
    for (const { headers, body } of [HTTP.binary(event), HTTP.structured(event)]) {
      const fields = Object.entries(headers).filter(([, value]) => value !== undefined).map(([name, value]) => [name, `${value}`]);
      made.push({ kind: 'http', headers: fields, body: b64(body) });
    }
  }
  made.push({ kind: 'http', headers: [['content-type', 'application/cloudevents-batch+json']], body: b64(JSON.stringify(events)) });
  console.log(JSON.stringify(made));
} else {
  const work = { read, verify }[command];
  console.log(JSON.stringify(JSON.parse(readFileSync(file)).map((one) => {
    try {
      return work(one);
    } catch (error) {
      return { error: `${error}` };
    }
  })));
}
