"""What the scripts here share: a client of `azure-ai-projects` as it is installed, which
sends the token of TOKEN to the door at URL."""

import os

from azure.ai.projects import AIProjectClient
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import SansIOHTTPPolicy

TOKEN = os.environ["TOKEN"]
ENDPOINT = f"{os.environ['URL']}/foundry/api/projects/proj"


class Credential:
    def get_token(self, *scopes, **more):
        return AccessToken(TOKEN, 4102444800)


class Bearer(SansIOHTTPPolicy):
    """The package's own policy refuses plain HTTP."""

    def on_request(self, request):
        request.http_request.headers["Authorization"] = f"Bearer {TOKEN}"


def client(**more):
    return AIProjectClient(ENDPOINT, Credential(), authentication_policy=Bearer(), **more)


def refused(kind, code, call, *args, **more):
    """The call fails as this kind of error, with this code."""
    try:
        call(*args, **more)
    except kind as error:
        assert isinstance(error, HttpResponseError)
        assert error.error and error.error.code == code, f"{code}: {error} {error.error}"
        return error
    raise AssertionError(f"{call.__name__} was not refused with {code}")
