"""What must never be read in an answer, in a token or in the log, in whatever form."""

import base64
import hashlib

LINES = ("\nforged-4711", "\r\nforged-4711", "\x1b[31mforged-4711", "\u2028forged-4711")


def forms(secret: str) -> set[str]:
    """A secret as it is, and as whoever reads it could turn it back, or try it out."""
    data = secret.encode()
    digests = [hashlib.new(name, data) for name in ("md5", "sha1", "sha256")]
    return {
        secret,
        secret[::-1],
        data.hex(),
        base64.b64encode(data).decode().rstrip("="),
        base64.urlsafe_b64encode(data).decode().rstrip("="),
        *(digest.hexdigest() for digest in digests),
        *(base64.b64encode(digest.digest()).decode().rstrip("=") for digest in digests),
    }


def pieces(stored_hash: str, length: int = 12) -> set[str]:
    """All parts of this length of a hash: its salt and its digest, but not what all hashes have."""
    secret = stored_hash.partition("$")[2]
    return {secret[at : at + length] for at in range(len(secret) - length + 1)}


def forged_lines(output: str) -> list[str]:
    """Lines of the log that a client has begun, and those with codes for the terminal."""
    return [
        line for line in output.splitlines() if line.startswith("forged-4711") or "\x1b[31m" in line
    ]
