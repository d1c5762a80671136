"""Judges what a provider was sent with the vendors' own libraries, a JSON object of arguments each, a line of JSON each.

{"aws": {method, url, body (base64), headers, region, service, id, secret, token}} tells the `authorization` that botocore
gives the same request at the same moment; {"jwt": TOKEN, "key": PEM, "audience": URL} tells the claims that google-auth
finds, or why it refuses the token.
"""

import base64
import datetime
import json
import sys


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
    botocore.auth.SigV4Auth(keys, seen["service"], seen["region"]).add_auth(request)
    return {"authorization": request.headers["Authorization"]}


def jwt(token, key, audience):
    from google.auth import jwt as judge

    try:
        return {"claims": dict(judge.decode(token, certs=key, audience=audience)), "head": dict(judge.decode_header(token))}
    except Exception as error:  # noqa: BLE001: the test judges it
        return {"error": str(error)}


for text in sys.argv[1:]:
    asked = json.loads(text)
    print(json.dumps(aws(asked["aws"]) if "aws" in asked else jwt(asked["jwt"], asked["key"], asked["audience"])))
