"""What can go wrong between a client and its rented machine, as switches.

A switch does nothing by itself: ``control_plane``, ``calls``, ``containers`` and ``storage`` look
at theirs, and misbehave.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Faults:
    """Set an attribute, and the loopback misbehaves from then on; counters count down to 0.

    Attributes
    ----------
    cold_start_seconds : float
        What a container needs before its first input, beside the start of its process.
    bytes_per_second : float or None
        Rate of uploads and downloads of blobs and blocks, all of them together.
    unavailable : dict of str to int
        How many calls of a procedure are answered "unavailable".
    stalled : set of str
        Procedures that never answer.
    refuse_token, quota : bool
        Whether every call is refused for its token, or every job for the account's quota.
    slow_downs : int
        Uploads answered with HTTP 503.
    half_uploads : int
        Uploads cut off in the middle.
    lost_answers : int
        Polls for results whose connection breaks before the answer.
    duplicates : int
        Inputs delivered twice to the container.
    crash_seconds : float or None
        Containers die this long after an input reached them; 0 is at once.
    preemptions : int
        How many of these deaths are the provider's doing, which a client may retry.
    no_gpus : set of str
        Kinds of GPU for which no container ever starts.
    version : str
        What containers say their version is; empty for the truth.
    expired : bool
        Whether results are gone.
    damaged_answers : int
        Results with a flipped bit.
    """

    cold_start_seconds: float = 0.0
    bytes_per_second: float | None = None
    unavailable: dict[str, int] = field(default_factory=dict)
    stalled: set[str] = field(default_factory=set)
    refuse_token: bool = False
    quota: bool = False
    slow_downs: int = 0
    half_uploads: int = 0
    lost_answers: int = 0
    duplicates: int = 0
    crash_seconds: float | None = None
    preemptions: int = 0
    no_gpus: set[str] = field(default_factory=set)
    version: str = ""
    expired: bool = False
    damaged_answers: int = 0

    def take(self, name: str) -> bool:
        """Count one of a counter down; say whether there was one."""
        left = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return bool(left > 0)
