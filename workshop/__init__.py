"""The tooling around the five steps: services, running, checking, measuring."""
