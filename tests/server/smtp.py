"""An SMTP server on a unix socket, for the tests of mail; it writes down what it takes.

    smtp.py SOCKET [--starttls | --tls] [--auth MECHANISM]

A certificate and its key are server.pem and server.key beside the socket, mails go to mails.json
there. The user is `svc`, the password `canary-password`, the token `canary-token`. Recipients
called `refused` do not exist, `later` is greylisted once, and mails to `quota` are refused after
they were read.
"""

import argparse
import base64
import json
import ssl
import threading
from email import message_from_bytes, policy
from pathlib import Path

from aiosmtpd.controller import UnixSocketController
from aiosmtpd.smtp import AuthResult

USER, PASSWORD, TOKEN = b"svc", b"canary-password", b"canary-token"


def authenticate(server, session, envelope, mechanism, auth_data):
    good = (auth_data.login, auth_data.password) == (USER, PASSWORD)
    return AuthResult(success=good, handled=False, auth_data=mechanism)


class Handler:
    def __init__(self, path):
        self.path = path
        self.greylist = set()

    async def auth_XOAUTH2(self, server, args):
        expected = b"user=" + USER + b"\1auth=Bearer " + TOKEN + b"\1\1"
        if base64.b64decode(args[1]) == expected:
            return AuthResult(success=True, auth_data="XOAUTH2")
        # As Google and Microsoft do: the reason first, the code after an empty answer.
        await server.challenge_auth(b'{"status":"401","schemes":"bearer"}')
        return AuthResult(success=False, handled=False)

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused@"):
            return "550 5.1.1 no such user here"
        if address.startswith("later@") and address not in self.greylist:
            self.greylist.add(address)
            return "451 4.7.1 greylisted, try again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if any(address.startswith("quota@") for address in envelope.rcpt_tos):
            return "552 5.2.2 over quota"
        with self.path.open("a") as file:
            file.write(json.dumps(describe(server, session, envelope)) + "\n")
        return "250 OK"


def describe(server, session, envelope):
    content = envelope.original_content
    mail = message_from_bytes(content, policy=policy.default)
    bodies = {kind: mail.get_body(preferencelist=(kind,)) for kind in ("plain", "html")}
    parts = {kind: body.get_content().replace("\r\n", "\n") for kind, body in bodies.items()}
    return {
        "from": envelope.mail_from,
        "to": envelope.rcpt_tos,
        "encrypted": server.transport.get_extra_info("cipher") is not None,
        "login": session.auth_data if session.authenticated else None,
        "headers": {name.lower(): str(value) for name, value in mail.items()},
        "defects": [str(defect) for part in mail.walk() for defect in part.defects],
        "longest": max(map(len, content.split(b"\r\n"))),
        "raw": content.decode("latin-1"),
        **parts,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("socket", type=Path)
    parser.add_argument("--starttls", action="store_true")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--auth", choices=["PLAIN", "LOGIN", "XOAUTH2"])
    arguments = parser.parse_args()
    folder = arguments.socket.parent
    context = None
    if arguments.tls or arguments.starttls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
    controller = UnixSocketController(
        Handler(folder / "mails.json"),
        arguments.socket,
        ssl_context=context if arguments.tls else None,
        tls_context=context if arguments.starttls else None,
        require_starttls=arguments.starttls,
        authenticator=authenticate,
        auth_required=bool(arguments.auth),
        # aiosmtpd does not see that a connection was encrypted from its start.
        auth_require_tls=arguments.starttls,
        auth_exclude_mechanism={"PLAIN", "LOGIN", "XOAUTH2"} - {arguments.auth},
    )
    controller.start()
    threading.Event().wait()


main()
