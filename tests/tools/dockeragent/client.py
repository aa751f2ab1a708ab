"""A client of docker-agent's API: httpx, and the SSE parser httpx-sse.

    client.py BASE TOKEN run SESSION AGENT PROMPT     a turn, its body a bare list
    client.py BASE TOKEN named SESSION AGENT PROMPT   the same, its body an object
    client.py BASE TOKEN events SESSION SINCE EPOCH   what has happened since

Each event is a line on standard output, as {"id", "event", "data"}. The last line is
{"closed": why}.
"""

import json
import sys
import urllib.parse

import httpx
from httpx_sse import connect_sse


def main(base, token, what, session, *rest):
    headers = {"Authorization": f"Bearer {token}"}
    quoted = urllib.parse.quote(session, safe="")
    if what == "events":
        since, epoch = rest
        query = urllib.parse.urlencode({"since": since, "since_epoch": epoch})
        request = ("GET", f"{base}/api/sessions/{quoted}/events?{query}", {})
    else:
        agent, prompt = rest
        messages = [{"role": "user", "content": prompt}]
        body = messages if what == "run" else {"messages": messages}
        key = urllib.parse.quote(agent, safe="")
        request = ("POST", f"{base}/api/sessions/{quoted}/agent/{key}", {"json": body})
    method, url, more = request
    why = "end"
    with httpx.Client(headers=headers, timeout=httpx.Timeout(10, read=None)) as client:
        try:
            with connect_sse(client, method, url, **more) as source:
                source.response.raise_for_status()
                for sse in source.iter_sse():
                    line = {"id": sse.id, "event": sse.event, "data": sse.json()}
                    print(json.dumps(line), flush=True)
        except httpx.TransportError as error:
            why = type(error).__name__
    print(json.dumps({"closed": why}), flush=True)


main(*sys.argv[1:])
