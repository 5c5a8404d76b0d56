"""Proxies of an environment as companies set them, at which nobody listens: what goes through one fails."""

from __future__ import annotations

CLOSED_PROXIES = {
    name: "http://127.0.0.1:1"
    for lower in ("http_proxy", "https_proxy", "all_proxy")
    for name in (lower, lower.upper())
}
