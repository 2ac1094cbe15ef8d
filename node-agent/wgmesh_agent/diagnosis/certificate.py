"""Findings on certificates that have expired, expire soon, or are not valid yet."""

from __future__ import annotations

from wgmesh_agent.diagnosis.finding import Code, Finding, span

SOON_SECONDS = 30 * 86400.0
SOON_SHARE = 5
UNKNOWN_LIFE_SOON_SECONDS = 3600.0


def certificate_findings(
    about: str, what: str, not_before: float, not_after: float, now: float
) -> list[Finding]:
    """Args:
    not_before: unix seconds; 0 where it is not known.
    now: by the clock of this machine.
    """
    if not_before > now:
        return [
            Finding(
                Code.CERTIFICATE,
                about,
                f"{_capital(what)} is not valid yet.",
                f"its validity starts in {span(not_before - now)} by this machine's clock",
                "Correct this machine's clock if it is wrong (`timedatectl`); otherwise reissue the certificate.",
            )
        ]
    if not_after <= now:
        return [
            Finding(
                Code.CERTIFICATE,
                about,
                f"{_capital(what)} has expired.",
                f"it expired {span(now - not_after)} ago by this machine's clock",
                "Existing links keep working, but a node with it cannot join again: issue another (`wgmesh ca "
                "issue`; a bundle: fetch it again; in Kubernetes: check that the operator runs). If the clock "
                "is wrong, correct it.",
            )
        ]
    if not_after - now < _soon(not_before, not_after):
        return [
            Finding(
                Code.CERTIFICATE,
                about,
                f"{_capital(what)} expires soon.",
                f"it expires in {span(not_after - now)}",
                "Issue another in time (`wgmesh ca issue`; a bundle: fetch it again; in Kubernetes the "
                "operator should have renewed it by now: check that it runs).",
            )
        ]
    return []


def _soon(not_before: float, not_after: float) -> float:
    """Renewal is due at two thirds of the validity period; a certificate in its last fifth was not renewed."""
    life = not_after - not_before
    return min(SOON_SECONDS, life / SOON_SHARE) if not_before else UNKNOWN_LIFE_SOON_SECONDS


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
