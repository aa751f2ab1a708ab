"""Responses by the `openai` package, as `azure-ai-projects` makes a client of it.

`responses.py AGENT VERSION`: an agent that works in three steps when it is let (`steps.py`)."""

import sys
import time

import openai
from azure.ai.projects.models import VersionRefIndicator
from common import client

agent, version = sys.argv[1:]
project = client(allow_preview=True)
agents = project.agents
oa = project.get_openai_client(agent_name=agent)


def session(id):
    now = VersionRefIndicator(agent_version=version)
    agents.create_session(agent, version_indicator=now, agent_session_id=id)
    return {"agent_session_id": id}


def let(id):
    for step in range(1, 4):
        agents.upload_session_file(agent, id, b"", path=f"go-{step}")


def wait(response, status):
    until = time.monotonic() + 30
    while (now := oa.responses.retrieve(response.id)).status != status:
        assert time.monotonic() < until, now
        time.sleep(0.05)
    return now


# A stream, to its end.
in_a = session("resp-a")
let("resp-a")
text, kinds, last = "", [], -1
for event in oa.responses.create(input="the work", stream=True, extra_body=in_a):
    kinds.append(event.type)
    assert event.sequence_number == last + 1, event
    last = event.sequence_number
    if event.type == "response.output_text.delta":
        text += event.delta
assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
assert text == "working on the work\nstep 1\nstep 2\nstep 3\n", text

# In the background: found again by its own id, replayed from any place, deleted.
later = oa.responses.create(
    input="how far", background=True, stream=False, store=True, extra_body={"session_id": "resp-a"}
)
assert later.status in ("queued", "in_progress", "completed"), later
done = wait(later, "completed")
assert done.output_text == "3 steps, 0 items before", done.output_text
assert done.agent_session_id == "resp-a"
streamed = oa.responses.create(
    input="how far", background=True, stream=True, store=True, extra_body=in_a
)
first = next(iter(streamed)).response
streamed.close()
wait(first, "completed")
replay = [one.sequence_number for one in oa.responses.retrieve(first.id, stream=True, starting_after=3)]
assert replay and replay[0] == 4 and replay == list(range(4, 4 + len(replay))), replay
items = oa.responses.input_items.list(first.id)
assert [one.content[0].text for one in items] == ["how far"], items
oa.responses.delete(later.id)
try:
    oa.responses.retrieve(later.id)
    raise AssertionError("it is gone")
except openai.NotFoundError:
    pass

# What follows one response goes where that one was; a conversation stays where it began.
more = oa.responses.create(input="how far", previous_response_id=first.id)
assert more.agent_session_id == "resp-a" and more.output_text == "3 steps, 2 items before", more
talk = oa.conversations.create(metadata={"about": "steps"})
assert oa.conversations.retrieve(talk.id).metadata == {"about": "steps"}
one = oa.responses.with_raw_response.create(input="how far", conversation=talk.id)
place = one.headers["x-agent-session-id"]
two = oa.responses.with_raw_response.create(input="how far", conversation=talk.id)
assert two.headers["x-agent-session-id"] == place != "resp-a"
assert one.parse().output_text == "0 steps, 0 items before"
assert two.parse().output_text == "0 steps, 2 items before", two.parse().output_text
assert agents.get_session(agent, place).status == "active"
oa.conversations.delete(talk.id)

# After a stop the next response resumes.
agents.stop_session(agent, "resp-a")
again = oa.responses.create(input="how far", extra_body=in_a)
assert again.output_text == "3 steps, 0 items before", again.output_text
assert agents.get_session(agent, "resp-a").status == "active"

# Cancelled in the middle.
in_b = session("resp-b")
work = oa.responses.create(
    input="the work", background=True, stream=False, store=True, extra_body=in_b
)
assert oa.responses.cancel(work.id).status == "cancelled"
assert oa.responses.retrieve(work.id).status == "cancelled"

# Refusals.
for call, more in [
    (openai.NotFoundError, {"extra_body": {"agent_session_id": "nothing"}}),
    (openai.NotFoundError, {"conversation": "conv_nothing"}),
    (openai.NotFoundError, {"previous_response_id": "caresp_nothing"}),
]:
    try:
        oa.with_options(max_retries=0).responses.create(input="how far", **more)
        raise AssertionError(f"refused: {more}")
    except call as error:
        assert error.body["message"], error
print("every response")
