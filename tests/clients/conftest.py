"""What the client tests share: where the proxy is, and a second one whose quota is nearly nothing.

The address comes from PROXY_URL alone, so that no test can reach another server; PROXY_BINARY is the program itself. The
clients differ too much to share more than that.
"""

import os
import re
import subprocess
import time
from urllib.parse import urlsplit

import pytest

# Longest wait for a server of ours to listen: it takes well under a second, on a loaded machine a few.
START_SECONDS = 30

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
    folder = tmp_path_factory.mktemp("throttled")
    binary = os.environ["PROXY_BINARY"]
    simulate = [binary, "simulate", "--port", "0", "--key", "some-key", "--deployment", "gpt-4o=gpt-4o:1000"]
    servers = []
    try:
        simulator = start(servers, simulate, {}, folder / "simulate.log")
        settings = {
            "HOST": "127.0.0.1",
            "PORT": "0",
            "AZURE_OPENAI_API_KEY": "some-key",
            "AZURE_OPENAI_API_BASE": simulator,
            "AZURE_OPENAI_API_VERSION": "2024-10-21",
        }
        yield start(servers, [binary], settings, folder / "serve.log")
    finally:
        for server in servers:
            server.terminate()
            server.wait(timeout=60)


def start(servers, command, settings, log):
    """Starts a server and returns the address that it says it listens on."""
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, env=settings, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    servers.append(server)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        found = re.search(r"listening.*?(127\.0\.0\.1:\d+)", log.read_text())
        if found:
            return f"http://{found[1]}"
        time.sleep(0.05)
    pytest.fail(f"{command} does not listen:\n{log.read_text()}")
