"""How many files and sockets a process of the workshop may have open."""

import resource

OPEN_FILES = 4096  # a thousand connections on both sides of a server, and room


def raise_open_files_limit(wanted: int = OPEN_FILES) -> int:
    """Let this process, and every process that it starts from now on, open `wanted` files.

    Call it before you start a server or a load: each connection is an open file, and macOS allows
    256 unless a process asks for more. Returns how many are allowed now: fewer than `wanted` where
    the system's hard limit is lower, more where more were allowed before.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
