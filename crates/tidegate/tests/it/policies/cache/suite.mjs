// Runs the public suite http-cache-tests against a cache: its own origin server behind, its own client in front.
// Arguments: the port of the origin, the base address of the cache. Prints one line of JSON: each test's kind and
// outcome.
import http from 'node:http'
import fetch from 'node-fetch'
import handleConfig from 'http-cache-tests/server/handle-config.mjs'
import handleState from 'http-cache-tests/server/handle-state.mjs'
import handleTest from 'http-cache-tests/server/handle-test.mjs'
import { runTests, getResults } from 'http-cache-tests/client/runner.mjs'
import suites from 'http-cache-tests/tests/index.mjs'
import surrogate from 'http-cache-tests/tests/surrogate-control.mjs'

const [port, base] = process.argv.slice(2)
const handlers = { config: handleConfig, test: handleTest, state: handleState }
const server = http.createServer((request, response) => {
  const [, dispatch, ...rest] = new URL(request.url, 'http://localhost').pathname.split('/')
  handlers[dispatch](rest, request, response)
})
await new Promise((resolve) => server.listen(Number(port), '127.0.0.1', resolve))

// What the suite says of itself goes elsewhere.
console.log = console.error
const all = [...suites, surrogate]
await runTests(all, fetch, false, base)
const results = getResults()
const told = {}
for (const suite of all) {
  for (const test of suite.tests.filter((test) => !test.browser_only)) {
    const result = results[test.id]
    told[test.id] = {
      kind: test.kind ?? 'required',
      passed: result === true,
      why: result === true ? '' : (result ?? ['not run']).join(': '),
    }
  }
}
process.stdout.write(JSON.stringify(told) + '\n')
process.exit(0)
