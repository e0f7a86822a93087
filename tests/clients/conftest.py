"""What the client tests share: where the proxy is.

The address comes from PROXY_URL alone, so that no test can reach another server. The clients differ too much to share
more than that.
"""

import os
from urllib.parse import urlsplit

import pytest


@pytest.fixture(scope="session")
def proxy_url() -> str:
    """The proxy's address without a path, for instance http://127.0.0.1:3010."""
    url = os.environ.get("PROXY_URL", "").rstrip("/")
    if urlsplit(url).scheme != "http" or urlsplit(url).path:
        pytest.exit(f"PROXY_URL must be http://HOST:PORT, found {url!r}", returncode=2)
    return url
