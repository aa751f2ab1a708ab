"""Agents and their versions, by `azure-ai-projects` for Python.

`agents.py PROGRAM...`: an entry point that serves HTTP."""

import sys

from azure.ai.projects.models import (
    CodeConfiguration,
    ContainerConfiguration,
    HostedAgentDefinition,
    ProtocolVersionRecord,
    VersionRefIndicator,
)
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from common import client, refused

agents = client().agents


def definition(**more):
    code = CodeConfiguration(
        runtime="python_3_11", entry_point=sys.argv[1:], dependency_resolution="bundled"
    )
    return HostedAgentDefinition(
        cpu="1",
        memory="2Gi",
        protocol_versions=[ProtocolVersionRecord(protocol="invocations", version="2.0.0")],
        **{"code_configuration": code, **more},
    )


# Versions count up, and what is the same is the same.
first = agents.create_version("helper", definition=definition(), metadata={"k": "v"})
assert (first.version, first.status, first.metadata) == ("1", "active", {"k": "v"}), first
assert first.definition.code_configuration.entry_point == sys.argv[1:]
same = agents.create_version("helper", definition=definition(), metadata={"k": "v"})
assert same.version == "1"
second = agents.create_version(
    "helper", definition=definition(environment_variables={"STEP": "2"}), description="two"
)
assert (second.version, second.description) == ("2", "two")

# An image is kept, and has failed.
image = ContainerConfiguration(image="registry.example/img:1")
failed = agents.create_version(
    "helper", definition=definition(code_configuration=None, container_configuration=image)
)
assert (failed.version, failed.status) == ("3", "failed"), failed
assert failed["error"]["code"] == "ImageError" and "images" in failed["error"]["message"], failed
assert agents.get_version("helper", "3").definition.container_configuration.image == image.image
refused(
    ResourceExistsError,
    "agent_version_failed",
    agents.create_session,
    "helper",
    version_indicator=VersionRefIndicator(agent_version="3"),
)
refused(HttpResponseError, "invalid_parameter", agents.create_version, "helper", definition={})

# A draft is not what an endpoint takes.
draft = agents.create_version(
    "helper", definition=definition(environment_variables={"STEP": "4"}), draft=True
)
assert (draft.version, draft.draft) == ("4", True)
details = agents.get("helper")
assert details.versions.latest.version == "3", details
rules = details.agent_endpoint.version_selector.version_selection_rules
assert [(one.agent_version, one.traffic_percentage) for one in rules] == [("2", 100)]
assert [one.version for one in agents.list_versions("helper")] == ["3", "2", "1"]
assert "4" in [one.version for one in agents.list_versions("helper", include_drafts=True)]
assert "helper" in [one.name for one in agents.list()]
refused(ResourceNotFoundError, "agent_version_not_found", agents.get_version, "helper", "9")

# A live session keeps its version; a stopped one takes the endpoint's when it goes on.
ref = VersionRefIndicator(agent_version="1")
old = agents.create_session("helper", version_indicator=ref, agent_session_id="old")
assert old.version_indicator.agent_version == "1"
agents.stop_session("helper", "old")

# Disabled: nothing new, while what is there is stopped as ever.
live = agents.create_session(
    "helper", version_indicator=VersionRefIndicator(agent_version="2"), agent_session_id="live"
)
agents.disable("helper")
agents.disable("helper")
assert agents.get("helper").state == "disabled"
refused(ResourceExistsError, "agent_disabled", agents.create_session, "helper", version_indicator=ref)
assert agents.get_session("helper", "live").status == "active"
agents.enable("helper")
assert agents.get("helper").state == "enabled"

# What is live keeps its agent, unless it is forced.
refused(ResourceExistsError, "agent_has_active_sessions", agents.delete_version, "helper", "2")
refused(ResourceExistsError, "agent_has_active_sessions", agents.delete, "helper")
assert agents.delete_version("helper", "4").deleted
assert agents.delete("helper", force=True).deleted
refused(ResourceNotFoundError, "agent_not_found", agents.get, "helper")
refused(ResourceNotFoundError, "session_not_found", agents.get_session, "helper", "live")
print("every version")
