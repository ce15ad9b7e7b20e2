#!/usr/bin/env python3
"""A token server for tests: the way that Docker Hub and others authenticate.

usage: token-server.py DIR USER PASSWORD

Makes a key and DIR/cert.pem, listens on a free loopback port, prints its URL, and answers GET and POST /token. Anybody may
pull, USER may push. Each request is a line in DIR/requests: the method, the account and the scopes. Tokens live for 300 s.
Source: distribution's token and OAuth 2 specifications.
"""
import base64
import http.server
import json
import os
import subprocess
import sys
import time
import urllib.parse

directory, user, password = sys.argv[1:4]
SERVICE, ISSUER, LIFETIME = "registry.test", "token-server.test", 300
REFRESH = "refresh-token-of-" + user


def path(name):
    return os.path.join(directory, name)


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(text):
    command = ["openssl", "dgst", "-sha256", "-sign", path("key.pem")]
    return subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout


def token(account, scopes):
    access = []
    for scope in scopes:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        granted = [a for a in actions.split(",") if a == "pull" or account == user]
        access.append({"type": kind, "name": name, "actions": granted})
    der = subprocess.run(["openssl", "x509", "-in", path("cert.pem"), "-outform", "DER"], capture_output=True, check=True).stdout
    now = int(time.time())
    header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
    claims = {"iss": ISSUER, "sub": account, "aud": SERVICE, "iat": now, "nbf": now - 10, "exp": now + LIFETIME,
              "jti": str(now), "access": access}
    text = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    return text + "." + encoded(signed(text))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def give(self, account, scopes, offline):
        with open(path("requests"), "a") as log:
            log.write(f"{self.command} {account or '-'} {' '.join(scopes)}\n")
        made = token(account, scopes)
        body = {"token": made, "access_token": made, "expires_in": LIFETIME}
        if offline and account:
            body["refresh_token"] = REFRESH
        self.answer(200, body)

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        scopes = [s for scope in query.get("scope", []) for s in scope.split()]
        header, account = self.headers.get("Authorization"), ""
        if header:
            pair = base64.b64decode(header.split()[1]).decode()
            if pair != f"{user}:{password}":
                return self.answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]})
            account = user
        self.give(account, scopes, query.get("offline_token") == ["true"])

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        form = urllib.parse.parse_qs(raw)
        if form.get("refresh_token") != [REFRESH]:
            return self.answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "the refresh token is not valid"}]})
        self.give(user, form.get("scope", [""])[0].split(), False)


subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=" + ISSUER,
                "-keyout", path("key.pem"), "-out", path("cert.pem")], capture_output=True, check=True)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"http://127.0.0.1:{server.server_address[1]}/token", flush=True)
server.serve_forever()
