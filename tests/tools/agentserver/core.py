"""An agent of Amazon Bedrock AgentCore, as its package is: it answers at once, and works on
in the background for as long as a file `working` is in its workspace."""

import asyncio
import os

from bedrock_agentcore import BedrockAgentCoreApp

app = BedrockAgentCoreApp()


@app.async_task
async def work():
    while os.path.exists("working"):
        await asyncio.sleep(0.02)


@app.entrypoint
async def answer(payload, context):
    if payload.get("prompt") == "work":
        open("working", "w").close()
        asyncio.create_task(work())
        return {"result": "begun"}
    return {"result": f"you said {payload.get('prompt')}", "session": context.session_id}


app.run(port=int(os.environ["PORT"]))
