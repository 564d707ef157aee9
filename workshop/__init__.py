"""The workshop's tooling: services, serving a step, checks, measuring, commands."""
