"""How long `make bench` measures, and how often."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Times in seconds, of each load.

    Ten minutes in all: most of them for the comparisons, whose intervals narrow with the root of
    the rounds, and few for the sweeps, whose differences are large.
    """

    rounds: int = 12  # of comparisons
    few_rounds: int = 6  # where the difference is more than a hundredfold
    control_rounds: int = 36  # at the most; then the machine is too busy to publish results
    journey_rounds: int = 7
    sweep_rounds: int = 2
    warmup: float = 0.4
    short: float = 1.2  # comparisons
    journey: float = 2.0
    slow: float = 4.0  # step 1, which answers few requests
    latency: float = 9.0  # at the most, until p99 can be given
    sweep: float = 1.2
    opening: float = 0.0006  # more warm-up for each connection of the sweep
    fill: float = 1.0  # until a new pool is full
    connections: tuple[int, ...] = (1, 50, 100, 200, 500, 1000)
    sync_connections: tuple[int, ...] = (1, 50, 1000)
    sizes: tuple[int, ...] = (1, 2, 5, 10, 20, 60)


QUICK = Plan(
    rounds=5,
    few_rounds=5,
    control_rounds=5,
    journey_rounds=5,
    sweep_rounds=1,
    warmup=0.1,
    short=0.2,
    journey=0.2,
    slow=0.4,
    latency=0.4,
    sweep=0.4,
    opening=0.0003,
    fill=0.3,
    connections=(50, 500),
    sync_connections=(),
    sizes=(10,),
)
