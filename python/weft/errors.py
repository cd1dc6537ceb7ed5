# SPDX-License-Identifier: Apache-2.0
"""What weft raises beside ValueError (fix the call), NotImplementedError (no kernel for this dtype or CPU) and MemoryError.

Each message says which operator, what is wrong with both values, where, and what to do.
"""


class Error(RuntimeError):
    """Base of those below; raised itself only for a bug in weft."""


class Mismatch(Error):
    """The ranks of the group disagree about the call. Every rank raises it with the same text; the group is unusable."""


class Timeout(Error, TimeoutError):
    """A deadline passed; the message names the rank that did not come. The group is unusable."""


class PeerLost(Error, ConnectionError):
    """A rank died, left or gave up; the message names it. Form a new group."""
