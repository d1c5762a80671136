"""Judges what a provider was sent with the vendors' own libraries, a JSON object of arguments each, a line of JSON each.

{"aws": {method, url, body (base64), headers, region, service, id, secret, token, unsigned}} tells the `authorization` that
botocore gives the same request at the same moment; {"jwt": TOKEN, "key": PEM, "audience": URL} tells the claims that google-auth
finds, or why it refuses the token.
"""

import base64
import datetime
import json
import sys
import types


def aws(seen):
    import botocore.auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    told = seen["headers"]["authorization"]
    signed = told.split("SignedHeaders=")[1].split(",")[0].split(";")
    moment = datetime.datetime.strptime(seen["headers"]["x-amz-date"], "%Y%m%dT%H%M%SZ")
    botocore.auth.get_current_datetime = lambda *_, **__: moment.replace(tzinfo=datetime.timezone.utc)
    fields = {name: seen["headers"][name] for name in signed}
    request = AWSRequest(seen["method"], seen["url"], fields, base64.b64decode(seen["body"]))
    keys = Credentials(seen["id"], seen["secret"], seen["token"])
    is_s3 = seen["service"] == "s3"
    if is_s3:
        signs = {"payload_signing_enabled": not seen.get("unsigned", False)}
        request.context["client_config"] = types.SimpleNamespace(s3=signs)
    kind = botocore.auth.S3SigV4Auth if is_s3 else botocore.auth.SigV4Auth
    kind(keys, seen["service"], seen["region"]).add_auth(request)
    digest = request.headers.get("X-Amz-Content-SHA256")
    return {"authorization": request.headers["Authorization"], "digest": digest}


def jwt(token, key, audience):
    from google.auth import jwt as judge

    try:
        return {"claims": dict(judge.decode(token, certs=key, audience=audience)), "head": dict(judge.decode_header(token))}
    except Exception as error:  # noqa: BLE001: the test judges it
        return {"error": str(error)}


for text in sys.argv[1:]:
    asked = json.loads(text)
    print(json.dumps(aws(asked["aws"]) if "aws" in asked else jwt(asked["jwt"], asked["key"], asked["audience"])))
