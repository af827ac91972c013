"""A device that knows CoAP from aiocoap and CBOR from cbor2, and the rest from Golioth's documentation.

Tells on standard output what happens to it, a line each. Lines on standard input tell it what to do: `wake` ends what
sleeps, `forget` drops the observation without a word to the server. The end of standard input is its own end.
"""

import argparse
import asyncio
import json
import sys

import cbor2
from aiocoap import GET, POST, Context, Message

FORMATS = {
    "json": (50, lambda value: json.dumps(value).encode(), json.loads),
    "cbor": (60, cbor2.dumps, cbor2.loads),
}


def say(*words):
    print(*words, flush=True)


class Device:
    def __init__(self, context, server, name, format):
        self.context = context
        self.server = server
        self.name = name
        self.number, self.encode, self.decode = FORMATS[format]
        self.awake = asyncio.Event()
        self.running = set()

    async def observe(self):
        uri = f"{self.server}/.rpc" + (f"?ep={self.name}" if self.name else "")
        request = self.context.request(
            Message(code=GET, uri=uri, observe=0, accept=self.number)
        )
        response = await request.response
        say("observing", response.code, int(response.opt.content_format), response.payload.hex())
        try:
            async for notification in request.observation:
                task = asyncio.create_task(self.answer(self.decode(notification.payload)))
                self.running.add(task)
                task.add_done_callback(self.running.discard)
        finally:
            if not request.observation.cancelled:
                request.observation.cancel()
            say("not observing")

    async def answer(self, call):
        say("called", call["id"])
        function = getattr(self, f"do_{call['method']}", None)
        if function is None:
            result = {"id": call["id"], "status": 5}
        else:
            status, detail = await function(*call["params"])
            result = {"id": call["id"], "status": status, "detail": detail}
        response = await self.context.request(
            Message(
                code=POST,
                uri=f"{self.server}/.rpc/status",
                content_format=self.number,
                payload=self.encode(result),
            )
        ).response
        say("answered", call["id"], response.code)

    async def do_multiply(self, left, right):
        return 0, {"value": left * right}

    async def do_echo(self, *params):
        return 0, {"value": params[0] if len(params) == 1 else list(params)}

    async def do_sleep(self, seconds):
        try:
            await asyncio.wait_for(self.awake.wait(), seconds)
        except asyncio.TimeoutError:
            pass
        return 0, {"slept": seconds}

    async def do_fail(self, status, text):
        return int(status), {"error": text}


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("server", help="coap://127.0.0.1:5683")
    parser.add_argument("--name", help="for ep; without it the credentials say who it is")
    parser.add_argument("--identity", help="for DTLS with a pre-shared key")
    parser.add_argument("--key")
    parser.add_argument("--format", choices=FORMATS, default="cbor")
    arguments = parser.parse_args()

    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    context = await Context.create_client_context()
    if arguments.identity:
        psk = {"psk": {"ascii": arguments.key}, "client-identity": {"ascii": arguments.identity}}
        context.client_credentials.load_from_dict({f"{arguments.server}/*": {"dtls": psk}})
    device = Device(context, arguments.server, arguments.name, arguments.format)
    observing = asyncio.create_task(device.observe())
    while line := (await lines.readline()).decode().strip():
        if line == "wake":
            device.awake.set()
        elif line == "forget":
            observing.cancel()
            await asyncio.wait([observing])
    await context.shutdown()


asyncio.run(main())
