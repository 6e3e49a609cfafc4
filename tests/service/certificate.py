"""A certificate of the tests' own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.needs import missing


def certificate(folder: Path) -> tuple[Path, Path]:
    """Return a certificate for localhost and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        missing("there is no openssl, to make a certificate: apt-get install openssl")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key
