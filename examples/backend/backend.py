"""Each request writes a row, sends a message, receives it, and answers JSON with the counts."""

import json
import os
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pika
import psycopg

QUEUE = "visits"


def password():
    with open(os.environ["DATABASE_PASSWORD_FILE"], encoding="utf-8") as file:
        return file.read().strip()


def database():
    return psycopg.connect(
        host=os.environ["DATABASE_HOST"], dbname="app", user="app", password=password(), connect_timeout=3
    )


def queue():
    host = os.environ["QUEUE_HOST"]
    return pika.BlockingConnection(
        pika.ConnectionParameters(host, socket_timeout=3, blocked_connection_timeout=3, heartbeat=0)
    )


def prepare():
    with database() as connection:
        connection.execute("create table if not exists visits (id bigserial primary key, path text not null)")


def visit(path):
    with database() as connection:
        connection.execute("insert into visits (path) values (%s)", (path,))
        (rows,) = connection.execute("select count(*) from visits").fetchone()
    broker = queue()
    try:
        channel = broker.channel()
        channel.queue_declare(QUEUE, durable=True)
        channel.basic_publish("", QUEUE, path.encode())
        received = 0
        for method, _, body in channel.consume(QUEUE, auto_ack=True, inactivity_timeout=3):
            if method is None:
                break
            received += 1
            if body == path.encode():
                break
        channel.cancel()
    finally:
        broker.close()
    return {"rows": rows, "messages": received}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, {"status": "ok"})
        try:
            return self.answer(200, visit(self.path))
        except (psycopg.Error, pika.exceptions.AMQPError, OSError) as error:
            return self.answer(503, {"error": str(error).strip() or type(error).__name__})

    def answer(self, status, body):
        data = (json.dumps(body) + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main():
    if sys.argv[1:] == ["probe"]:
        urllib.request.urlopen("http://127.0.0.1:8080/health", timeout=3).read()
        return
    prepare()
    print("listening on 8080", flush=True)
    ThreadingHTTPServer(("", 8080), Handler).serve_forever()


if __name__ == "__main__":
    main()
