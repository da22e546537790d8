"""What holds for all tests."""

# Before anything imports a route.
import support.held  # noqa: F401
