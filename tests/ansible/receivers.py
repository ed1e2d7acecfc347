#!/usr/bin/env python3
"""An endpoint that takes a webhook only as somebody else's code understands it.

    receivers.py eda SECRET            Event-Driven Ansible's own webhook source
    receivers.py cloudevents           the SDK of CloudEvents
    receivers.py standard SECRET       the library of Standard Webhooks
    receivers.py sns ID SECRET         Amazon's own signatures

Runs in the environment `receivers` of venvs.py. Prints its port, then what it understood, a line
each.
"""

import asyncio
import json
import socket
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


def say(value):
    print(json.dumps(value, default=str), flush=True)


def cloudevents():
    from cloudevents.core.bindings.http import HTTPMessage, from_http_event

    def judge(headers, body):
        event = from_http_event(HTTPMessage(headers, body))
        return {"attributes": event.get_attributes(), "data": event.get_data()}

    return judge


def standard(secret):
    from standardwebhooks import Webhook

    webhook = Webhook(secret)
    return lambda headers, body: webhook.verify(body, headers)


def sns(key_id, secret):
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    signer = SigV4Auth(Credentials(key_id, secret), "sns", "eu-central-1")

    def judge(headers, body):
        said = headers["authorization"]
        names = said.split("SignedHeaders=")[1].split(",")[0].split(";")
        url = "http://%s/" % headers["host"]
        signed = {name: headers[name] for name in names}
        request = AWSRequest("POST", url, headers=signed, data=body)
        request.context["timestamp"] = headers["x-amz-date"]
        text = signer.string_to_sign(request, signer.canonical_request(request))
        signature = signer.signature(text, request)
        if not said.endswith("Signature=" + signature):
            raise ValueError("the signature does not match")
        return {"signed": names}

    return judge


RECEIPT = (
    b'<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult>'
    b"<MessageId>94f20ce6-13c5-43a0-9a9e-ca52d816e90b</MessageId></PublishResult></PublishResponse>"
)


def serve(judge):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = b""
            try:
                say(judge(headers, body))
                self.send_response(200)
                # Each of them takes this as a receipt; Amazon's service gives it.
                answer = RECEIPT
            except Exception as problem:
                self.send_response(400, " ".join(repr(problem).split()))
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    say(server.server_port)
    server.serve_forever()


async def event_driven(secret):
    from ansible_rulebook.event_source import webhook

    class Queue:
        async def put(self, event):
            say(event)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = {"host": "127.0.0.1", "port": port, "hmac_secret": secret}
    source = asyncio.create_task(webhook.main(Queue(), arguments))
    while not source.done():
        try:
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            break
        except OSError:
            await asyncio.sleep(0.02)
    say(port)
    await source


def main():
    kind, *arguments = sys.argv[1:]
    if kind == "eda":
        asyncio.run(event_driven(*arguments))
    else:
        judges = {"cloudevents": cloudevents, "standard": standard, "sns": sns}
        serve(judges[kind](*arguments))


if __name__ == "__main__":
    main()
