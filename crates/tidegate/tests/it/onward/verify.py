# Verifies tokens by PyJWT: the key set's address, then lines of `audience token`; says what each claims, or why not.
import json
import sys

import jwt

url = sys.argv[1]
keys = jwt.PyJWKClient(url, cache_keys=False, cache_jwk_set=False)
print("ready")
for line in sys.stdin:
    audience, token = line.split()
    try:
        key = keys.get_signing_key_from_jwt(token)
        options = {"require": ["exp", "iat", "nbf", "iss", "sub"], "verify_aud": audience != "-"}
        claims = jwt.decode(
            token, key, algorithms=["ES256", "EdDSA", "RS256"], issuer="https://gateway.test",
            audience=audience if audience != "-" else None, options=options,
        )
        print(json.dumps(claims))
    except jwt.PyJWTError as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
