// A client of JavaScript's SDK without a token, whose user agrees to whatever is asked: oauth.mjs URL PACKAGE. Prints what
// it saw as one line of JSON.
const [url, from] = process.argv.slice(2);
const isOld = from.endsWith("/sdk");
const { Client } = await import(isOld ? `${from}/client/index.js` : from);
const { StreamableHTTPClientTransport } = await import(isOld ? `${from}/client/streamableHttp.js` : from);

let kept = {};
let cameBack;
const provider = {
  redirectUrl: "http://localhost:9/back",
  clientMetadata: {
    client_name: "test",
    redirect_uris: ["http://localhost:9/back"],
    grant_types: ["authorization_code", "refresh_token"],
    token_endpoint_auth_method: "none",
  },
  state: () => "a-state",
  clientInformation: () => kept.client,
  saveClientInformation: (client) => { kept.client = client; },
  tokens: () => kept.tokens,
  saveTokens: (tokens) => { kept.tokens = tokens; },
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
  // The browser of a user who agrees.
  redirectToAuthorization: async (to) => {
    const answer = await fetch(to, { redirect: "manual" });
    cameBack = new URL(answer.headers.get("location")).searchParams;
    if (cameBack.get("state") !== "a-state") throw new Error(`the state is ${cameBack}`);
  },
};

// Each refusal sends the user to the authorization server; with what comes back the client connects anew.
async function connected() {
  for (let round = 0; round < 4; round += 1) {
    cameBack = undefined;
    const client = new Client({ name: "test", version: "1" });
    const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
    try {
      await client.connect(transport);
      return client;
    } catch (error) {
      if (!cameBack) throw error;
      await transport.finishAuth(isOld ? cameBack.get("code") : cameBack);
    }
  }
  throw new Error("no token is ever enough");
}

const client = await connected();
const report = { tools: (await client.listTools()).tools.map((tool) => tool.name) };
const buy = async () => (await client.callTool({ name: "shop_buy", arguments: {} })).content[0].text;
report.first = await buy();
await new Promise((done) => setTimeout(done, 2300));
report.later = await buy();
await client.close();
console.log(JSON.stringify(report));
process.exit();
