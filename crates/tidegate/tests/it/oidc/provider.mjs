// A certified OpenID provider on loopback: port, where the gateway is, and options as JSON.
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import { Provider, errors } from 'oidc-provider';

const [port, gateway, text] = process.argv.slice(2);
const options = JSON.parse(text ?? '{}');
const issuer = `http://127.0.0.1:${port}`;
const jwk = (kind, parameters, kid, alg) => ({
  ...generateKeyPairSync(kind, parameters).privateKey.export({ format: 'jwk' }), kid, alg, use: 'sig',
});
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const common = {
  redirect_uris: [`${gateway}/oidc/callback`],
  post_logout_redirect_uris: [`${gateway}/bye`],
  ...(options.silent ? {} : {
    backchannel_logout_uri: `${gateway}/oidc/backchannel-logout`,
    backchannel_logout_session_required: options.bySession ?? true,
  }),
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
};

// What gateways were told of sessions that have ended.
const told = [];
const provider = new Provider(issuer, {
  clients: [
    { ...common, client_id: 'shop', client_secret: 'a secret: of 100% & more' },
    { ...common, client_id: 'post', client_secret: 'posted-secret', token_endpoint_auth_method: 'client_secret_post' },
    { ...common, client_id: 'public', token_endpoint_auth_method: 'none', id_token_signed_response_alg: 'ES256' },
    { client_id: 'api', client_secret: 'api-secret', redirect_uris: [], response_types: [], grant_types: ['client_credentials'] },
    { client_id: 'machine', client_secret: 'machine-secret', redirect_uris: [], response_types: [], grant_types: ['client_credentials'], scope: 'orders:read orders:write' },
    { client_id: 'gate', client_secret: 'gate-secret', redirect_uris: [], response_types: [], grant_types: [EXCHANGE] },
    { client_id: 'poster', client_secret: 'poster-secret', token_endpoint_auth_method: 'client_secret_post', redirect_uris: [], response_types: [], grant_types: ['client_credentials'] },
    ...(options.keyClient ? [{ client_id: 'signed', token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [options.keyClient] }, redirect_uris: [], response_types: [], grant_types: ['client_credentials'] }] : []),
  ],
  jwks: { keys: [jwk('rsa', { modulusLength: 2048 }, 'rsa', 'RS256'), jwk('ec', { namedCurve: 'P-256' }, 'ec', 'ES256')] },
  cookies: { keys: ['a key of the test'] },
  features: {
    devInteractions: { enabled: true },
    backchannelLogout: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
    clientCredentials: { enabled: true },
    rpInitiatedLogout: { enabled: true },
  },
  scopes: ['openid', 'offline_access', 'orders:read', 'orders:write'],
  claims: { openid: ['sub', 'sid', 'groups', 'big'], profile: ['name'] },
  conformIdTokenClaims: options.conform ?? false,
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, name: `Name of ${id}`, groups: [`${id}s`, 'people'], big: 'x'.repeat(options.big ?? 0) || undefined }),
  }),
  extraTokenClaims: (ctx) => ctx?.exchanged,
  issueRefreshToken: () => options.refresh ?? false,
  rotateRefreshToken: true,
  ttl: { AccessToken: options.accessTtl ?? 3600, ClientCredentials: options.machineTtl ?? 3600, IdToken: 3600, Session: 3600, Grant: 3600, Interaction: 600, RefreshToken: 3600 },
  fetch: (url, { dispatcher, ...rest }) => {
    if (`${url}`.endsWith('/backchannel-logout')) told.push(`${rest.body}`);
    return fetch(url, rest);
  },
});

// Token exchange (RFC 8693): for tokens that are good here, to whom they may be given, with no more than they have.
provider.registerGrantType(EXCHANGE, async (ctx) => {
  const { params, client } = ctx.oidc;
  for (const name of ['subject_token', 'subject_token_type']) {
    if (!params[name]) throw new errors.InvalidRequest(`${name} is missing`);
  }
  if (params.subject_token_type !== ACCESS_TOKEN || (params.requested_token_type ?? ACCESS_TOKEN) !== ACCESS_TOKEN) {
    throw new errors.InvalidRequest('only access tokens are taken and given');
  }
  const subject = await provider.AccessToken.find(params.subject_token) ?? await provider.ClientCredentials.find(params.subject_token);
  if (!subject?.isValid) throw new errors.InvalidGrant('the subject token is not good');
  const audiences = [params.audience ?? []].flat();
  if (audiences.some((one) => !['orders', 'stock'].includes(one))) throw new errors.InvalidTarget('nobody knows this audience');
  const has = new Set(subject.scope?.split(' ') ?? []);
  const scope = (params.scope ?? subject.scope ?? '').split(' ').filter(Boolean);
  if (scope.some((one) => !has.has(one))) throw new errors.InvalidScope('more than the subject token has', params.scope);
  ctx.exchanged = { act: { sub: client.clientId }, for: audiences, resources: [params.resource ?? []].flat(), was: subject.clientId };
  let token;
  if (subject.accountId) {
    const grant = new provider.Grant({ accountId: subject.accountId, clientId: client.clientId });
    grant.addOIDCScope(scope.join(' '));
    token = new provider.AccessToken({ accountId: subject.accountId, client, grantId: await grant.save(), scope: scope.join(' '), gty: 'exchange' });
  } else {
    token = new provider.ClientCredentials({ client, scope: scope.join(' ') });
  }
  const value = await token.save();
  ctx.body = {
    access_token: value, issued_token_type: ACCESS_TOKEN, token_type: token.tokenType, expires_in: token.expiration,
    scope: token.scope || undefined,
  };
}, ['subject_token', 'subject_token_type', 'requested_token_type', 'actor_token', 'actor_token_type', 'audience', 'resource', 'scope'], ['audience', 'resource']);

provider.on('server_error', (_, error) => console.error(error));
provider.on('backchannel.error', (_, error) => console.error('back-channel', error));

const counts = {};
let down = false;
const handle = provider.callback();
createServer((request, response) => {
  const path = new URL(request.url, issuer).pathname;
  if (path === '/control') {
    const query = new URL(request.url, issuer).searchParams;
    if (query.has('down')) down = query.get('down') === '1';
    response.end(JSON.stringify(query.has('told') ? told : counts));
    return;
  }
  counts[path] = (counts[path] ?? 0) + 1;
  if (down && path.startsWith('/token')) {
    response.writeHead(503).end();
    return;
  }
  handle(request, response);
}).listen(Number(port), '127.0.0.1', () => console.log('ready'));
