"""An agent of the Azure AI agent server, as its package is: it works in three steps, each
when it is let (a file `go-N` in its workspace), and notes it in `steps.txt`. Stopped in
the middle it exits for recovery, and is called again by its server's next start."""

import asyncio
import os

from azure.ai.agentserver.core.tasks._manager import get_task_manager
from azure.ai.agentserver.responses import (
    CreateResponse,
    ResponseContext,
    ResponsesAgentServerHost,
    ResponsesServerOptions,
    TextResponse,
)

app = ResponsesAgentServerHost(options=ResponsesServerOptions(resilient_background=True))


async def leave(context):
    """Goes, to be called again. The package tells handlers that it ends before it tells its
    tasks, and one that leaves in between counts as failed: so that word is awaited too."""
    await get_task_manager()._shutdown_event.wait()
    await context.exit_for_recovery()


async def let(step, context, cancelled):
    while not os.path.exists(f"go-{step}"):
        if context.shutdown.is_set():
            await leave(context)
        if cancelled.is_set():
            return False
        await asyncio.sleep(0.02)
    return True


def done():
    try:
        with open("steps.txt") as steps:
            return len(steps.readlines())
    except FileNotFoundError:
        return 0


@app.response_handler
async def handler(request: CreateResponse, context: ResponseContext, cancelled: asyncio.Event):
    async def work():
        asked = await context.get_input_text()
        if asked == "how far":
            yield f"{done()} steps, {len(await context.get_history())} items before"
            return
        again = " again" if context.is_recovery else ""
        yield f"working on {asked}{again}\n"
        for step in range(done() + 1, 4):
            if not await let(step, context, cancelled):
                return
            with open("steps.txt", "a") as steps:
                steps.write(f"{step}{again}\n")
            yield f"step {step}{again}\n"

    return TextResponse(context, request, text=work())


app.run(host="127.0.0.1")
