// Makes a component of `plugin.js`: `node build.mjs plugin.wasm`, with `@bytecodealliance/componentize-js` installed.

import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { componentize } from '@bytecodealliance/componentize-js';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const { component } = await componentize(await readFile(here('plugin.js'), 'utf8'), {
  witPath: here('../../../crates/wasm/wit'),
  worldName: 'plugin',
  // What a plugin does not need: the smaller component starts faster.
  disableFeatures: ['http', 'fetch-event', 'random', 'stdio', 'clocks'],
});
await writeFile(process.argv[2] ?? 'plugin.wasm', component);
