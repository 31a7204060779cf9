"""Taking in a model from somebody else: looked at in a process of its own, within limits, before it counts as one.

Light to import: what loads frameworks is `xaibench.intake.examine`, which that process runs.
"""

from xaibench.intake.door import is_added, remove_added, take_in
from xaibench.intake.names import HubName, downloads_allowed, missing_package, read_hub_name
from xaibench.intake.request import FORMATS, Request

__all__ = [
    "FORMATS",
    "HubName",
    "Request",
    "downloads_allowed",
    "is_added",
    "missing_package",
    "read_hub_name",
    "remove_added",
    "take_in",
]
