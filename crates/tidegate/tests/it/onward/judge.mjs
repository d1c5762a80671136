// Judges what upstreams were sent with other hands' libraries: `keys FOLDER` makes keys, `judge FOLDER JOBS` prints for each job
// whether it is good, or why not.
import { constants, createHash, createPublicKey, createVerify, generateKeyPairSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { httpbis, createVerifier } from 'http-message-signatures';
import Stripe from 'stripe';
import { verify as github } from '@octokit/webhooks-methods';

const [command, folder, text] = process.argv.slice(2);
const kinds = {
  ed: ['ed25519', {}, 'ed25519'],
  ec: ['ec', { namedCurve: 'P-256' }, 'ecdsa-p256-sha256'],
  wide: ['ec', { namedCurve: 'P-384' }, 'ecdsa-p384-sha384'],
  pss: ['rsa', { modulusLength: 2048 }, 'rsa-pss-sha512'],
  rsa: ['rsa', { modulusLength: 2048 }, 'rsa-v1_5-sha256'],
};

if (command === 'keys') {
  for (const [kid, [kind, parameters]] of Object.entries(kinds)) {
    const { publicKey, privateKey } = generateKeyPairSync(kind, parameters);
    writeFileSync(`${folder}/${kid}.pem`, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    writeFileSync(`${folder}/${kid}.pub`, publicKey.export({ type: 'spki', format: 'pem' }));
  }
}

// RFC 7638, by the numbers of a public key.
const thumbprint = (key) => {
  const jwk = createPublicKey(key).export({ format: 'jwk' });
  const names = { EC: ['crv', 'kty', 'x', 'y'], OKP: ['crv', 'kty', 'x'], RSA: ['e', 'kty', 'n'] }[jwk.kty];
  const told = Object.fromEntries(names.map((name) => [name, jwk[name]]));
  return createHash('sha256').update(JSON.stringify(told)).digest('base64url');
};

// The standard has a salt of 64 bytes (RFC 9421 §3.3.1), and no other.
const pss = (key) => async (data, signature) =>
  createVerify('sha512').update(data).verify({ key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 64 }, signature);

const stripe = new Stripe('sk_test_x');
const one = async (job) => {
  const body = Buffer.from(job.body, 'base64');
  if (job.style === 'github') return github(job.secret, body.toString(), job.headers['x-hub-signature-256']);
  if (job.style === 'stripe') return !!stripe.webhooks.constructEvent(body, job.headers['stripe-signature'], job.secret);
  const told = job.headers['content-digest'];
  if (told !== undefined) {
    const [, name, value] = /^(sha-256|sha-512)=:(.*):$/.exec(told) ?? [];
    if (createHash(name.replace('-', '')).update(body).digest('base64') !== value) return 'another body';
  }
  const key = job.secret ? Buffer.from(job.secret) : readFileSync(`${folder}/${job.key}.pub`);
  const algorithm = job.secret ? 'hmac-sha256' : kinds[job.key][2];
  const id = job.id ?? thumbprint(key);
  const verify = algorithm === 'rsa-pss-sha512' ? pss(key) : createVerifier(key, algorithm);
  const keyLookup = async ({ keyid }) => (keyid === id ? { id, algs: [algorithm], verify } : null);
  const { fields: requiredFields, params: requiredParams } = job;
  const { method, url, headers } = job;
  return (await httpbis.verifyMessage({ keyLookup, requiredFields, requiredParams, tolerance: 5 }, { method, url, headers })) ?? 'no key';
};

if (command === 'judge') {
  const all = [];
  for (const job of JSON.parse(text)) all.push(await one(job).catch((error) => String(error)));
  console.log(JSON.stringify(all));
}
