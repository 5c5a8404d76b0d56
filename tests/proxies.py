"""Environment variables of proxies, as companies set them, at which no server listens: requests through them fail."""

from __future__ import annotations

CLOSED_PROXIES = {
    name: "http://127.0.0.1:1"
    for lower in ("http_proxy", "https_proxy", "all_proxy")
    for name in (lower, lower.upper())
}
