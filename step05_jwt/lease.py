"""A lease in Redis: of all processes that miss, one computes, and the others wait for its result.

A lease is a key that holds its owner's token. It expires by itself, so a process that dies delays
the others for LEASE_TTL_MS at most. An order deletes it, and with it the owner's right to store.
"""

import time
from enum import Enum

LEASE_TTL_MS = 1800  # longer than a report takes: one that takes longer is sent but not stored
LEASE_WAIT_TIMEOUT = 4.0  # seconds: the owner of a lease may die, and the next owner too
POLL_INTERVAL = 0.02  # seconds between two looks while another process computes


class Answer(Enum):
    """What a request may do when nothing is cached."""

    LEASE_GRANTED = "compute the value and store it"
    LEASE_HELD = "wait, because another process computes the value"
    UNAVAILABLE = "compute the value without storing it, because Redis is away"


LEASE_GRANTED, LEASE_HELD, UNAVAILABLE = Answer

# Redis runs a script atomically: no other command runs until it ends. A request that is granted the
# lease has therefore looked again while holding it. With two separate commands, another process
# could store the value between our look and our lease, and we would compute it a second time.
GET_OR_LEASE = """
local value = redis.call('MGET', KEYS[1])[1]  -- GET would raise an error for a list or a hash.
if value then return value end
local granted = redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2])
return granted and 1 or 0
"""

# Only the lease's owner may store the value and delete the lease. If the lease has expired or an
# order has deleted it, another process may own it now, and our value may be older than the order.
# Checking and storing must be one atomic step, or the order could come between the two.
STORE_IF_LEASED = """
if redis.call('MGET', KEYS[2])[1] ~= ARGV[1] then return 0 end
if ARGV[2] ~= '' then redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) end
return redis.call('DEL', KEYS[2])
"""


class Lease:
    """The right to compute and store the value under `key`."""

    def __init__(self, redis, key):
        self.keys = [key, f"{key}:lease"]
        self._get_or_lease = redis.register_script(GET_OR_LEASE)
        self._store_if_leased = redis.register_script(STORE_IF_LEASED)

    def value_or_lease(self, token):
        """The cached bytes, or else LEASE_GRANTED or LEASE_HELD. Raises RedisError."""
        reply = self._get_or_lease(self.keys, [token, LEASE_TTL_MS])
        return reply if isinstance(reply, bytes) else LEASE_GRANTED if reply else LEASE_HELD

    def store(self, token, value, ttl):
        """Store `value` for `ttl` seconds and give the lease back, if `token` still owns it.

        Returns whether it did. Raises RedisError.
        """
        return bool(self._store_if_leased(self.keys, [token, value, ttl]))

    def release(self, token):
        """Give the lease back without storing anything, if `token` still owns it."""
        self._store_if_leased(self.keys, [token, b"", 0])


def wait_while_held(look):
    """Call look() until it returns something else than LEASE_HELD; what it returned last."""
    deadline = time.monotonic() + LEASE_WAIT_TIMEOUT
    while (found := look()) is LEASE_HELD and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL)
    return found
