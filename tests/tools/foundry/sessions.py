"""Every operation on sessions and their files, by `azure-ai-projects` for Python.

`sessions.py AGENT VERSION`, with URL and TOKEN. The agent serves HTTP, whatever it says."""

import sys
from datetime import datetime, timedelta, timezone

from azure.ai.projects.models import VersionRefIndicator
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from common import client, refused

agent, version = sys.argv[1:]
agents = client().agents
now = VersionRefIndicator(agent_version=version)

# Create brings the compute up.
made = agents.create_session(agent, version_indicator=now)
assert made.status == "active", made
assert made.version_indicator.agent_version == version
assert isinstance(made.created_at, datetime) and "stopped_at" not in made
age = datetime.now(timezone.utc) - made.created_at
assert timedelta(seconds=-2) < age < timedelta(seconds=60), made
assert made.expires_at > made.last_accessed_at >= made.created_at
named = agents.create_session(
    agent,
    version_indicator=now,
    agent_session_id="sess-1",
    headers={"x-ms-user-identity": "user-1"},
)
assert (named.agent_session_id, named.status) == ("sess-1", "active")
refused(
    ResourceExistsError,
    "session_already_exists",
    agents.create_session,
    agent,
    version_indicator=now,
    agent_session_id="sess-1",
)
for bad in ["a/b c:d%e", "", "x" * 129, "ä"]:
    refused(
        HttpResponseError,
        "invalid_session_id",
        agents.create_session,
        agent,
        version_indicator=now,
        agent_session_id=bad,
    )
refused(
    ResourceNotFoundError,
    "agent_version_not_found",
    agents.create_session,
    agent,
    version_indicator=VersionRefIndicator(agent_version="99"),
)
refused(
    ResourceNotFoundError,
    "agent_not_found",
    agents.get,
    "nobody",
)

# Get.
assert agents.get_session(agent, "sess-1").status == "active"
for missing in ["nothing", "a/b c:d%e", "sess-1:stop", "%2e%2e"]:
    refused(ResourceNotFoundError, "session_not_found", agents.get_session, agent, missing)
    refused(ResourceNotFoundError, "session_not_found", agents.stop_session, agent, missing)
refused(ResourceNotFoundError, "session_not_found", agents.get_session, "other", "sess-1")

# Whose it is: one user's sessions are no other's.
mine = {"x-ms-user-identity": "user-1"}
theirs = {"x-ms-user-identity": "user-2"}
assert agents.get_session(agent, "sess-1", headers=mine).agent_session_id == "sess-1"
for call in [agents.get_session, agents.stop_session, agents.delete_session]:
    refused(ResourceNotFoundError, "session_not_found", call, agent, "sess-1", headers=theirs)
assert [one.agent_session_id for one in agents.list_sessions(agent, headers=mine)] == ["sess-1"]
assert list(agents.list_sessions(agent, headers=theirs)) == []

# Files.
upload = agents.upload_session_file
wrote = upload(agent, "sess-1", b"hello", path="data/in put.txt")
assert (wrote.path, wrote.bytes_written) == ("data/in put.txt", 5), wrote
assert upload(agent, "sess-1", b"", path="/abs/x.bin").path == "abs/x.bin"
big = bytes(range(256)) * (51 * 4096)
assert upload(agent, "sess-1", big, path="big.bin").bytes_written == len(big) > 50_000_000
fetched = b"".join(agents.download_session_file(agent, "sess-1", path="big.bin"))
assert fetched == big, len(fetched)
read = agents.download_session_file(agent, "sess-1", path="data/in put.txt")
assert b"".join(read) == b"hello"
for n in range(3):
    upload(agent, "sess-1", b"x", path=f"many/{n}")
listed = {entry.name: entry for entry in agents.list_session_files(agent, "sess-1")}
assert {"data", "abs", "big.bin", "many"} <= set(listed), listed
assert listed["data"].is_directory and not listed["big.bin"].is_directory
assert listed["big.bin"].size == len(big) and listed["data"].size == 0
assert isinstance(listed["big.bin"].modified_time, datetime)
paged = agents.list_session_files(agent, "sess-1", path="many", limit=2)
assert [entry.name for entry in paged] == ["0", "1", "2"]
back = agents.list_session_files(agent, "sess-1", path="many", limit=1, order="desc")
assert [entry.name for entry in back] == ["2", "1", "0"]
for path in ["../x", "a/../../x", "/../etc/passwd"]:
    refused(HttpResponseError, "invalid_file_path", upload, agent, "sess-1", b"x", path=path)
for call in [agents.download_session_file, agents.delete_session_file]:
    refused(ResourceNotFoundError, "file_not_found", call, agent, "sess-1", path="none")
remove = agents.delete_session_file
refused(ResourceExistsError, "not_empty", remove, agent, "sess-1", path="many")
remove(agent, "sess-1", path="many", recursive=True)
remove(agent, "sess-1", path="data/in put.txt")
refused(ResourceNotFoundError, "file_not_found", remove, agent, "sess-1", path="data/in put.txt")

# Its log.
stream = agents.get_session_log_stream(agent, version, "sess-1")
assert next(iter(stream)).startswith(b"event: log\ndata: {"), "a frame"

# Lists, page by page, from both ends.
ids = [made.agent_session_id, "sess-1"]
for n in range(2, 6):
    agents.create_session(agent, version_indicator=now, agent_session_id=f"sess-{n}")
    ids.append(f"sess-{n}")
names = lambda **how: [one.agent_session_id for one in agents.list_sessions(agent, **how)]
assert names() == ids[::-1]
assert names(limit=2, order="desc") == ids[::-1]
assert names(limit=3, order="asc") == ids
assert names(limit=4, order="asc", before="sess-3")[:3] == ids[:3]
refused(HttpResponseError, "invalid_parameter", names, limit=0)

# Stop: once done, the second time told so; nothing else is lost.
agents.stop_session(agent, "sess-1")
stopped = agents.get_session(agent, "sess-1")
assert stopped.status == "idle" and stopped.stopped_at >= stopped.created_at, stopped
assert stopped["stop_reason"] == "user" and stopped["receipt"]["survivors"] == 0, stopped
refused(ResourceExistsError, "session_already_stopped", agents.stop_session, agent, "sess-1")
assert b"".join(agents.download_session_file(agent, "sess-1", path="big.bin")) == big
upload(agent, "sess-1", b"later", path="later.txt")

# A repetition of the same request is answered like the first.
again = {"x-ms-client-request-id": "0c9f-repeated"}
assert agents.stop_session(agent, "sess-2", headers=again) is None
assert agents.stop_session(agent, "sess-2", headers=again) is None
refused(ResourceExistsError, "session_already_stopped", agents.stop_session, agent, "sess-2")
create = {"x-ms-client-request-id": "0c9f-created"}
one = agents.create_session(agent, version_indicator=now, headers=create)
two = agents.create_session(agent, version_indicator=now, headers=create)
assert one.agent_session_id == two.agent_session_id

# Delete, also what is not there.
agents.delete_session(agent, "sess-1")
agents.delete_session(agent, "sess-1")
agents.delete_session(agent, "a/b c:d%e")
refused(ResourceNotFoundError, "session_not_found", agents.get_session, agent, "sess-1")
agents.create_session(agent, version_indicator=now, agent_session_id="sess-1")
assert "big.bin" not in [entry.name for entry in agents.list_session_files(agent, "sess-1")]
print("every operation")
