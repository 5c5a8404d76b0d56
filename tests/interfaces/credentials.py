"""A token, and certificates that are created for the tests."""

from __future__ import annotations

from pathlib import Path

import trustme

TOKEN = "correct-horse-battery-staple"


def certificates(folder: Path) -> dict[str, str]:
    """Create an authority and a certificate that it signed. Returns the environment variables that name them."""
    folder.mkdir()
    authority = trustme.CA()
    issued = authority.issue_cert("offload.test")
    issued.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    return {f"OFFLOAD_TLS_{name.upper()}": str(folder / f"{name}.pem") for name in ("certificate", "key", "authority")}
