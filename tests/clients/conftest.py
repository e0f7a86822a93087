"""What the client tests share: where the proxy is, and how to start others in front of resources of their own.

The address comes from PROXY_URL alone, so that no test can reach another server; PROXY_BINARY is the program itself. The
clients differ too much to share more than that.
"""

import contextlib
import os
import re
import subprocess
import time
from urllib.parse import urlsplit

import pytest

# Longest wait for a server of ours to listen: it takes well under a second, on a loaded machine a few.
START_SECONDS = 30

# Longest wait for one to stop: no answer is open by then.
STOP_SECONDS = 60

# Of the simulated resources.
KEY = "some-key"

# Else the import of LiteLLM fetches its table of prices.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"


@pytest.fixture(scope="session")
def proxy_url() -> str:
    """The proxy's address without a path, for instance http://127.0.0.1:3010."""
    url = os.environ.get("PROXY_URL", "").rstrip("/")
    if urlsplit(url).scheme != "http" or urlsplit(url).path:
        pytest.exit(f"PROXY_URL must be http://HOST:PORT, found {url!r}", returncode=2)
    return url


@pytest.fixture(scope="session")
def throttled_url(tmp_path_factory):
    """A proxy in front of one simulated resource that allows one call in ten seconds."""
    with Servers(tmp_path_factory.mktemp("throttled")) as servers:
        yield servers.serve(
            AZURE_OPENAI_API_KEY=KEY,
            AZURE_OPENAI_API_BASE=servers.simulate("gpt-4o=gpt-4o:1000"),
            AZURE_OPENAI_API_VERSION="2024-10-21",
        )


class Servers(contextlib.ExitStack):
    """Servers of ours that log into a folder, stopped in the end."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def simulate(self, deployment, name="simulate"):
        """Starts a simulated resource whose key is KEY, and returns its address."""
        options = ["--port", "0", "--key", KEY, "--deployment", deployment]
        return self._start([os.environ["PROXY_BINARY"], "simulate", *options], {}, name)

    def serve(self, wrapper=(), **settings):
        """Starts a proxy, behind a command that runs it if one is given, and returns its address."""
        settings = {"HOST": "127.0.0.1", "PORT": "0"} | settings
        return self._start([*wrapper, os.environ["PROXY_BINARY"]], settings, "serve")

    def _start(self, command, settings, name):
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            server = subprocess.Popen(
                command,
                env=settings,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        # Called in reverse.
        self.callback(server.wait, timeout=STOP_SECONDS)
        self.callback(server.terminate)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and server.poll() is None:
            found = re.search(r"listening.*?(127\.0\.0\.1:\d+)", log.read_text())
            if found:
                return f"http://{found[1]}"
            time.sleep(0.05)
        pytest.fail(f"{command} does not listen:\n{log.read_text()}")
