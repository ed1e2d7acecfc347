"""The callbacks that a user might pick instead, installed into an environment of their own."""

import contextlib
import os
import subprocess
import time
import urllib.request
import zipfile

import venvs
from endpoint import free_port

NAME = "bench-peers"
# The collection community.general comes with this; only that part of it is unpacked.
ANSIBLE = "ansible==14.5.0"
COLLECTION = "ansible_collections/community/general/"
REQUIREMENTS = [
    "ansible-core==2.21.5",
    "ara[server]==1.8.0",
    "gunicorn==27.0.1",
    "opentelemetry-api==1.45.2",
    "opentelemetry-exporter-otlp-proto-grpc==1.45.2",
    "opentelemetry-exporter-otlp-proto-http==1.45.2",
    "opentelemetry-sdk==1.45.2",
    "requests==2.34.2",
]
VERSIONS = ", ".join([*REQUIREMENTS, "community.general of " + ANSIBLE]).replace("==", " ")


def ensure():
    """The directory of the environment, made where needed."""
    venvs.RECIPES[NAME] = (REQUIREMENTS, ["3.12", "3.13"])
    place = venvs.ensure(NAME)
    if place is None:
        raise SystemExit("the callbacks to compare with need Python 3.12 or 3.13")
    site = next(place.glob("lib/python3*/site-packages"))
    if not (site / COLLECTION / "MANIFEST.json").exists():
        pip = [place / "bin/python", "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--dest", place / "download", ANSIBLE], check=True)
        with zipfile.ZipFile(next((place / "download").glob("*.whl"))) as wheel:
            parts = [name for name in wheel.namelist() if name.startswith(COLLECTION)]
            # What says that it is complete comes last.
            wheel.extractall(site, sorted(parts, key=lambda name: name.endswith("MANIFEST.json")))
    return place


@contextlib.contextmanager
def ara_server(place, records):
    """ARA's server with four workers, as its documentation runs it; gives its URL."""
    port = free_port()
    url = "http://127.0.0.1:%d" % port
    environment = dict(
        os.environ,
        ARA_BASE_DIR=str(records),
        ARA_ALLOWED_HOSTS="['*']",
        DJANGO_SETTINGS_MODULE="ara.server.settings",
    )
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    subprocess.run([place / "bin/ara-manage", "migrate"], check=True, **quiet)
    command = [place / "bin/gunicorn", "--workers=4", "--bind=127.0.0.1:%d" % port]
    server = subprocess.Popen([*command, "ara.server.wsgi"], **quiet)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(url + "/api/v1/"):
                break
            time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait()


def environments(place, directory, url, ara_url):
    """What switches each peer on, by its label."""
    plugins = subprocess.run(
        [place / "bin/python", "-m", "ara.setup.callback_plugins"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    ara = {"ANSIBLE_CALLBACKS_ENABLED": "ara_default", "ANSIBLE_CALLBACK_PLUGINS": plugins}
    return {
        "`requests.post` for each result": {"ANSIBLE_CALLBACKS_ENABLED": "post_each"},
        "community.general.splunk": {
            "ANSIBLE_CALLBACKS_ENABLED": "community.general.splunk",
            "SPLUNK_URL": url,
            "SPLUNK_AUTHTOKEN": "bench",
        },
        "community.general.opentelemetry": {
            "ANSIBLE_CALLBACKS_ENABLED": "community.general.opentelemetry",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        },
        "ARA, offline": dict(
            ara, ARA_API_CLIENT="offline", ARA_BASE_DIR=str(directory / "ara-offline")
        ),
        "ARA, HTTP API, 4 threads": dict(
            ara, ARA_API_CLIENT="http", ARA_API_SERVER=ara_url, ARA_CALLBACK_THREADS="4"
        ),
    }
