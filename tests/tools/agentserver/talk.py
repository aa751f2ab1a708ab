"""A client that talks with an agent over a WebSocket: `talk.py URL`, the token in TOKEN."""

import asyncio
import os
import sys

import aiohttp


async def main():
    headers = {"authorization": f"Bearer {os.environ['TOKEN']}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.ws_connect(sys.argv[1]) as socket:
            for word in ["one", "two", "x" * 100_000]:
                await socket.send_str(word)
                said = await socket.receive_str()
                assert said == f"you said {word}", said[:100]
            await socket.send_str("end")
            last = await socket.receive()
            print(f"closed {last.type.name} {socket.close_code}")


asyncio.run(main())
