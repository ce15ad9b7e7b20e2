#!/usr/bin/env python3
"""A server for tests that lets in who shows its client certificate, and says that few pulls are left.

usage: client-certificate-server.py DIR

Makes DIR/server.crt, DIR/client.cert and DIR/client.key, listens on a free loopback port, prints its address, and answers
every GET with the tags of a repository.
"""
import http.server
import os
import ssl
import subprocess
import sys

directory = sys.argv[1]


def path(name):
    return os.path.join(directory, name)


def make(certificate, key):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path(key), "-out", path(certificate)],
                   capture_output=True, check=True)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        body = b'{"name": "app", "tags": ["v1"]}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("RateLimit-Limit", "100;w=21600")
        self.send_header("RateLimit-Remaining", "3;w=21600")
        self.end_headers()
        self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """Who is turned away is what this is for."""


make("server.crt", "server.key")
make("client.cert", "client.key")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(path("server.crt"), path("server.key"))
context.load_verify_locations(path("client.cert"))
context.verify_mode = ssl.CERT_REQUIRED
server = Server(("127.0.0.1", 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("127.0.0.1:%d" % server.server_address[1], flush=True)
server.serve_forever()
