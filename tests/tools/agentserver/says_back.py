"""An agent of the Azure AI agent server that speaks over a WebSocket: it says back what it
hears, and what the request's headers told it."""

from azure.ai.agentserver.invocations import InvocationAgentServerHost
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

SPEC = {"openapi": "3.1.0", "info": {"title": "Says back", "version": "1"}, "paths": {}}

app = InvocationAgentServerHost(openapi_spec=SPEC)


@app.invoke_handler
async def invoke(request: Request):
    names = sorted(name.lower() for name in request.headers)
    return JSONResponse({"headers": names, "said": (await request.body()).decode()})


@app.ws_handler
async def handle(socket: WebSocket):
    async for said in socket.iter_text():
        if said == "end":
            return
        await socket.send_text(f"you said {said}")


app.run(host="127.0.0.1")
