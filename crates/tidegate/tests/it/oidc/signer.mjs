// Signs requests as others do: `keys FOLDER` makes keys, `sign FOLDER JOBS` prints the headers of each job.
import { constants, createHash, createPrivateKey, createSign, generateKeyPairSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { httpbis, createSigner } from 'http-message-signatures';
import Stripe from 'stripe';
import { sign as github } from '@octokit/webhooks-methods';

const [command, folder, text] = process.argv.slice(2);
const kinds = {
  ed: ['ed25519', {}, 'ed25519', 'EdDSA'],
  ec: ['ec', { namedCurve: 'P-256' }, 'ecdsa-p256-sha256', 'ES256'],
  pss: ['rsa', { modulusLength: 2048 }, 'rsa-pss-sha512', 'PS512'],
  rsa: ['rsa', { modulusLength: 2048 }, 'rsa-v1_5-sha256', 'RS256'],
  stranger: ['ed25519', {}, 'ed25519', 'EdDSA'],
};

if (command === 'keys') {
  const keys = [];
  for (const [kid, [kind, parameters, , alg]] of Object.entries(kinds)) {
    const { publicKey, privateKey } = generateKeyPairSync(kind, parameters);
    writeFileSync(`${folder}/${kid}.pem`, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    if (kid !== 'stranger') keys.push({ ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' });
  }
  writeFileSync(`${folder}/signers.json`, JSON.stringify({ keys }));
}

// The library's own takes the longest salt there can be; the standard has one of 64 bytes (RFC 9421 §3.3.1).
const pss = (key, id) => ({
  id,
  alg: 'rsa-pss-sha512',
  sign: async (data) => createSign('sha512').update(data).sign({ key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 64 }),
});
const signer = (key, job) => (job.key === 'pss' ? pss(key, 'pss') : createSigner(key, kinds[job.key][2], job.as ?? job.key));

const stripe = new Stripe('sk_test_x');
const one = async (job) => {
  const body = job.body ?? '';
  if (job.style === 'github') return { 'x-hub-signature-256': await github(job.secret, body) };
  if (job.style === 'stripe') {
    const timestamp = Math.floor(Date.now() / 1000) - (job.age ?? 0);
    return { 'stripe-signature': stripe.webhooks.generateTestHeaderString({ payload: body, secret: job.secret, timestamp }) };
  }
  const key = job.secret
    ? createSigner(Buffer.from(job.secret), 'hmac-sha256', job.key)
    : signer(createPrivateKey(readFileSync(`${folder}/${job.key}.pem`)), job);
  const headers = { ...(job.headers ?? {}) };
  if (body) headers['content-digest'] = `sha-256=:${createHash('sha256').update(body).digest('base64')}:`;
  const created = new Date(Date.now() - (job.age ?? 0) * 1000);
  const expires = new Date(created.getTime() + (job.lasts ?? 300) * 1000);
  const fields = job.fields ?? ['@method', '@authority', '@path', '@query', ...(body ? ['content-digest'] : [])];
  const params = job.params ?? ['created', 'expires', 'keyid', 'alg', ...(job.tag ? ['tag'] : [])];
  const paramValues = { created, expires, ...(job.tag ? { tag: job.tag } : {}) };
  const signed = await httpbis.signMessage({ key, fields, params, paramValues, name: job.name ?? 'sig1' }, {
    method: job.method ?? 'POST', url: job.url, headers,
  });
  return signed.headers;
};

if (command === 'sign') {
  const all = [];
  for (const job of JSON.parse(text)) all.push(await one(job));
  console.log(JSON.stringify(all));
}
