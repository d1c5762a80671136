// A plugin in JavaScript: a policy that signs requests with a word of its `config` and refuses those without a name, and
// a handler that greets. `node build.mjs plugin.wasm` makes the component.

import { config, count, log } from 'tidegate:plugin/host@0.1.0';
import { body, header, path, query, setHeader } from 'tidegate:plugin/request@0.1.0';
import { setHeader as setAnswerHeader } from 'tidegate:plugin/response@0.1.0';

const text = new TextEncoder();
// Nothing of the gateway's can be asked while the component is built; an instance serves many calls, and what is read once stays.
let read;
const settings = () => (read ??= JSON.parse(config()) ?? {});

const answer = (status, told) => ({
  status,
  headers: [['content-type', 'application/json']],
  body: text.encode(JSON.stringify(told)),
});

export function onRequest() {
  const name = header('x-name');
  if (settings().named && name === undefined) {
    log('warn', `${path()} came without a name`);
    return { tag: 'answer', val: answer(400, { title: 'Who are you?', refused: Number(count('nameless', 1n)) }) };
  }
  setHeader('x-greeting', `${settings().greeting ?? 'hello'} ${name ?? 'stranger'}`);
  return { tag: 'next' };
}

export function onResponse() {
  setAnswerHeader('x-made-by', 'javascript');
  return { tag: 'next' };
}

export function handle() {
  const sent = new TextDecoder().decode(body() ?? new Uint8Array());
  if (query() === 'fail') throw new Error('it was asked to fail');
  return answer(200, { hello: header('x-name') ?? 'stranger', sent: sent.toUpperCase() });
}
