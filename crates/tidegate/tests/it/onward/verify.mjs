// Verifies tokens by jose: the key set's address, then lines of `audience token`; says what each claims, or why not.
import { createInterface } from 'node:readline';
import { createRemoteJWKSet, jwtVerify } from 'jose';

const keys = createRemoteJWKSet(new URL(process.argv[2]), { cooldownDuration: 0 });
console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  const [audience, token] = line.split(' ');
  try {
    const { payload } = await jwtVerify(token, keys, {
      issuer: 'https://gateway.test', audience: audience === '-' ? undefined : audience, requiredClaims: ['sub', 'exp', 'iat'],
    });
    console.log(JSON.stringify(payload));
  } catch (error) {
    console.log(JSON.stringify({ error: `${error.code}: ${error.message}` }));
  }
}
